package config

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Template is the path of a directory with placeholders in braces. The zero value is none.
type Template struct {
	source   string
	absolute bool
	segments [][]TemplatePart
}

// TemplatePart is literal text or the name of a placeholder.
type TemplatePart struct {
	Text        string
	Placeholder bool
}

// Segments returns the elements of the path, each in its parts. They must not be changed.
func (t Template) Segments() [][]TemplatePart { return t.segments }

// String returns the template as it was written.
func (t Template) String() string { return t.source }

// Absolute tells whether the path does not begin at a root.
func (t Template) Absolute() bool { return t.absolute }

// Fixed returns the elements of the path before the first one with a placeholder.
func (t Template) Fixed() []string {
	var fixed []string
	for _, segment := range t.segments {
		if slices.ContainsFunc(segment, func(p TemplatePart) bool { return p.Placeholder }) {
			break
		}
		fixed = append(fixed, segment[0].Text)
	}
	return fixed
}

// Placeholders returns the names of the placeholders in the order of the template.
func (t Template) Placeholders() []string {
	var names []string
	for _, segment := range t.segments {
		for _, part := range segment {
			if part.Placeholder {
				names = append(names, part.Text)
			}
		}
	}
	return names
}

// Expand replaces each placeholder by its value and returns the path, which is relative unless the
// template is [Template.Absolute]. A value may hold slashes.
func (t Template) Expand(value func(name string) string) string {
	var path strings.Builder
	for i, segment := range t.segments {
		if t.absolute || i > 0 {
			path.WriteByte('/')
		}
		for _, part := range segment {
			if part.Placeholder {
				path.WriteString(value(part.Text))
			} else {
				path.WriteString(part.Text)
			}
		}
	}
	return path.String()
}

// Below returns the template relative to dir, an absolute path, if its fixed part lies below it.
func (t Template) Below(dir string) (Template, bool) {
	fixed, above := t.Fixed(), strings.Split(strings.Trim(dir, "/"), "/")
	if !t.absolute || len(fixed) < len(above) || len(t.segments) == len(above) || !slices.Equal(fixed[:len(above)], above) {
		return t, false
	}
	return Template{source: t.source, segments: t.segments[len(above):]}, true
}

// templateName is the name of a placeholder; {run...} may be written for what a member captures so.
var templateName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?$`)

// parseTemplate returns the template, or the reason why text is none.
func parseTemplate(text string) (t Template, reason string) {
	t = Template{source: text, absolute: filepath.IsAbs(text)}
	if strings.Contains(text, "\x00") {
		return t, "it holds a NUL character, which no path can"
	}
	for segment := range strings.SplitSeq(text, "/") {
		switch segment {
		case "", ".":
			continue
		case "..":
			return t, `it leads upwards with "..": write a path below the root, or an absolute one`
		}
		parts, reason := parseSegment(segment)
		if reason != "" {
			return t, reason
		}
		t.segments = append(t.segments, parts)
	}
	if len(t.segments) == 0 {
		return t, "it names no directory of its own"
	}
	return t, ""
}

func parseSegment(s string) (parts []TemplatePart, reason string) {
	for s != "" {
		open := strings.IndexAny(s, "{}")
		if open < 0 {
			return append(parts, TemplatePart{Text: s}), ""
		}
		if open > 0 {
			parts = append(parts, TemplatePart{Text: s[:open]})
		}
		name, rest, closed := strings.Cut(s[open+1:], "}")
		match := templateName.FindStringSubmatch(name)
		if s[open] != '{' || !closed || match == nil {
			return nil, "its braces do not hold a name, as in {utc}"
		}
		parts, s = append(parts, TemplatePart{Text: match[1], Placeholder: true}), rest
	}
	return parts, ""
}
