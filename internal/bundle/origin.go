package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Origin is what a manifest says of where the members come from.
type Origin struct {
	Key     string         `json:"key"`
	Members []OriginMember `json:"members"`
}

// OriginMember is a member with its source, nil for a sentinel.
type OriginMember struct {
	Role        string  `json:"role"`
	Source      *Source `json:"source"`
	Fingerprint string  `json:"fingerprint"`
}

// Origin returns what the manifest says of where the members come from.
func (m *Manifest) Origin() *Origin {
	o := &Origin{Key: m.Key}
	for _, member := range m.Members {
		o.Members = append(o.Members, OriginMember{Role: member.Role, Source: member.Source, Fingerprint: member.Fingerprint})
	}
	return o
}

// ReadOrigin reads of a bundle's manifest what [Manifest.Origin] returns: a directory can have 100,000 bundles.
func ReadOrigin(path string) (*Origin, error) {
	buffer := manifestBuffers.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= maxKeptBuffer {
			manifestBuffers.Put(buffer)
		}
	}()
	data, err := readManifestBytes(path, (*buffer)[:0])
	if err != nil {
		return nil, err
	}
	*buffer = data
	o, err := parseOrigin(data)
	if err != nil {
		return nil, fmt.Errorf("read manifest %q: %w", path, err)
	}
	return o, nil
}

func parseOrigin(data []byte) (*Origin, error) {
	if err := checkCommas(data); err != nil {
		return nil, err
	}
	if o, ok := scanOrigin(data); ok {
		return o, nil
	}
	o := &Origin{}
	return o, json.Unmarshal(data, o)
}

// manifestBuffers are for the bytes of manifests that are read one after the other.
var manifestBuffers = sync.Pool{New: func() any { return new([]byte) }}

const maxKeptBuffer = 1 << 20 // bytes

// scanOrigin reads an [Origin] without building anything of the rest, in less than half of the time that encoding/json takes.
// It is false for what is no JSON, and for all that a manifest of this program does not have, such as names in capitals
// or twice: encoding/json has the last word on those.
func scanOrigin(data []byte) (*Origin, bool) {
	s := &originScan{data: data}
	o := s.origin()
	return o, s.peek() == 0 && s.at == len(s.data) && !s.odd
}

// originScan is a place in a manifest. Once something is odd it stays so, and what is read does not count.
type originScan struct {
	data []byte
	at   int
	odd  bool
}

// Names of the fields that are read, each in the order of its cases below.
var (
	originNames = []string{"key", "members"}
	memberNames = []string{"role", "source", "fingerprint"}
	sourceNames = []string{"path", "size", "mtime", "ctime", "inode", "device", "uid", "links", "files"}
	fileNames   = sourceNames[:5]
)

func (s *originScan) origin() *Origin {
	o := &Origin{}
	s.object(originNames, func(field int) {
		switch field {
		case 0:
			o.Key = s.text()
		case 1:
			o.Members = []OriginMember{}
			s.array(func() { o.Members = append(o.Members, s.member()) })
		}
	})
	return o
}

func (s *originScan) member() (m OriginMember) {
	s.object(memberNames, func(field int) {
		switch field {
		case 0:
			m.Role = s.text()
		case 1:
			m.Source = s.source()
		case 2:
			m.Fingerprint = s.text()
		}
	})
	return m
}

func (s *originScan) source() *Source {
	source, file := &Source{}, SourceFile{}
	s.object(sourceNames, func(field int) {
		switch field {
		case 5:
			source.Device = s.unsigned(64)
		case 6:
			source.UID = uint32(s.unsigned(32))
		case 7:
			source.Links = s.unsigned(64)
		case 8:
			source.Files = []SourceFile{}
			s.array(func() { source.Files = append(source.Files, s.file()) })
		default:
			s.fileField(field, &file)
		}
	})
	source.Path, source.Size, source.ModTime, source.ChTime, source.Inode = file.Path, file.Size, file.ModTime, file.ChTime, file.Inode
	return source
}

func (s *originScan) file() (f SourceFile) {
	s.object(fileNames, func(field int) { s.fileField(field, &f) })
	return f
}

// fileField reads one of fileNames.
func (s *originScan) fileField(field int, f *SourceFile) {
	switch field {
	case 0:
		f.Path = s.text()
	case 1:
		f.Size = s.integer()
	case 2:
		f.ModTime = s.time()
	case 3:
		f.ChTime = s.time()
	case 4:
		f.Inode = s.unsigned(64)
	}
}

