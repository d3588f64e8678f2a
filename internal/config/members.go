package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// reservedRoles are the names that an archive gives to entries of its own.
var reservedRoles = []string{"bundlewatch", "manifest.dill", "torch_scaling_metadata.pt"}

// members is the [watch.members] table of one watch.
type members struct {
	section
	list         []Member
	placeholders []string // of all patterns, in order of first appearance
	incomplete   bool     // a pattern could not be read, so placeholders may lack some
}

func readMembers(s section) members {
	m := members{section: s}
	for _, role := range s.names() {
		m.checkRole(role)
		m.list = append(m.list, m.member(role))
	}
	m.checkPatterns()
	return m
}

func (m *members) checkRole(role string) {
	if !safeName.MatchString(role) {
		m.add(m.place(role), "the role "+strconv.Quote(role), "a role that can name a folder: "+safeNameRule)
	}
	if slices.Contains(reservedRoles, role) {
		m.add(m.place(role), "the role "+strconv.Quote(role), "another name: the archive has an entry of its own of that name")
	}
}

func (m *members) member(role string) Member {
	switch value := m.values[role].(type) {
	case string:
		p := m.compile(m.place(role), value)
		m.incomplete = m.incomplete || p == nil
		return Member{Role: role, Pattern: p}
	case map[string]any:
		m.checkSentinel(m.table(role, memberTable))
	default:
		m.add(m.place(role), describe(value), "a pattern in quotes or { sentinel = true }")
		m.incomplete = true
	}
	return Member{Role: role, Sentinel: true}
}

func (m *members) checkSentinel(s section) {
	if s.values["sentinel"] != true {
		m.add(s.place("sentinel"), describe(s.values["sentinel"]), "true, or a pattern in quotes instead of the table")
	}
}

// checkPatterns makes sure that the captures of any two members can be compared.
func (m *members) checkPatterns() {
	patterns := 0
	for _, member := range m.list {
		if member.Pattern == nil {
			continue
		}
		patterns++
		for _, name := range member.Pattern.Placeholders() {
			if !slices.Contains(m.placeholders, name) {
				m.placeholders = append(m.placeholders, name)
			}
		}
	}
	switch {
	case m.values == nil || m.incomplete:
	case patterns == 0:
		m.add(m.here(), "no role with a pattern", "at least one, or no file is ever bundled")
	case len(m.placeholders) == 0:
		m.add(m.here(), "patterns without a placeholder", `one such as "{run...}/" in each: what it captures names the bundle`)
	}
	for _, member := range m.list {
		m.checkPlaceholders(member)
	}
}

func (m *members) checkPlaceholders(member Member) {
	if member.Pattern == nil {
		return
	}
	if missing := without(m.placeholders, member.Pattern.Placeholders()); len(missing) > 0 {
		found := strconv.Quote(member.Pattern.String()) + " without " + braced(missing)
		m.add(m.place(member.Role), found, "every placeholder to occur in every pattern of the watch: match what varies in one role only with *")
	}
}

// checkUse makes sure that the members capture what the pattern of config files needs.
func (m *members) checkUse(at place, p *pattern.Pattern) {
	if unknown := without(p.Placeholders(), m.placeholders); len(unknown) > 0 && !m.incomplete {
		found := strconv.Quote(p.String()) + " with " + braced(unknown)
		m.suggest(at, found, "only placeholders of [watch.members]: "+braced(m.placeholders), nearest(unknown[0], m.placeholders))
	}
}

// here returns where the table is.
func (m *members) here() place { return place{line: m.line, key: dotted(m.path)} }

func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

func braced(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return "{" + strings.Join(names, "}, {") + "}"
}
