package pattern

import (
	"fmt"
	"strings"
)

// Glob is a pattern whose placeholders were replaced by captured texts: it names files of one run.
// It is made by [Pattern.Bind].
type Glob struct {
	source   string
	lead     string // what a leading placeholder and its slash stand for, "" if nothing
	segments [][]token
}

// Bind replaces each placeholder by the text captured under its name, literally, even where that
// holds * ? or braces. Where the captures say that the root itself is the directory of a leading
// {name...}/, that part becomes nothing. A placeholder that was not captured is an error, and so is
// a pattern that names a directory.
func (p *Pattern) Bind(c Captures) (Glob, error) {
	if p.IsDir() {
		return Glob{}, fmt.Errorf("bind pattern %q: it names a directory, not files", p.source)
	}
	g := Glob{source: p.source}
	tokens := p.tokens
	if p.belowLead != nil {
		if name := tokens[0].text; name == c.root {
			tokens = p.belowLead
		} else if value, ok := c.Value(name); ok {
			g.lead = value + "/"
		}
	}
	bound, err := p.substitute(tokens, c)
	if err != nil {
		return Glob{}, err
	}
	g.segments = splitSegments(bound)
	return g, nil
}

func (p *Pattern) substitute(tokens []token, c Captures) ([]token, error) {
	bound := make([]token, 0, len(tokens))
	for _, t := range tokens {
		if t.captures() {
			value, ok := c.Value(t.text)
			if !ok {
				return nil, fmt.Errorf("bind pattern %q: placeholder %q was not captured, only %q", p.source, t.text, c.names)
			}
			t = token{kind: literal, text: value}
		}
		bound = append(bound, t)
	}
	return bound, nil
}

// Name returns rel without the part that a leading {name...}/ or {name}/ of the pattern stood for: a name that
// does not depend on where the root is.
func (g Glob) Name(rel string) string { return strings.TrimPrefix(rel, g.lead) }

func splitSegments(tokens []token) [][]token {
	segments := [][]token{nil}
	for _, t := range tokens {
		if t.kind != literal {
			segments[len(segments)-1] = append(segments[len(segments)-1], t)
			continue
		}
		for i, text := range strings.Split(t.text, "/") {
			if i > 0 {
				segments = append(segments, nil)
			}
			if text != "" {
				segments[len(segments)-1] = append(segments[len(segments)-1], token{text: text})
			}
		}
	}
	return segments
}

// fixedName returns the only name that a segment without wildcards matches.
func fixedName(segment []token) (name string, fixed bool) {
	for _, t := range segment {
		if t.kind != literal {
			return "", false
		}
		name += t.text
	}
	return name, true
}

// String returns the glob for people, with the captured texts in their places.
func (g Glob) String() string {
	var parts []string
	for _, segment := range g.segments {
		text := ""
		for _, t := range segment {
			text += t.written()
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "/")
}
