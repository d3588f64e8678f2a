package pickle

import "iter"

// Bytes is a Python bytes or bytearray object.
type Bytes []byte

// List is a Python list. It is a pointer type everywhere, because lists can be shared and can hold
// themselves.
type List struct{ Items []any }

// Tuple is a Python tuple.
type Tuple struct{ Items []any }

// Set is a Python set or frozenset, in the order of the pickle.
type Set struct {
	Items  []any
	Frozen bool

	members Dict // the items as keys, of a set that was read
}

// add appends a member that is not there yet.
func (s *Set) add(v any) {
	if !s.members.Has(v) {
		s.members.Set(v, nil)
		s.Items = append(s.Items, v)
	}
}

// Global is a name that the pickle imports: a class or a function.
type Global struct{ Module, Name string }

// String returns the dotted name, such as "torch._utils._rebuild_tensor_v2".
func (g *Global) String() string { return g.Module + "." + g.Name }

// Object is what a call (REDUCE), an instance creation (NEWOBJ, INST, OBJ, …) would have returned.
type Object struct {
	// Class is what would have been called: usually a *Global, in hostile files anything.
	Class any
	// Args are the positional arguments.
	Args []any
	// Kwargs are the keyword arguments of NEWOBJ_EX, else nil.
	Kwargs *Dict
	// New tells an instance creation (NEWOBJ, NEWOBJ_EX) from a call.
	New bool
	// State is the argument of BUILD, nil when there was none.
	State any
	// Built tells that there was a BUILD.
	Built bool
	// Items are the pairs that SETITEM and SETITEMS added, as for an OrderedDict; nil when there were none.
	Items *Dict
	// Appended are the values that APPEND, APPENDS and ADDITEMS added.
	Appended []any
}

// Is tells whether the object's class is the import module.name.
func (o *Object) Is(module, name string) bool {
	g, ok := o.Class.(*Global)
	return ok && g.Module == module && g.Name == name
}

// ClassName returns the dotted name of the object's class, "?" when it is not a plain import.
func (o *Object) ClassName() string {
	if g, ok := o.Class.(*Global); ok {
		return g.String()
	}
	return "?"
}

// PersistentID stands for an object outside of the pickle. Torch uses the tuple
// ('storage', StorageType, key, location, numel).
type PersistentID struct{ ID any }

// Dict is a Python dict in insertion order. The zero value is empty and ready to use.
type Dict struct {
	keys   []any
	values []any
	index  map[any]int // of dicts with more than fewKeys keys
}

// fewKeys is how many keys are searched one by one: most dicts are small, and there are many.
const fewKeys = 8

// NewDict returns a dict of the given pairs: key, value, key, value, …
func NewDict(pairs ...any) *Dict {
	d := &Dict{}
	for i := 0; i+1 < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return d
}

// Set gives key a value. As in Python, a key that is there keeps its place. Keys that have no value in
// Go (objects, tuples of them) are compared by identity.
func (d *Dict) Set(key, value any) {
	k := hashable(key)
	if i := d.find(k); i >= 0 {
		d.values[i] = value
		return
	}
	d.keys = append(d.keys, key)
	d.values = append(d.values, value)
	switch {
	case d.index != nil:
		d.index[k] = len(d.keys) - 1
	case len(d.keys) > fewKeys:
		d.index = make(map[any]int, 2*fewKeys)
		for i, key := range d.keys {
			d.index[hashable(key)] = i
		}
	}
}

// find returns the place of a key that was made hashable, or -1.
func (d *Dict) find(k any) int {
	if d.index != nil {
		if i, ok := d.index[k]; ok {
			return i
		}
		return -1
	}
	for i, key := range d.keys {
		if hashable(key) == k {
			return i
		}
	}
	return -1
}

// Get returns the value of key, and whether it is there.
func (d *Dict) Get(key any) (any, bool) {
	if d == nil {
		return nil, false
	}
	if i := d.find(hashable(key)); i >= 0 {
		return d.values[i], true
	}
	return nil, false
}

// Has tells whether key is there.
func (d *Dict) Has(key any) bool {
	_, ok := d.Get(key)
	return ok
}

// Len returns the number of keys; 0 for a nil dict.
func (d *Dict) Len() int {
	if d == nil {
		return 0
	}
	return len(d.keys)
}

// All yields the pairs in insertion order.
func (d *Dict) All() iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		if d == nil {
			return
		}
		for i, k := range d.keys {
			if !yield(k, d.values[i]) {
				return
			}
		}
	}
}
