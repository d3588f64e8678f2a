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
	// Count is the number of its values that are tensors.
	Count int
	// Extra are the keys whose values are no tensors.
	Extra []string

	file *torchFile
}

// Tensors returns the values that are tensors, in the order of the dict.
func (s *StateDict) Tensors() []Tensor {
	tensors := make([]Tensor, 0, s.Count)
	for k, item := range mapping(s.Value).All() {
		if t, isTensor, err := s.file.tensor(k.(string), item); isTensor && err == nil { // as it was found before
			tensors = append(tensors, t)
		}
	}
	return tensors
}

// mapping returns the items of a dict or of an instance with items (OrderedDict, defaultdict, …), nil
// for other values.
func mapping(v any) *pickle.Dict {
	switch t := v.(type) {
	case *pickle.Dict:
		return t
	case *pickle.Object:
		if len(t.Args) > 0 && (t.Is("collections", "OrderedDict") || t.Is("collections", "Counter")) {
			return nil // its items are in the arguments, where torch never puts them
		}
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
//
// Only torch's formats have one ([Checkpoint.IsTorch]).
func (c *Checkpoint) StateDict(selection string) (*StateDict, error) {
	if c.torch == nil {
		return nil, broken("a file of format %q has no state_dict; it travels as it is with keep = \"verbatim\" under [watch.payload]", c.Format)
	}
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
	if d.Count == 0 && root.Len() > 0 {
		return nil, broken("no state_dict: the top level holds %s; name one with select, or carry the whole file with keep = \"verbatim\", under [watch.payload]", describeKeys(root))
	}
	return d, nil
}

// nextKey splits a dotted path after the longest key that the dict has, or else at the first dot.
func nextKey(d *pickle.Dict, path string) (key, rest string) {
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '.') {
		if d.Has(path[:end]) {
			return path[:end], strings.TrimPrefix(path[end:], ".")
		}
	}
	key, rest, _ = strings.Cut(path, ".")
	return key, rest
}

// selected follows a dotted path. A key that itself has dots wins over the path.
func (c *Checkpoint) selected(selection string) (*StateDict, error) {
	v := c.Root
	for rest := selection; rest != ""; {
		d := mapping(v)
		if d == nil {
			return nil, broken("select = %q: %q lies in %s, not in a dict", selection, rest, pickle.Kind(v))
		}
		key, after := nextKey(d, rest)
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
	s := &StateDict{Value: v, Path: path, file: c.torch}
	found := listing{visit: func(Tensor) error { return nil }}
	for k, item := range mapping(v).All() {
		name, ok := k.(string)
		if !ok {
			return nil, broken("the state_dict has a key that is %s, not a str", pickle.Kind(k))
		}
		t, isTensor, err := c.torch.tensor(name, item)
		if err != nil {
			return nil, err
		}
		if isTensor {
			if err := found.add(t); err != nil {
				return nil, err
			}
		} else {
			s.Extra = append(s.Extra, name)
		}
	}
	s.Count = found.count
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
		keys = append(keys, fmt.Sprintf("%.60q (%s)", keyText(k), kindOf(v)))
	}
	return strings.Join(keys, ", ")
}

// kindOf is pickle.Kind with a word for tensors.
func kindOf(v any) string {
	if o, _ := rebuildCall(v); o != nil {
		return "a tensor"
	}
	return pickle.Kind(v)
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
			dropped = append(dropped, keyText(k))
		}
	}
	sort.Strings(dropped)
	return dropped
}

// AllTensors lists every tensor of the checkpoint, wherever it is. The list of a format whose tensors are not
// read, such as HDF5, is empty.
func (c *Checkpoint) AllTensors() ([]Tensor, error) {
	list, err := c.ListAll()
	if err != nil {
		return nil, err
	}
	return list.All()
}

// ListAll is [Checkpoint.AllTensors] in little memory.
func (c *Checkpoint) ListAll() (TensorList, error) {
	if c.torch == nil {
		return ListTensors(append([]Tensor{}, c.tensors...)), nil
	}
	return c.ListIn(c.Root)
}

// ListIn lists the tensors in a value of the checkpoint, named by their paths with slashes between
// the keys of nested containers.
func (c *Checkpoint) ListIn(v any) (TensorList, error) {
	if c.torch == nil {
		return ListTensors([]Tensor{}), nil
	}
	return listAnew(func(visit func(Tensor) error) error {
		l := tensorLister{file: c.torch, seen: make(map[any]bool), listing: listing{visit: visit}}
		return l.list(v)
	})
}

// Owns tells whether all storages that a value refers to are referred to by this checkpoint: the value
// was read from it.
func (c *Checkpoint) Owns(v any) bool {
	ours := make(map[any]bool)
	collect := func(visit func(id any)) func(any) bool {
		return func(node any) bool {
			switch node.(type) {
			case *pickle.PersistentID, *pickle.TensorCall:
				visit(node)
				return false
			}
			return true
		}
	}
	walk(c.Root, collect(func(id any) { ours[id] = true }))
	owned := true
	walk(v, collect(func(id any) { owned = owned && ours[id] }))
	return owned
}
