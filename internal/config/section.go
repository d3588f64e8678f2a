package config

import (
	"encoding"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// report collects the problems of one file.
type report struct {
	file     string
	problems Problems
}

// section is one table of the file, read key by key. What is wrong goes to the report, and reading
// goes on with a default or nothing.
type section struct {
	*report
	doc    tableDoc
	path   []string
	values map[string]any
	at     *node
	line   int
}

// place is where a value stands in the file.
type place struct {
	line int
	key  string
}

func (r *report) add(at place, found, expected string) {
	r.suggest(at, found, expected, "")
}

func (r *report) suggest(at place, found, expected, nearest string) {
	r.problems = append(r.problems, Problem{
		File: r.file, Line: at.line, Key: at.key, Found: found, Expected: expected, Nearest: nearest,
	})
}

// place returns where the key is, or where the section is that lacks it.
func (s section) place(name string) place {
	at := place{line: s.line, key: dotted(append(slices.Clone(s.path), name))}
	if child := s.at.child(name); child != nil {
		at.line = child.line
	}
	return at
}

// item returns where an element of an array is.
func (s section) item(name string, i int) place {
	at := s.place(name)
	at.key += fmt.Sprintf("[%d]", i)
	if item := s.at.child(name).item(i); item != nil {
		at.line = item.line
	}
	return at
}

// names returns the keys of the section in the order of the file.
func (s section) names() []string {
	var names []string
	if s.at != nil {
		names = s.at.names
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return s.values[name] == nil })
}

func (s section) checkNames() {
	known := s.doc.names()
	for _, name := range s.names() {
		if !s.doc.free && !slices.Contains(known, name) {
			s.suggest(s.place(name), "an unknown key", "one of "+oneOf(known), nearest(name, known))
		}
	}
}

// table opens a table inside this one; what is not there is an empty table.
func (s section) table(name string, doc tableDoc) section {
	inner := section{report: s.report, doc: doc, path: append(slices.Clone(s.path), name), at: s.at.child(name), line: s.place(name).line}
	switch value := s.values[name].(type) {
	case map[string]any:
		inner.values = value
		inner.checkNames()
	case nil:
		if s.doc.key(name).required {
			s.add(s.place(name), "nothing", "a table "+doc.header)
		}
	default:
		s.add(s.place(name), describe(value), "a table "+doc.header)
	}
	return inner
}

// someTables is tables for an array that may be missing.
func (s section) someTables(name string, doc tableDoc) []section {
	if s.values[name] == nil {
		return nil
	}
	return s.tables(name, doc)
}

// tables opens each table of an array of tables, of which there must be one.
func (s section) tables(name string, doc tableDoc) []section {
	value := s.values[name]
	values, isTables := asTables(value)
	if !isTables || len(values) == 0 {
		s.add(s.place(name), describe(value), "one or more tables "+doc.header)
		return nil
	}
	sections := make([]section, len(values))
	for i := range values {
		sections[i] = section{
			report: s.report, doc: doc, path: append(slices.Clone(s.path), name), values: values[i],
			at: s.at.child(name).item(i), line: s.item(name, i).line,
		}
		sections[i].checkNames()
	}
	return sections
}

// asTables accepts [[headers]] and inline tables in an array alike.
func asTables(value any) ([]map[string]any, bool) {
	if tables, ok := value.([]map[string]any); ok {
		return tables, true
	}
	items, ok := value.([]any)
	tables := make([]map[string]any, len(items))
	for i := range items {
		if tables[i], ok = items[i].(map[string]any); !ok {
			return nil, false
		}
	}
	return tables, ok
}

// text returns a string or its default; it is false where there is none or a wrong one.
func (s section) text(name string) (string, bool) {
	doc := s.doc.key(name)
	value, given := s.values[name]
	if !given {
		if doc.required {
			s.add(s.place(name), "nothing", "a "+doc.kind)
		}
		return doc.initial, doc.initial != ""
	}
	text, ok := value.(string)
	if !ok || text == "" {
		s.add(s.place(name), describe(value), "a "+doc.kind+" in quotes that is not empty")
		return "", false
	}
	return text, true
}

// safeName is one path segment that needs no quoting and is not hidden.
var safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const safeNameRule = "letters, digits, '.', '_' and '-', a letter or digit first"

// name returns a string that can be the name of a directory.
func (s section) name(key string) (string, bool) {
	text, ok := s.text(key)
	if ok && !safeName.MatchString(text) {
		s.add(s.place(key), strconv.Quote(text), safeNameRule)
		return "", false
	}
	return text, ok
}

func (s section) choice(name string, into encoding.TextUnmarshaler) {
	text, ok := s.text(name)
	if !ok {
		return
	}
	var refused *choiceError
	if errors.As(into.UnmarshalText([]byte(text)), &refused) {
		s.suggest(s.place(name), strconv.Quote(text), oneOf(refused.choices), nearest(text, refused.choices))
	}
}

// duration returns a duration of at least atLeast.
func (s section) duration(name string, atLeast time.Duration) time.Duration {
	example := fmt.Sprintf("such as %q", s.doc.key(name).initial)
	if value, given := s.values[name]; given {
		if _, isText := value.(string); !isText {
			s.add(s.place(name), describe(value), "a duration with its unit in quotes, "+example)
			return 0
		}
	}
	text, ok := s.text(name)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		s.add(s.place(name), strconv.Quote(text), "a duration in h, m, s or ms, "+example)
	case d < atLeast && atLeast > 1:
		s.add(s.place(name), strconv.Quote(text), fmt.Sprintf("at least %q, %s", atLeast, example))
	case d < atLeast:
		s.add(s.place(name), strconv.Quote(text), "a duration above zero, "+example)
	}
	return d
}

// texts calls each for the strings of an array.
func (s section) texts(name string, each func(at place, text string)) {
	value, given := s.values[name]
	if !given {
		return
	}
	items, ok := value.([]any)
	if !ok {
		s.add(s.place(name), describe(value), "an array of strings in [ ]")
		return
	}
	for i, item := range items {
		text, ok := item.(string)
		if !ok || text == "" {
			s.add(s.item(name, i), describe(item), "a string in quotes that is not empty")
			continue
		}
		each(s.item(name, i), text)
	}
}

// compile returns nil where text is not a pattern.
func (s section) compile(at place, text string) *pattern.Pattern {
	p, err := pattern.Compile(text)
	var syntax *pattern.SyntaxError
	switch {
	case errors.As(err, &syntax):
		s.add(at, strconv.Quote(text), "a pattern, but "+syntax.Reason)
		return nil
	}
	return p
}

// compileFiles returns nil where text is not the pattern of files.
func (s section) compileFiles(at place, text string) *pattern.Pattern {
	p := s.compile(at, text)
	if p != nil && p.IsDir() {
		s.add(at, strconv.Quote(text), "a pattern of files, without a slash at its end")
		return nil
	}
	return p
}

func dotted(key []string) string {
	parts := make([]string, len(key))
	for i, part := range key {
		parts[i] = part
		if !bareKey.MatchString(part) {
			parts[i] = strconv.Quote(part)
		}
	}
	return strings.Join(parts, ".")
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
