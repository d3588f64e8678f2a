package watch

import (
	"iter"
	"maps"
	"slices"
)

// entry is what can be in a group.
type entry interface {
	comparable
	// base is the name in the directory.
	base() string
}

// group holds what is known in one directory, by name. Most directories hold few things, for which a map would
// take some hundred bytes. A nil group is empty.
type group[T entry] struct {
	few  []T
	many map[string]T // all, once there were more than fewest; else nil
}

const fewest = 8

// get returns the entry of this name, the zero value when there is none.
func (g *group[T]) get(name string) T {
	var none T
	if g == nil {
		return none
	}
	if g.many != nil {
		return g.many[name]
	}
	for _, e := range g.few {
		if e.base() == name {
			return e
		}
	}
	return none
}

// with returns the group with one more entry, of a name that it does not have.
func (g *group[T]) with(e T) *group[T] {
	if g == nil {
		g = &group[T]{}
	}
	switch {
	case g.many != nil:
		g.many[e.base()] = e
	case len(g.few) < fewest:
		g.few = append(g.few, e)
	default:
		g.many = make(map[string]T, 2*fewest)
		for _, known := range g.few {
			g.many[known.base()] = known
		}
		g.many[e.base()] = e
		g.few = nil
	}
	return g
}

// without returns the group without an entry.
func (g *group[T]) without(e T) *group[T] {
	if g == nil {
		return nil
	}
	if g.many != nil {
		delete(g.many, e.base())
		return g
	}
	if g.few = slices.DeleteFunc(g.few, func(known T) bool { return known == e }); len(g.few) == 0 {
		return nil
	}
	return g
}

// all returns the entries in any order. Those that are taken out meanwhile may be among them or not.
func (g *group[T]) all() iter.Seq[T] {
	if g == nil {
		return func(func(T) bool) {}
	}
	if g.many != nil {
		return maps.Values(g.many)
	}
	return func(yield func(T) bool) {
		var none T
		few := g.few
		for i := len(few) - 1; i >= 0; i-- { // what is taken out moves those that had their turn
			if few[i] != none && !yield(few[i]) {
				return
			}
		}
	}
}
