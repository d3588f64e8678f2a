package pickle

// single is part of the values that can be referred to from several places.
type single struct{ once bool }

// IsSingle tells whether it is known of a value that nothing but its container refers to it: it was read, and the
// pickle never asked for it again. Whoever walks over values need not remember those. Values that were made in Go are
// not known to be single.
func IsSingle(v any) bool {
	s := singleOf(v)
	return s != nil && s.once
}

func singleOf(v any) *single {
	switch t := v.(type) {
	case *List:
		return &t.single
	case *Tuple:
		return &t.single
	case *Set:
		return &t.single
	case *Dict:
		return &t.single
	case *Object:
		return &t.single
	case *PersistentID:
		return &t.single
	case *TensorCall:
		return &t.single
	}
	return nil
}

// share notes that there is another way to a value.
func share(v any) {
	if s := singleOf(v); s != nil {
		s.once = false
	}
}
