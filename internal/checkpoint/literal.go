package checkpoint

import (
	"strconv"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// literal reads the Python literals that headers of .npy files consist of (numpy/lib/format.py): dicts,
// lists, tuples, strings, counts, True, False and None.
type literal struct {
	text  string
	pos   int
	depth int
}

const maxLiteralDepth = 32 // of nested dtypes

// parseLiteral reads a text that is one literal.
func parseLiteral(text string) (any, error) {
	l := &literal{text: text}
	v, err := l.value()
	if err == nil && !l.atEnd() {
		err = l.bad("something follows the value")
	}
	return v, err
}

func (l *literal) bad(reason string) error {
	return broken("the header is no Python literal: at byte %d: %s", l.pos, reason)
}

// peek returns the next byte that is no blank, 0 at the end.
func (l *literal) peek() byte {
	for l.pos < len(l.text) && strings.IndexByte(" \n\t\r", l.text[l.pos]) >= 0 {
		l.pos++
	}
	if l.pos == len(l.text) {
		return 0
	}
	return l.text[l.pos]
}

func (l *literal) atEnd() bool { return l.peek() == 0 && l.pos == len(l.text) }

// accept passes over the byte c if it is next.
func (l *literal) accept(c byte) bool {
	if l.peek() != c || l.pos == len(l.text) {
		return false
	}
	l.pos++
	return true
}

func (l *literal) value() (any, error) {
	if l.depth++; l.depth > maxLiteralDepth {
		return nil, l.bad("values are nested too deep")
	}
	defer func() { l.depth-- }()
	switch c := l.peek(); {
	case l.accept('{'):
		return l.dict()
	case l.accept('['):
		items, _, err := l.items(']')
		return &pickle.List{Items: items}, err
	case l.accept('('):
		return l.tuple()
	case c == '\'' || c == '"':
		return l.quoted(c)
	case c >= '0' && c <= '9':
		return l.count()
	}
	return l.word()
}

func (l *literal) word() (any, error) {
	for word, v := range map[string]any{"True": true, "False": false, "None": nil} {
		if strings.HasPrefix(l.text[l.pos:], word) {
			l.pos += len(word)
			return v, nil
		}
	}
	return nil, l.bad("no value")
}

// count reads a number; the L of Python 2 may follow it.
func (l *literal) count() (any, error) {
	end := l.pos
	for end < len(l.text) && l.text[end] >= '0' && l.text[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(l.text[l.pos:end], 10, 64)
	if err != nil {
		return nil, l.bad("a number that is too large")
	}
	l.pos = end
	if l.pos < len(l.text) && l.text[l.pos] == 'L' {
		l.pos++
	}
	return n, nil
}

// quoted reads a string. Backslashes do not occur in names of types; names of fields with them are kept as
// they are written.
func (l *literal) quoted(quote byte) (any, error) {
	for end := l.pos + 1; end < len(l.text); end++ {
		switch l.text[end] {
		case '\\':
			end++
		case quote:
			s := l.text[l.pos+1 : end]
			l.pos = end + 1
			return s, nil
		}
	}
	return nil, l.bad("a string that does not end")
}

// items reads values up to a closing bracket. comma tells whether one followed the last.
func (l *literal) items(closing byte) (items []any, comma bool, err error) {
	for !l.accept(closing) {
		if len(items) > 0 && !comma {
			return nil, false, l.bad("no comma between values")
		}
		v, err := l.value()
		if err != nil {
			return nil, false, err
		}
		items = append(items, v)
		comma = l.accept(',')
	}
	return items, comma, nil
}

func (l *literal) tuple() (any, error) {
	items, comma, err := l.items(')')
	if err == nil && len(items) == 1 && !comma {
		return items[0], nil
	}
	return &pickle.Tuple{Items: items}, err
}

func (l *literal) dict() (any, error) {
	d := &pickle.Dict{}
	for comma := true; !l.accept('}'); comma = l.accept(',') {
		if !comma {
			return nil, l.bad("no comma between pairs")
		}
		key, err := l.value()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok || d.Has(name) || !l.accept(':') {
			return nil, l.bad("a key that is no string, occurs twice, or has no value")
		}
		v, err := l.value()
		if err != nil {
			return nil, err
		}
		d.Set(name, v)
	}
	return d, nil
}
