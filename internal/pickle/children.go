package pickle

import "slices"

// Walk visits a value and what it holds, parents before children, in the order of the pickle: of a dict its keys and values by
// turns, of an object its class, arguments, items and state. It takes no memory for each of them.
type Walk struct{ runs [][]any } // what is to be visited, what is next at the end; none is empty

// NewWalk returns a walk that begins with a value.
func NewWalk(v any) *Walk { return &Walk{runs: [][]any{{v}}} }

// Next returns the next value, and whether there is one.
func (w *Walk) Next() (v any, ok bool) {
	if len(w.runs) == 0 {
		return nil, false
	}
	last := &w.runs[len(w.runs)-1]
	v = (*last)[0]
	if *last = (*last)[1:]; len(*last) == 0 {
		w.runs = w.runs[:len(w.runs)-1]
	}
	return v, true
}

// Into lets the values come next that a value holds directly.
func (w *Walk) Into(v any) {
	above := len(w.runs)
	add := func(runs ...[]any) {
		for _, run := range runs {
			if len(run) > 0 {
				w.runs = append(w.runs, run)
			}
		}
	}
	switch t := v.(type) {
	case *List:
		add(t.Items)
	case *Tuple:
		add(t.Items)
	case *Set:
		add(t.Items)
	case *PersistentID:
		add([]any{t.ID})
	case *Dict:
		add(t.pairs)
	case *Object:
		add([]any{t.Class}, t.Args, t.Kwargs.all(), t.Appended, t.Items.all(), []any{t.State})
	case *TensorCall:
		w.Into(t.Object())
		return
	}
	slices.Reverse(w.runs[above:])
}

// all returns keys and values by turns; none for a nil dict.
func (d *Dict) all() []any {
	if d == nil {
		return nil
	}
	return d.pairs
}
