package checkpoint

import (
	"fmt"
	"sort"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// StateDict is the part of a checkpoint that holds a model's weights.
type StateDict struct {
	// Value is the dict or OrderedDict, with all that hangs on it.
	Value any
	// Path says where in the checkpoint it is: "" for the whole, "state_dict" in a Lightning checkpoint.
	Path string
	// Sentinel is the role named by a sentinel dict {'_sentinel': role}, which has no tensors.
	Sentinel string
	// Tensors in the order of the dict.
	Tensors []Tensor
	// Extra are the keys whose values are no tensors.
	Extra []string
}

// mapping returns the items of a dict or of an instance with items (OrderedDict, defaultdict, …), nil
// for other values.
func mapping(v any) *pickle.Dict {
	switch t := v.(type) {
	case *pickle.Dict:
		return t
	case *pickle.Object:
		if t.Items != nil {
			return t.Items
		}
		if t.Is("collections", "OrderedDict") {
			return &pickle.Dict{}
		}
	}
	return nil
}

// StateDict finds the state_dict. selection is the key under which it is, with dots between nested
// keys; "" means: the whole checkpoint if it is a state_dict, else what is under "state_dict".
func (c *Checkpoint) StateDict(selection string) (*StateDict, error) {
	if selection != "" {
		return c.selected(selection)
	}
	root := mapping(c.Root)
	if root == nil {
		return nil, broken("the checkpoint holds %s, not a state_dict", pickle.Kind(c.Root))
	}
	if v, ok := root.Get("state_dict"); ok && mapping(v) != nil {
		return c.readStateDict(v, "state_dict")
	}
	if role, ok := root.Get("_sentinel"); ok && root.Len() == 1 {
		if s, ok := role.(string); ok {
			return &StateDict{Value: c.Root, Sentinel: s}, nil
		}
	}
	d, err := c.readStateDict(c.Root, "")
	if err != nil {
		return nil, err
	}
	if len(d.Tensors) == 0 && root.Len() > 0 {
		return nil, broken("no state_dict: the top level holds %s; name one with select under [watch.payload]", describeKeys(root))
	}
	return d, nil
}

// selected follows a dotted path. A key that itself has dots wins over the path.
func (c *Checkpoint) selected(selection string) (*StateDict, error) {
	v := c.Root
	for rest := selection; rest != ""; {
		d := mapping(v)
		if d == nil {
			return nil, broken("select = %q: %q lies in %s, not in a dict", selection, rest, pickle.Kind(v))
		}
		key, after := rest, ""
		if !d.Has(rest) {
			key, after, _ = strings.Cut(rest, ".")
		}
		next, ok := d.Get(key)
		if !ok {
			return nil, broken("select = %q: there is no %q; the checkpoint holds %s", selection, key, describeKeys(d))
		}
		v, rest = next, after
	}
	if mapping(v) == nil {
		return nil, broken("select = %q: it is %s, not a state_dict", selection, pickle.Kind(v))
	}
	return c.readStateDict(v, selection)
}

func (c *Checkpoint) readStateDict(v any, path string) (*StateDict, error) {
	s := &StateDict{Value: v, Path: path}
	for k, item := range mapping(v).All() {
		name, ok := k.(string)
		if !ok {
			return nil, broken("the state_dict has a key that is %s, not a str", pickle.Kind(k))
		}
		t, isTensor, err := c.tensor(name, item)
		if err != nil {
			return nil, err
		}
		if isTensor {
			s.Tensors = append(s.Tensors, t)
		} else {
			s.Extra = append(s.Extra, name)
		}
	}
	return s, nil
}

// describeKeys lists the keys of a dict with the kinds of their values, for people.
func describeKeys(d *pickle.Dict) string {
	const most = 12
	var keys []string
	for k, v := range d.All() {
		if len(keys) == most {
			keys = append(keys, fmt.Sprintf("and %d more", d.Len()-most))
			break
		}
		keys = append(keys, fmt.Sprintf("%q (%s)", fmt.Sprint(k), pickle.Kind(v)))
	}
	return strings.Join(keys, ", ")
}

// Dropped lists the top-level keys that do not travel with a state_dict.
func (c *Checkpoint) Dropped(s *StateDict) []string {
	if s.Path == "" {
		return nil
	}
	first, _, _ := strings.Cut(s.Path, ".")
	var dropped []string
	for k := range mapping(c.Root).All() {
		if name, ok := k.(string); !ok || (name != s.Path && name != first) {
			dropped = append(dropped, fmt.Sprint(k))
		}
	}
	sort.Strings(dropped)
	return dropped
}

// AllTensors lists every tensor of the checkpoint, wherever it is.
func (c *Checkpoint) AllTensors() ([]Tensor, error) { return c.TensorsIn(c.Root) }

// TensorsIn lists the tensors in a value of the checkpoint, named by their paths with slashes between
// the keys of nested containers.
func (c *Checkpoint) TensorsIn(v any) ([]Tensor, error) {
	l := tensorLister{checkpoint: c, seen: make(map[any]bool), tensors: []Tensor{}}
	err := l.list("", v, 0)
	return l.tensors, err
}

// Owns tells whether all storages that a value refers to are referred to by this checkpoint: the value
// was read from it.
func (c *Checkpoint) Owns(v any) bool {
	ours := make(map[any]bool)
	collect := func(visit func(id any)) func(any) bool {
		return func(node any) bool {
			if _, ok := node.(*pickle.PersistentID); ok {
				visit(node)
			}
			return true
		}
	}
	walk(c.Root, collect(func(id any) { ours[id] = true }))
	owned := true
	walk(v, collect(func(id any) { owned = owned && ours[id] }))
	return owned
}

type tensorLister struct {
	checkpoint *Checkpoint
	tensors    []Tensor
	seen       map[any]bool // containers on the way down or behind us: each is listed once
}

func (l *tensorLister) list(path string, v any, depth int) error {
	t, ok, err := l.checkpoint.tensor(path, v)
	if err != nil || ok {
		if ok && err == nil {
			l.tensors = append(l.tensors, t)
		}
		return err
	}
	if depth > pickle.MaxDepth {
		return broken("values are nested more than %d deep", pickle.MaxDepth)
	}
	if items, ok := sequence(v); ok {
		return l.listItems(path, v, items, depth)
	}
	d := mapping(v)
	if d == nil || l.seen[v] {
		return nil
	}
	l.seen[v] = true
	for k, item := range d.All() {
		if err := l.list(join(path, fmt.Sprint(k)), item, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (l *tensorLister) listItems(path string, v any, items []any, depth int) error {
	if l.seen[v] {
		return nil
	}
	l.seen[v] = true
	for i, item := range items {
		if err := l.list(join(path, fmt.Sprint(i)), item, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "/" + key
}
