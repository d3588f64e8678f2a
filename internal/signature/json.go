package signature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays of a signature lie in each other; real ones have six levels.
const maxDepth = 16

// parser reads JSON strictly: no name twice, no other case of a name, nothing behind the end. Its first error
// stays, and what is read after it is empty.
type parser struct{ err error }

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// object is a JSON object, and where it is.
type object struct {
	*parser
	at      string // "" for the outermost
	members map[string]any
}

// parse reads text that holds one object.
func (p *parser) parse(text []byte) object {
	switch {
	case !utf8.Valid(text):
		p.fail("it is not UTF-8")
	case !json.Valid(text):
		p.fail("it is no JSON")
	}
	if p.err != nil {
		return object{parser: p}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v := p.value(d, 0)
	if _, ok := v.(map[string]any); !ok {
		p.fail("it is no JSON object")
	}
	return p.object(v, "")
}

// value reads the next value of valid JSON: a map, a slice, a string, a number, a bool or nil.
func (p *parser) value(d *json.Decoder, depth int) any {
	token, err := d.Token()
	if depth > maxDepth {
		err = fmt.Errorf("its JSON is nested more than %d levels deep", maxDepth)
	}
	if err != nil {
		p.fail("%w", err)
		return nil
	}
	switch token {
	case json.Delim('{'):
		members := make(map[string]any)
		for p.err == nil && d.More() {
			name, _ := p.value(d, depth+1).(string)
			if _, twice := members[name]; twice {
				p.fail("it has %.40q twice in one object", name)
			}
			members[name] = p.value(d, depth+1)
		}
		p.end(d)
		return members
	case json.Delim('['):
		items := []any{}
		for p.err == nil && d.More() {
			items = append(items, p.value(d, depth+1))
		}
		p.end(d)
		return items
	}
	return token
}

func (p *parser) end(d *json.Decoder) {
	if p.err == nil {
		_, p.err = d.Token()
	}
}

func (p *parser) object(v any, at string) object {
	members, ok := v.(map[string]any)
	if !ok {
		p.fail("%s is no object", at)
	}
	return object{parser: p, at: at, members: members}
}

// name returns where a member is.
func (o object) name(member string) string { return strings.TrimPrefix(o.at+"."+member, ".") }

// only refuses members that are not among the names.
func (o object) only(names ...string) {
	for _, name := range slices.Sorted(maps.Keys(o.members)) {
		if !slices.Contains(names, name) {
			o.refuse("a member", o.name(name), "one of "+strings.Join(names, ", "))
		}
	}
}

// refuse tells of something that is not known here.
func (p *parser) refuse(what, found, known string) {
	if p.err == nil {
		p.err = &UnknownError{What: what, Found: found, Known: known}
	}
}

func (o object) object(name string) object { return o.parser.object(o.members[name], o.name(name)) }

func (o object) list(name string) []any {
	items, ok := o.members[name].([]any)
	if !ok {
		o.fail("%s is no array", o.name(name))
	}
	return items
}

func (o object) text(name string) string {
	s, ok := o.members[name].(string)
	if !ok {
		o.fail("%s is no string", o.name(name))
	}
	return s
}

// exactly wants a member to be a text.
func (o object) exactly(name, want string) {
	if found := o.text(name); found != want {
		o.refuse("the "+o.name(name), found, want)
	}
}

// isFalse wants a member to be false.
func (o object) isFalse(name string) {
	if v, ok := o.members[name].(bool); !ok || v {
		o.refuse("the "+o.name(name), fmt.Sprint(o.members[name]), "false")
	}
}

// UnknownError tells of something that this program does not know, and so cannot check.
type UnknownError struct{ What, Found, Known string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s %.100q is not known here, only %s", e.What, e.Found, e.Known)
}

// IsUnknown tells whether a signature was refused because it has something that is not known here.
func IsUnknown(err error) bool {
	var unknown *UnknownError
	return errors.As(err, &unknown)
}
