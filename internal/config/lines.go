package config

import (
	"strconv"
	"strings"
)

// node is the place of one value in the source. Nodes form the same tree as the decoded values.
// A nil node is a value that the source does not hold.
type node struct {
	line  int
	names []string // the keys of a table in the order of the source
	table map[string]*node
	items []*node // of an array
}

func (n *node) child(name string) *node {
	if n == nil {
		return nil
	}
	return n.table[name]
}

func (n *node) item(i int) *node {
	if n == nil || i >= len(n.items) {
		return nil
	}
	return n.items[i]
}

// add returns the child of that name, made now if it is new.
func (n *node) add(name string, line int) *node {
	if child := n.table[name]; child != nil {
		return child
	}
	if n.table == nil {
		n.table = make(map[string]*node)
	}
	child := &node{line: line}
	n.names, n.table[name] = append(n.names, name), child
	return child
}

func (n *node) addItem(line int) *node {
	item := &node{line: line}
	n.items = append(n.items, item)
	return item
}

// latest returns the table that keys below n belong to: the last of an array of tables.
func (n *node) latest() *node {
	if len(n.items) == 0 {
		return n
	}
	return n.items[len(n.items)-1]
}

// path returns the node of a dotted key.
func (n *node) path(key []string, line int) *node {
	for i, name := range key {
		if i > 0 {
			n = n.latest()
		}
		n = n.add(name, line)
	}
	return n
}

// scanner finds the lines of keys and values in TOML that is known to be valid. What it says about
// anything else is without meaning, but it ends and does not panic.
type scanner struct {
	src  string
	pos  int
	keys [][]string // full keys as they appear, headers too

	counted, line int // the line of the offset counted
}

// scan returns the tree of src and its full keys in the order in which they appear.
func scan(src string) (*node, [][]string) {
	s := &scanner{src: withoutByteOrderMark(src), line: 1}
	root := &node{line: 1}
	s.document(root)
	return root, s.keys
}

func withoutByteOrderMark(src string) string {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		if rest, found := strings.CutPrefix(src, mark); found {
			return rest
		}
	}
	return src
}

func (s *scanner) document(root *node) {
	current, header := root, []string(nil)
	for s.skip(" \t\r\n"); s.pos < len(s.src); s.skip(" \t\r\n") {
		before := s.pos
		if s.peek() == '[' {
			current, header = s.header(root)
		} else {
			s.assignment(current, header)
		}
		s.mustAdvance(before)
	}
}

// header reads [key] or [[key]] and returns the table that it opens.
func (s *scanner) header(root *node) (*node, []string) {
	isArray := strings.HasPrefix(s.src[s.pos:], "[[")
	line := s.lineHere()
	s.skipAny("[")
	key := s.key()
	s.skipAny("]")
	s.keys = append(s.keys, key)
	table := root.path(key, line)
	if isArray {
		return table.addItem(line), key
	}
	table.line = line
	return table, key
}

// assignment reads key = value into table; prefix is the full key of the table.
func (s *scanner) assignment(table *node, prefix []string) {
	line := s.lineHere()
	key := s.key()
	full := append(prefix[:len(prefix):len(prefix)], key...)
	s.keys = append(s.keys, full)
	s.skipAny("=")
	s.skip(" \t")
	s.value(table.path(key, line), full)
}

func (s *scanner) value(at *node, full []string) {
	switch s.peek() {
	case '"', '\'':
		s.text()
	case '[':
		s.list(']', func() { s.value(at.addItem(s.lineHere()), full) })
	case '{':
		s.list('}', func() { s.assignment(at, full) })
	default:
		s.skipUntil(",]}#\r\n")
	}
}

// list reads the parts between the bracket here and the closing one.
func (s *scanner) list(closing byte, part func()) {
	s.pos++
	for s.skip(" \t\r\n,"); s.pos < len(s.src); s.skip(" \t\r\n,") {
		if s.peek() == closing {
			s.pos++
			return
		}
		before := s.pos
		part()
		s.mustAdvance(before)
	}
}

// key reads a dotted key.
func (s *scanner) key() []string {
	var key []string
	for {
		s.skipAny(" \t")
		key = append(key, s.keyPart())
		s.skipAny(" \t")
		if s.peek() != '.' {
			return key
		}
		s.pos++
	}
}

func (s *scanner) keyPart() string {
	switch s.peek() {
	case '"':
		return unescape(s.quoted(`"`))
	case '\'':
		return s.quoted("'")
	}
	start := s.pos
	s.skipUntil(" \t\r\n.=[]{}#,\"'")
	return s.src[start:s.pos]
}

// text skips a string of any of the four kinds.
func (s *scanner) text() {
	quote := s.src[s.pos : s.pos+1]
	long := strings.Repeat(quote, 3)
	if !strings.HasPrefix(s.src[s.pos:], long) {
		s.quoted(quote)
		return
	}
	s.quoted(long)
	for range 2 { // quotes of the text itself may stand before the closing ones
		if strings.HasPrefix(s.src[s.pos:], quote) {
			s.pos++
		}
	}
}

// quoted skips a string with its delimiters and returns what is between them, escapes unread.
func (s *scanner) quoted(delimiter string) string {
	s.pos += len(delimiter)
	for start := s.pos; s.pos < len(s.src); s.pos++ {
		if strings.HasPrefix(s.src[s.pos:], delimiter) {
			text := s.src[start:s.pos]
			s.pos += len(delimiter)
			return text
		}
		if delimiter[0] == '"' && s.peek() == '\\' {
			s.pos++
		}
	}
	s.pos = len(s.src)
	return ""
}

// unescape reads the escapes of a basic string; TOML's are Go's but for \e and for \x, which is a
// code point.
func unescape(s string) string {
	var text strings.Builder
	for s != "" {
		if rest, found := strings.CutPrefix(s, `\e`); found {
			text.WriteByte('\x1b')
			s = rest
			continue
		}
		r, _, rest, err := strconv.UnquoteChar(s, '"')
		if err != nil {
			text.WriteString(s)
			break
		}
		text.WriteRune(r)
		s = rest
	}
	return text.String()
}

// peek returns the byte here, 0 at the end.
func (s *scanner) peek() byte {
	if s.pos >= len(s.src) {
		return 0
	}
	return s.src[s.pos]
}

// skip passes over any of these characters and over comments.
func (s *scanner) skip(chars string) {
	for s.skipAny(chars); s.peek() == '#'; s.skipAny(chars) {
		s.skipUntil("\n")
	}
}

func (s *scanner) skipAny(chars string) {
	for s.pos < len(s.src) && strings.IndexByte(chars, s.src[s.pos]) >= 0 {
		s.pos++
	}
}

func (s *scanner) skipUntil(chars string) {
	for s.pos < len(s.src) && strings.IndexByte(chars, s.src[s.pos]) < 0 {
		s.pos++
	}
}

// mustAdvance keeps text that is not TOML from being looked at forever.
func (s *scanner) mustAdvance(before int) {
	if s.pos == before {
		s.pos++
	}
}

func (s *scanner) lineHere() int {
	s.line += strings.Count(s.src[s.counted:s.pos], "\n")
	s.counted = s.pos
	return s.line
}
