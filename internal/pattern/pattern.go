package pattern

import (
	"fmt"
	"slices"
	"strings"
)

// Pattern is a compiled member or config file pattern. It is immutable.
type Pattern struct {
	source string
	tokens []token
	// belowLead is what is left of tokens when the root itself is the directory that a leading
	// placeholder stands for; nil where the pattern does not begin with a placeholder and a slash.
	belowLead []token
	names     []string // of the placeholders
}

// SyntaxError says why a string is not a pattern.
type SyntaxError struct {
	Pattern string
	Reason  string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("compile pattern %q: %s", e.Pattern, e.Reason)
}

// Compile reads a pattern. The error is a [*SyntaxError].
func Compile(s string) (*Pattern, error) {
	tokens, reason := parse(s)
	if reason != "" {
		return nil, &SyntaxError{Pattern: s, Reason: reason}
	}
	return &Pattern{source: s, tokens: tokens, belowLead: withoutLead(tokens), names: placeholders(tokens)}, nil
}

// String returns the pattern as it was written.
func (p *Pattern) String() string { return p.source }

// IsDir reports whether the pattern ends in a slash: it names directories, not files.
func (p *Pattern) IsDir() bool { return strings.HasSuffix(p.source, "/") }

// Placeholders returns the names of the placeholders in order of appearance.
func (p *Pattern) Placeholders() []string { return slices.Clone(p.names) }

func placeholders(tokens []token) (names []string) {
	for _, t := range tokens {
		if t.captures() {
			names = append(names, t.text)
		}
	}
	return names
}

// Match reads rel, the slash separated path of a file relative to the root, or of a directory for a
// pattern that [Pattern.IsDir]. rootBase is the base name of the root. Where rel matches both with
// and without a path before a leading {name...}/, the reading with the path wins.
func (p *Pattern) Match(rel, rootBase string) (Captures, bool) {
	if values, ok := read(p.tokens, rel); ok {
		return Captures{names: p.names, values: values}, true
	}
	if !p.rootCanLead() || !isSegment(rootBase) {
		return Captures{}, false
	}
	values, ok := read(p.belowLead, rel)
	if !ok {
		return Captures{}, false
	}
	return Captures{names: p.names, values: slices.Insert(values, 0, rootBase), root: p.names[0]}, true
}

// CanMatchBelow reports whether any path below dir, a slash separated path relative to the root,
// could match.
func (p *Pattern) CanMatchBelow(dir string) bool {
	prefix := dir + "/"
	return canBegin(p.tokens, prefix) || p.rootCanLead() && canBegin(p.belowLead, prefix)
}

// rootCanLead reports whether the pattern begins with {name...}/, which the root itself can be.
func (p *Pattern) rootCanLead() bool {
	return p.belowLead != nil && p.tokens[0].kind == deepCapture
}

func withoutLead(tokens []token) []token {
	if len(tokens) < 2 || !tokens[0].captures() || tokens[1].kind != literal || !strings.HasPrefix(tokens[1].text, "/") {
		return nil
	}
	rest := slices.Clone(tokens[1:])
	rest[0].text = rest[0].text[1:]
	if rest[0].text == "" {
		rest = rest[1:]
	}
	return rest
}
