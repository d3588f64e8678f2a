package pickle

// Children returns the values that a value holds directly, in the order of the pickle: of a dict its
// keys and values by turns, of an object its class, arguments, items and state.
func Children(v any) []any {
	switch t := v.(type) {
	case *List:
		return t.Items
	case *Tuple:
		return t.Items
	case *Set:
		return t.Items
	case *PersistentID:
		return []any{t.ID}
	case *Dict:
		return t.pairs()
	case *Object:
		all := append([]any{t.Class}, t.Args...)
		all = append(all, t.Kwargs.pairs()...)
		all = append(all, t.Appended...)
		all = append(all, t.Items.pairs()...)
		return append(all, t.State)
	}
	return nil
}

func (d *Dict) pairs() []any {
	all := make([]any, 0, 2*d.Len())
	for k, v := range d.All() {
		all = append(all, k, v)
	}
	return all
}
