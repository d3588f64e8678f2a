package pattern

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

type kind int

const (
	literal        kind = iota
	anyChar             // ?
	anyRun              // *
	segmentCapture      // {name}
	deepCapture         // {name...}
)

// token is one part of a pattern; text is the literal or the name of the placeholder.
type token struct {
	kind kind
	text string
}

func (t token) captures() bool { return t.kind == segmentCapture || t.kind == deepCapture }

var placeholderName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parse returns the tokens of s without the trailing slash, or the reason why s is not a pattern.
func parse(s string) (tokens []token, reason string) {
	if s == "" {
		return nil, "it is empty"
	}
	if strings.HasPrefix(s, "/") {
		return nil, "it is absolute: patterns are relative to the root"
	}
	body := strings.TrimSuffix(s, "/")
	tokens, reason = tokenize(body)
	if reason == "" {
		reason = checkSegments(body)
	}
	if reason == "" {
		reason = checkPlaceholders(tokens)
	}
	return tokens, reason
}

func tokenize(s string) (tokens []token, reason string) {
	for s != "" {
		t, size := token{}, 1
		switch s[0] {
		case '*':
			t.kind = anyRun
		case '?':
			t.kind = anyChar
		case '{':
			t, size, reason = placeholder(s)
		case '}':
			reason = "a closing brace has no opening one"
		default:
			if size = strings.IndexAny(s, "*?{}"); size < 0 {
				size = len(s)
			}
			t.text = s[:size]
		}
		if reason != "" {
			return nil, reason
		}
		tokens, s = append(tokens, t), s[size:]
	}
	return tokens, ""
}

// placeholder reads the placeholder at the start of s and returns its length.
func placeholder(s string) (t token, size int, reason string) {
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return t, 0, fmt.Sprintf("the brace of %q is not closed", s)
	}
	t = token{kind: segmentCapture, text: s[1:end]}
	if name, deep := strings.CutSuffix(t.text, "..."); deep {
		t = token{kind: deepCapture, text: name}
	}
	switch {
	case t.text == "":
		reason = fmt.Sprintf("%q has no name: write {name} or {name...}", s[:end+1])
	case !placeholderName.MatchString(t.text):
		reason = fmt.Sprintf("the placeholder name %q is not made of letters, digits and _ (no digit first)", t.text)
	}
	return t, end + 1, reason
}

func checkSegments(s string) (reason string) {
	if strings.Contains(s, "\x00") {
		return "it holds a NUL character, which no path can"
	}
	if strings.Contains(s, "**") {
		return `"**" does not cross folders: write one * for each folder, or {name...}`
	}
	for segment := range strings.SplitSeq(s, "/") {
		if !isSegment(segment) {
			return fmt.Sprintf("it has the path segment %q: write the plain path below the root", segment)
		}
	}
	return ""
}

func checkPlaceholders(tokens []token) (reason string) {
	var seen []string
	previous := "" // the placeholder since which no literal has come
	for _, t := range tokens {
		switch {
		case t.kind == literal:
			previous = ""
		case !t.captures():
		case slices.Contains(seen, t.text):
			return fmt.Sprintf("the placeholder %q occurs twice", t.text)
		case previous != "":
			return fmt.Sprintf("no literal text separates the placeholders %q and %q", previous, t.text)
		default:
			seen, previous = append(seen, t.text), t.text
		}
	}
	return ""
}

// isSegment reports whether s can be the name of one directory entry.
func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.Contains(s, "/")
}

// written returns the token as it stands in a pattern.
func (t token) written() string {
	switch t.kind {
	case anyChar:
		return "?"
	case anyRun:
		return "*"
	case segmentCapture:
		return "{" + t.text + "}"
	case deepCapture:
		return "{" + t.text + "...}"
	}
	return t.text
}
