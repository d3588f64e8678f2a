// Package pair groups files into sets: one file for each role, with equal captures. It knows which set is
// complete and what the others wait for, and nothing of what the files hold.
package pair

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// Role is a place in a set and the pattern of the files that can take it.
type Role struct {
	Name    string
	Pattern *pattern.Pattern
}

// Hit says that a file can take a role in the set of these captures, or is in a directory that can.
type Hit struct {
	Role     string
	Captures pattern.Captures
	Path     string // what takes the role: the file, or the directory
	Tree     bool   // it is the directory
}

// Member is a file that is a candidate for a role.
type Member[M any] struct {
	Path    string // relative to the root
	ModTime int64  // ns
	// Wait is why the file cannot be used yet, nil when it is finished and whole.
	Wait error
	// Refused tells that Wait is a verdict on the file: it changes only when the file does.
	Refused bool
	Value   M

	role int32 // its position among the roles
}

// Table holds the sets of one watch: M is what is kept with a member, S with a set. It is not safe for
// use by several goroutines.
type Table[M, S any] struct {
	roles    []Role
	names    []string // placeholders in the order of the key
	rootBase string
	sets     map[string]*Set[M, S]
	byPath   map[string]*Set[M, S]   // the first set of a path
	more     map[string][]*Set[M, S] // the others of the few paths that are in several
}

// NewTable returns an empty table for a watch whose root has the given base name.
func NewTable[M, S any](members []config.Member, rootBase string) *Table[M, S] {
	t := &Table[M, S]{rootBase: rootBase, sets: make(map[string]*Set[M, S]), byPath: make(map[string]*Set[M, S]), more: make(map[string][]*Set[M, S])}
	for _, m := range members {
		if m.Sentinel {
			continue
		}
		if t.names == nil {
			t.names = m.Pattern.Placeholders()
		}
		t.roles = append(t.roles, Role{Name: m.Role, Pattern: m.Pattern})
	}
	return t
}

// Wants tells whether a file can take any role, or is in a directory that can.
func (t *Table[M, S]) Wants(path string) bool {
	for _, r := range t.roles {
		if _, ok := t.match(r, path); ok {
			return true
		}
	}
	return false
}

// Hits returns the roles that a file can take, or the directory that it is in.
func (t *Table[M, S]) Hits(path string) []Hit {
	var hits []Hit
	for _, r := range t.roles {
		if h, ok := t.match(r, path); ok {
			hits = append(hits, h)
		}
	}
	return hits
}

// match matches a file, or for a pattern of directories the outermost directory that the file is in.
func (t *Table[M, S]) match(r Role, path string) (Hit, bool) {
	if !r.Pattern.IsDir() {
		c, ok := r.Pattern.Match(path, t.rootBase)
		return Hit{Role: r.Name, Captures: c, Path: path}, ok
	}
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		if c, ok := r.Pattern.Match(path[:i], t.rootBase); ok {
			return Hit{Role: r.Name, Captures: c, Path: path[:i], Tree: true}, true
		}
	}
	return Hit{}, false
}

// index returns the position of a role among the roles, -1 when there is no such role.
func (t *Table[M, S]) index(role string) int32 {
	return int32(slices.IndexFunc(t.roles, func(r Role) bool { return r.Name == role }))
}

// Roles returns the roles that need a file, in the order of the config.
func (t *Table[M, S]) Roles() []Role { return t.roles }

// Put makes a member a candidate, in place of one of the same path, and returns its set.
func (t *Table[M, S]) Put(h Hit, m *Member[M], now time.Time) *Set[M, S] {
	id := h.Captures.Identity()
	s := t.sets[id]
	if s == nil {
		s = &Set[M, S]{Key: h.Captures.KeyOf(t.names), Captures: h.Captures, Since: now, table: t, id: id}
		t.sets[id] = s
	}
	m.role = t.index(h.Role)
	s.candidates = slices.DeleteFunc(s.candidates, func(old *Member[M]) bool { return old.role == m.role && old.Path == m.Path })
	s.candidates = append(s.candidates, m)
	slices.SortFunc(s.candidates, func(a, b *Member[M]) int {
		return cmp.Or(cmp.Compare(b.ModTime, a.ModTime), cmp.Compare(b.Path, a.Path))
	})
	switch first := t.byPath[m.Path]; {
	case first == nil:
		t.byPath[m.Path] = s
	case first != s && !slices.Contains(t.more[m.Path], s):
		t.more[m.Path] = append(t.more[m.Path], s)
	}
	return s
}

// Find returns the sets that a path is a candidate in.
func (t *Table[M, S]) Find(path string) []*Set[M, S] {
	first := t.byPath[path]
	if first == nil {
		return nil
	}
	return append([]*Set[M, S]{first}, t.more[path]...)
}

