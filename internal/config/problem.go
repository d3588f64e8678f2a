package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	File     string
	Line     int    // starting at 1
	Key      string // full dotted key, "" where none is concerned
	Found    string
	Expected string
	Nearest  string // the name that was probably meant, "" if none is near
}

// Error returns the problem on one line, starting with file:line.
func (p Problem) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s:%d: ", printable(p.File), p.Line)
	if p.Key != "" {
		fmt.Fprintf(&text, "%s: ", p.Key)
	}
	fmt.Fprintf(&text, "found %s, expected %s", p.Found, p.Expected)
	if p.Nearest != "" {
		fmt.Fprintf(&text, ", did you mean %q?", p.Nearest)
	}
	return text.String()
}

// Problems is everything that is wrong with a file, in the order of its lines.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single problems.
func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i, problem := range p {
		errs[i] = problem
	}
	return errs
}

// orNil returns the problems sorted by line as an error, or nil if there are none.
func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return p
}

// printable shows what would control a terminal as escapes.
func printable(s string) string {
	var shown strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			shown.WriteRune(r)
		} else {
			shown.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return shown.String()
}

// describe names a decoded TOML value for people.
func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		return strconv.Quote(v)
	case bool:
		return strconv.FormatBool(v)
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	case []any:
		return "an array"
	default:
		return "a date or time"
	}
}
