package snapshot

import (
	"fmt"
	"strings"
)

// MissingError tells that params lack keys that the user requires.
type MissingError struct {
	Keys   []string
	Looked []string // the paths of the config files, relative to the watch root
	Hypers []string // the roles whose checkpoint holds hyper_parameters
	// Unparsed are the files among them that say nothing because they could not be parsed, with the reason.
	Unparsed []string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("translate config: params lack the required %s (absent or null): looked at %s and at %s; "+
		"write them into the run's config, name the file that has them under watch.config.files, or require less",
		quoteAll(e.Keys), e.files(), e.hypers()) + e.unparsed()
}

func (e *MissingError) unparsed() string {
	if len(e.Unparsed) == 0 {
		return ""
	}
	return "; not parsed: " + strings.Join(e.Unparsed, "; ")
}

func (e *MissingError) files() string {
	if len(e.Looked) == 0 {
		return "no config file (none matched)"
	}
	return "config files " + quoteAll(e.Looked)
}

func (e *MissingError) hypers() string {
	if len(e.Hypers) == 0 {
		return "checkpoints without hyper_parameters"
	}
	return "the hyper_parameters of " + quoteAll(e.Hypers)
}

// RefusedError tells that a preset cannot translate a value.
type RefusedError struct {
	Source string // the path of the file relative to the watch root, or whose hyper_parameters
	Key    string // dotted path of the value
	Found  string // the value, as JSON would show it
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("translate config %s: %s is %s: %s", quote(e.Source), quote(e.Key), e.Found, e.Reason)
}

// SyntaxError tells where a config file is not what its format asks for. Line and Column count
// from 1; Column is 0 when only the line is known.
type SyntaxError struct {
	Line, Column int
	Reason       string
}

func (e *SyntaxError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "line %d", e.Line)
	if e.Column > 0 {
		fmt.Fprintf(&b, ", column %d", e.Column)
	}
	return b.String() + ": " + e.Reason
}