// Remove takes a path out of its sets. A set without candidates is forgotten.
func (t *Table[M, S]) Remove(path string) {
	for _, s := range t.Find(path) {
		s.candidates = slices.DeleteFunc(s.candidates, func(m *Member[M]) bool { return m.Path == path })
		if len(s.candidates) == 0 {
			delete(t.sets, s.id)
		}
	}
	delete(t.byPath, path)
	delete(t.more, path)
}

// Len returns how many sets there are.
func (t *Table[M, S]) Len() int { return len(t.sets) }

// Sets returns all sets in the order of their keys.
func (t *Table[M, S]) Sets() []*Set[M, S] {
	all := make([]*Set[M, S], 0, len(t.sets))
	for _, s := range t.sets {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Set[M, S]) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.id, b.id)) })
	return all
}

// Current returns the set of the table that has the captures of s: s itself, nil when it was
// forgotten, or another one when its files came back since.
func (t *Table[M, S]) Current(s *Set[M, S]) *Set[M, S] { return t.sets[s.id] }

// Set is the files with equal captures.
type Set[M, S any] struct {
	Key      string
	Captures pattern.Captures
	Since    time.Time // when its first member was put
	State    S         // whatever the owner of the table keeps with a set

	table      *Table[M, S]
	id         string
	candidates []*Member[M] // for all roles, newest first
}

// Member returns the candidate for a role that counts: the newest. It is nil when there is none.
func (s *Set[M, S]) Member(role string) *Member[M] {
	position := s.table.index(role)
	for _, m := range s.candidates {
		if m.role == position {
			return m
		}
	}
	return nil
}

// Candidate returns the candidate for a role that has this path, or nil.
func (s *Set[M, S]) Candidate(role, path string) *Member[M] {
	position := s.table.index(role)
	for _, m := range s.candidates {
		if m.role == position && m.Path == path {
			return m
		}
	}
	return nil
}

// Candidates returns all candidates for a role, newest first.
func (s *Set[M, S]) Candidates(role string) []*Member[M] {
	position := s.table.index(role)
	return slices.DeleteFunc(slices.Clone(s.candidates), func(m *Member[M]) bool { return m.role != position })
}

// Older returns the paths of the candidates for a role that are passed over, newest first.
func (s *Set[M, S]) Older(role string) []string {
	var paths []string
	if list := s.Candidates(role); len(list) > 1 {
		for _, m := range list[1:] {
			paths = append(paths, m.Path)
		}
	}
	return paths
}

// Missing says why a set is not complete: one entry for each role that has no finished, whole file.
type Missing struct {
	Role    string
	Path    string // "" when no file matches
	Reason  error
	Refused bool
}

func (m Missing) String() string { return fmt.Sprintf("%s: %v", m.Role, m.Reason) }

// Complete tells whether every role has a finished, whole file.
func (s *Set[M, S]) Complete() bool {
	for _, r := range s.table.roles {
		if m := s.Member(r.Name); m == nil || m.Wait != nil {
			return false
		}
	}
	return true
}

// Missing returns what the set waits for, in the order of the config; nothing when it is complete.
func (s *Set[M, S]) Missing() []Missing {
	var missing []Missing
	for _, r := range s.table.roles {
		m := s.Member(r.Name)
		switch {
		case m == nil:
			missing = append(missing, Missing{Role: r.Name, Reason: fmt.Errorf("no file %s", s.expected(r))})
		case m.Wait != nil:
			missing = append(missing, Missing{Role: r.Name, Path: m.Path, Reason: m.Wait, Refused: m.Refused})
		}
	}
	return missing
}

// expected names the file that a role waits for.
func (s *Set[M, S]) expected(r Role) string {
	g, err := r.Pattern.Bind(s.Captures)
	if err != nil {
		return r.Pattern.String()
	}
	return g.String()
}

// ErrKey is the reason why a set cannot be published under its key.
var ErrKey = errors.New("the key cannot be used as a path")

// maxSegment is how long a segment of a key may be in bytes: a file name's limit, less room for "~1000".
const maxSegment = 250

// CheckKey makes sure that a key can name a bundle: UTF-8 without control characters, no segment that is
// special or too long.
func CheckKey(key string) error {
	if !utf8.ValidString(key) {
		return fmt.Errorf("%w: %q is not UTF-8", ErrKey, key)
	}
	for _, r := range key {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("%w: %q holds the control character %U", ErrKey, key, r)
		}
	}
	for _, segment := range strings.Split(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("%w: %q has the segment %q", ErrKey, key, segment)
		}
		if len(segment) > maxSegment {
			return fmt.Errorf("%w: a segment of %d bytes is longer than %d", ErrKey, len(segment), maxSegment)
		}
	}
	return nil
}
