package pickle

// Children returns the values that a value holds directly, in the order of the pickle: of a dict its
// keys and values by turns, of an object its class, arguments, items and state.
func Children(v any) []any { return AppendChildren(nil, v) }

// AppendChildren appends what [Children] returns.
func AppendChildren(dst []any, v any) []any {
	switch t := v.(type) {
	case *List:
		return append(dst, t.Items...)
	case *Tuple:
		return append(dst, t.Items...)
	case *Set:
		return append(dst, t.Items...)
	case *PersistentID:
		return append(dst, t.ID)
	case *Dict:
		return t.appendPairs(dst)
	case *Object:
		dst = append(append(dst, t.Class), t.Args...)
		dst = t.Kwargs.appendPairs(dst)
		dst = append(dst, t.Appended...)
		dst = t.Items.appendPairs(dst)
		return append(dst, t.State)
	case *TensorCall:
		return AppendChildren(dst, t.Object())
	}
	return dst
}

func (d *Dict) appendPairs(dst []any) []any {
	if d == nil {
		return dst
	}
	return append(dst, d.pairs...)
}
