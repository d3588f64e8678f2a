package pickle

import "iter"

// Bytes is a Python bytes or bytearray object.
type Bytes []byte

// List is a Python list. It is a pointer type everywhere, because lists can be shared and can hold
// themselves.
type List struct {
	Items []any
	single
}

// Tuple is a Python tuple.
type Tuple struct {
	Items []any
	single
}

// Set is a Python set or frozenset, in the order of the pickle.
type Set struct {
	Items  []any
	Frozen bool

	index *keyIndex // of a set that was read, with more than fewKeys members
	single
}

// add appends a member that is not there yet.
func (s *Set) add(v any) {
	if slot, place := findKey(s.index, s.Items, 1, hashable(v)); place < 0 {
		s.Items = append(s.Items, v)
		s.index = noteKey(s.index, slot, s.Items, 1)
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

	single
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
type PersistentID struct {
	ID any
	single
}

// Dict is a Python dict in insertion order. The zero value is empty and ready to use.
type Dict struct {
	pairs []any     // key, value, key, value, …
	index *keyIndex // of dicts with more than fewKeys keys
	single
}

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
func (d *Dict) Set(key, value any) { d.replace(key, value) }

// replace is Set that returns the value that the key had before, if it was there.
func (d *Dict) replace(key, value any) (old any, again bool) {
	slot, i := d.find(key)
	if i >= 0 {
		old, d.pairs[2*i+1] = d.pairs[2*i+1], value
		return old, true
	}
	d.pairs = append(d.pairs, key, value)
	d.index = noteKey(d.index, slot, d.pairs, 2)
	return nil, false
}

// find returns the slot for a key, and its place, or -1.
func (d *Dict) find(key any) (slot, place int) { return findKey(d.index, d.pairs, 2, hashable(key)) }

// Get returns the value of key, and whether it is there.
func (d *Dict) Get(key any) (any, bool) {
	if d == nil {
		return nil, false
	}
	if _, i := d.find(key); i >= 0 {
		return d.pairs[2*i+1], true
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
	return len(d.pairs) / 2
}

// All yields the pairs in insertion order.
func (d *Dict) All() iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		if d == nil {
			return
		}
		for i := 0; i < len(d.pairs); i += 2 {
			if !yield(d.pairs[i], d.pairs[i+1]) {
				return
			}
		}
	}
}
