package snapshot

import (
	"fmt"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// Plain turns the pickled hyper_parameters of a checkpoint into plain values (see package pickle).
// Instances become dicts of their attributes, enum members their values, paths and torch dtypes
// and devices strings, numpy scalars numbers, tuples and sets lists. Tensors, arrays and bytes are
// left out; in a list, None takes their place. The notes say what was flattened and left out.
func Plain(v any) (plain any, notes []Note) {
	f := newFlattener(&notebook{}, false)
	plain, _ = f.value(v)
	return plain, f.notes.list()
}

// flattener makes plain values of pickled ones. Values that are shared are copied, up to maxValues;
// values that hold themselves are cut there.
type flattener struct {
	notes   *notebook
	exact   bool // tuples and tensors are kept as they are
	classes map[string]bool
	left    int
	path    []string
	open    map[any]bool // the containers and objects around the current value
}

func newFlattener(notes *notebook, exact bool) *flattener {
	return &flattener{notes: notes, exact: exact, classes: make(map[string]bool), left: maxValues, open: make(map[any]bool)}
}

// value returns the plain form of v, or false when v is left out.
func (f *flattener) value(v any) (any, bool) {
	if f.left--; f.left < 0 {
		f.notes.add(NoteLeftOut, "", "%v: the rest is left out", errTooMany)
		return nil, false
	}
	switch v := v.(type) {
	case pickle.Bytes:
		return f.leaveOut("bytes")
	case *pickle.PersistentID:
		return f.leaveOut("a reference to a tensor's storage")
	case *pickle.Global:
		return f.global(v), true
	case *pickle.TensorCall:
		if f.exact {
			return v, true
		}
		return f.leaveOut("a tensor")
	case *pickle.List, *pickle.Tuple, *pickle.Set, *pickle.Dict, *pickle.Object:
		return f.nested(v)
	}
	return v, true
}

func (f *flattener) leaveOut(what string) (any, bool) {
	f.notes.add(NoteLeftOut, f.key(), "%s left out of the params", what)
	return nil, false
}

// key is the dotted path of the current value.
func (f *flattener) key() string {
	return clip(strings.Join(f.path, "."))
}

// within runs flatten one level deeper, under a name.
func (f *flattener) within(name string, flatten func() (any, bool)) (any, bool) {
	f.path = append(f.path, clip(name))
	defer func() { f.path = f.path[:len(f.path)-1] }()
	return flatten()
}

func (f *flattener) nested(v any) (any, bool) {
	if f.open[v] {
		return f.leaveOut("a value that holds itself")
	}
	if len(f.open) >= maxDepth {
		return f.leaveOut(fmt.Sprintf("a value nested more than %d levels deep", maxDepth))
	}
	f.open[v] = true
	defer delete(f.open, v)
	switch v := v.(type) {
	case *pickle.List:
		return &pickle.List{Items: f.items(v.Items)}, true
	case *pickle.Set:
		return &pickle.List{Items: f.items(v.Items)}, true
	case *pickle.Tuple:
		if f.exact {
			return &pickle.Tuple{Items: f.items(v.Items)}, true
		}
		return &pickle.List{Items: f.items(v.Items)}, true
	case *pickle.Dict:
		return f.dict(v), true
	}
	return f.object(v.(*pickle.Object))
}

func (f *flattener) items(items []any) []any {
	if f.left < 0 {
		return nil
	}
	plain := make([]any, 0, min(len(items), f.left))
	for i, item := range items {
		if f.left < 0 {
			break
		}
		value, _ := f.within(fmt.Sprint(i), func() (any, bool) { return f.value(item) })
		plain = append(plain, value)
	}
	return plain
}

func (f *flattener) dict(d *pickle.Dict) *pickle.Dict {
	plain := &pickle.Dict{}
	f.into(plain, d)
	return plain
}

func (f *flattener) into(plain, d *pickle.Dict) {
	for key, value := range d.All() {
		if f.left < 0 {
			return
		}
		name, ok := f.name(key)
		if !ok {
			f.notes.add(NoteLeftOut, f.key(), "an entry whose key is %s left out", show(key))
			continue
		}
		if value, ok := f.within(name, func() (any, bool) { return f.value(value) }); ok {
			plain.Set(name, value)
		}
	}
}

// name returns a dict's key as a string.
func (f *flattener) name(key any) (string, bool) {
	if name, ok := key.(string); ok {
		return name, true
	}
	exact := f.exact
	f.exact = true
	value, ok := f.value(key)
	f.exact = exact
	if !ok {
		return "", false
	}
	return keyText(value)
}

// global returns the dotted name of an imported class, function or dtype.
func (f *flattener) global(g *pickle.Global) string {
	name := g.String()
	if g.Module != "torch" && g.Module != "numpy" { // theirs are dtypes
		f.notes.add(NoteClass, f.key(), "%s kept as its name", quote(name))
		f.classes[name] = true
	}
	return name
}