// object reads an object. read is called for each field of names, and reads its value; others are skipped.
func (s *originScan) object(names []string, read func(field int)) {
	var seen uint
	s.elements('{', '}', func() {
		token, plain := s.quoted()
		s.expect(':')
		if s.odd || !plain {
			s.odd = true
			return
		}
		name := token[1 : len(token)-1]
		for i, known := range names {
			if string(name) == known {
				s.odd = s.odd || seen>>i&1 == 1
				seen |= 1 << i
				read(i)
				return
			}
			s.odd = s.odd || len(name) == len(known) && strings.EqualFold(string(name), known)
		}
		s.skip(0)
	})
}

func (s *originScan) array(read func()) { s.elements('[', ']', read) }

// elements reads what is between two brackets, with commas in between. read reads one.
func (s *originScan) elements(open, end byte, read func()) {
	s.expect(open)
	if s.peek() == end {
		s.at++
		return
	}
	for !s.odd {
		read()
		if s.peek() == end {
			s.at++
			return
		}
		s.expect(',')
	}
}

// skip passes over a value, which must be right nevertheless. depth is how many brackets it is in.
func (s *originScan) skip(depth int) {
	const deepest = 100 // deeper than any manifest, and not too deep for the stack
	switch c := s.peek(); {
	case s.odd || depth > deepest:
		s.odd = true
	case c == '"':
		s.quoted()
	case c == '[':
		s.array(func() { s.skip(depth + 1) })
	case c == '{':
		s.elements('{', '}', func() {
			s.quoted()
			s.expect(':')
			s.skip(depth + 1)
		})
	case c == 't':
		s.word("true")
	case c == 'f':
		s.word("false")
	case c == 'n':
		s.word("null")
	default:
		s.number()
	}
}

// peek returns the next byte that is not white, and 0 at the end.
func (s *originScan) peek() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\n', '\t', '\r':
		default:
			return c
		}
	}
	return 0
}

func (s *originScan) expect(c byte) {
	if s.peek() != c {
		s.odd = true
		return
	}
	s.at++
}

func (s *originScan) word(w string) {
	if !bytes.HasPrefix(s.data[s.at:], []byte(w)) {
		s.odd = true
		return
	}
	s.at += len(w)
}

// quoted passes over a string, and returns it with its quotes. plain tells that it is ASCII without escapes.
func (s *originScan) quoted() (token []byte, plain bool) {
	begin := s.at
	if s.expect('"'); !s.odd {
		begin = s.at - 1
	}
	plain = true
	for !s.odd && s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			return s.data[begin:s.at], plain
		case c == '\\':
			s.escape()
			plain = false
		case c < ' ':
			s.odd = true
		default:
			plain = plain && c < 0x80
			s.at++
		}
	}
	s.odd = true
	return nil, false
}

// escape passes over a backslash and what it escapes.
func (s *originScan) escape() {
	rest := s.data[s.at+1:]
	switch {
	case len(rest) > 0 && strings.IndexByte(`"\/bfnrt`, rest[0]) >= 0:
		s.at += 2
	case len(rest) > 4 && rest[0] == 'u' && isHex(rest[1:5]):
		s.at += 6
	default:
		s.odd = true
	}
}

func isHex(digits []byte) bool {
	for _, c := range digits {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// number passes over a number, and returns it.
func (s *originScan) number() []byte {
	s.peek()
	begin := s.at
	s.optional("-")
	if !s.optional("0") {
		s.digits()
	}
	if s.optional(".") {
		s.digits()
	}
	if s.optional("eE") {
		s.optional("+-")
		s.digits()
	}
	return s.data[begin:s.at]
}

// optional passes over a byte if it is one of those.
func (s *originScan) optional(of string) bool {
	if s.at == len(s.data) || strings.IndexByte(of, s.data[s.at]) < 0 {
		return false
	}
	s.at++
	return true
}

// digits passes over one digit or more.
func (s *originScan) digits() {
	begin := s.at
	for s.at < len(s.data) && '0' <= s.data[s.at] && s.data[s.at] <= '9' {
		s.at++
	}
	s.odd = s.odd || s.at == begin
}

func (s *originScan) text() string {
	token, plain := s.quoted()
	switch {
	case s.odd:
		return ""
	case plain:
		return string(token[1 : len(token)-1])
	}
	var text string
	s.odd = json.Unmarshal(token, &text) != nil
	return text
}

func (s *originScan) time() (t time.Time) {
	if token, _ := s.quoted(); !s.odd {
		s.odd = t.UnmarshalJSON(token) != nil
	}
	return t
}

func (s *originScan) integer() int64 {
	n, err := strconv.ParseInt(string(s.number()), 10, 64)
	s.odd = s.odd || err != nil
	return n
}

func (s *originScan) unsigned(bits int) uint64 {
	n, err := strconv.ParseUint(string(s.number()), 10, bits)
	s.odd = s.odd || err != nil
	return n
}
