package snapshot

import (
	"math"
	"math/big"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// merger lays mappings over each other, the later over the earlier, and notes what is overridden.
type merger struct {
	notes   *notebook
	tree    *pickle.Dict
	origins map[string]origin // of every value that is no mapping, by dotted path
	used    []origin
}

// origin says where a value comes from: a file, or whose hyper_parameters.
type origin struct {
	name string // for the archive
	path string // for the person who has to find it
}

func newMerger(notes *notebook) *merger {
	return &merger{notes: notes, tree: &pickle.Dict{}, origins: make(map[string]origin)}
}

func (m *merger) add(tree *pickle.Dict, from origin) {
	if len(m.used) == 0 || m.used[len(m.used)-1] != from {
		m.used = append(m.used, from)
	}
	m.lay(m.tree, tree, from, "")
}

func (m *merger) lay(over, tree *pickle.Dict, from origin, prefix string) {
	for key, value := range tree.All() {
		path := prefix + key.(string)
		below, exists := over.Get(key)
		upper, isDict := value.(*pickle.Dict)
		lower, wasDict := below.(*pickle.Dict)
		if exists && (!isDict || !wasDict) && !equal(below, value) {
			m.noteConflict(path, below, value, from)
		}
		if !isDict {
			over.Set(key, value)
			m.origins[path] = from
			continue
		}
		if !wasDict {
			lower = &pickle.Dict{}
			over.Set(key, lower)
		}
		m.lay(lower, upper, from, path+".")
	}
}

func (m *merger) noteConflict(path string, below, value any, from origin) {
	before := "an earlier source"
	if o, ok := m.origins[path]; ok {
		before = o.name
	}
	m.notes.put(Note{
		Kind: NoteConflict, Source: from.name, Key: clip(path),
		Text: show(below) + " in " + quote(before) + ", " + show(value) + " here: the later wins",
	})
}

// equal compares two plain values; a list and a tuple of equal items are equal, and NaN is itself.
func equal(a, b any) bool {
	if x, ok := items(a); ok {
		y, ok := items(b)
		return ok && equalItems(x, y)
	}
	switch x := a.(type) {
	case *pickle.Dict:
		y, ok := b.(*pickle.Dict)
		return ok && equalDicts(x, y)
	case *big.Int:
		y, ok := b.(*big.Int)
		return ok && x.Cmp(y) == 0
	case float64:
		y, ok := b.(float64)
		return ok && (x == y || math.IsNaN(x) && math.IsNaN(y))
	}
	return a == b
}

// items returns the elements of a list or a tuple.
func items(v any) ([]any, bool) {
	switch v := v.(type) {
	case *pickle.List:
		return v.Items, true
	case *pickle.Tuple:
		return v.Items, true
	}
	return nil, false
}

func equalItems(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func equalDicts(a, b *pickle.Dict) bool {
	if a.Len() != b.Len() {
		return false
	}
	for key, value := range a.All() {
		other, ok := b.Get(key)
		if !ok || !equal(value, other) {
			return false
		}
	}
	return true
}
