package checkpoint

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// Limits of a listing. A pickle can refer to one tensor, or to one long key, many times at two bytes each.
const (
	maxTensors      = 1 << 19
	maxListingBytes = 64 << 20 // of all names and shapes together
)

// listing is a list of tensors that stays within the limits.
type listing struct {
	tensors  []Tensor
	count    int
	bytes    int
	expected int                // tensors that may still come: with the first of them, room is made for all
	visit    func(Tensor) error // is given the tensors instead; nil when they are to be kept
}

func (l *listing) add(t Tensor) error {
	l.bytes += len(t.Name) + 8*(len(t.Shape)+len(t.stride))
	if l.count == maxTensors || l.bytes > maxListingBytes {
		return broken("more than %d tensors, or more than %d bytes of names and shapes", maxTensors, maxListingBytes)
	}
	l.count++
	if l.visit != nil {
		return l.visit(t)
	}
	if len(l.tensors) == cap(l.tensors) {
		l.tensors = slices.Grow(l.tensors, min(max(l.expected, 1), maxTensors-len(l.tensors)))
		l.expected = 0
	}
	l.tensors = append(l.tensors, t)
	return nil
}

// tensorLister lists the tensors in a value, and spells their paths only when it meets one.
type tensorLister struct {
	listing
	file *torchFile
	seen map[any]bool // containers on the way down or behind us: each is listed once
	path []any        // keys and indexes
}

func (l *tensorLister) list(v any) error {
	t, ok, err := l.file.rebuild(v, 0)
	if ok {
		return l.addHere(t, err)
	}
	if len(l.path) > pickle.MaxDepth {
		return broken("values are nested more than %d deep", pickle.MaxDepth)
	}
	items, d := sequence(v), mapping(v)
	if items == nil && d == nil || l.seen[v] {
		return nil
	}
	if !pickle.IsSingle(v) {
		l.seen[v] = true
	}
	if d != nil {
		return l.listValues(d)
	}
	return l.listItems(items)
}

// addHere adds the tensor at the current path.
func (l *tensorLister) addHere(t Tensor, err error) error {
	keys, length := make([]string, len(l.path)), 0
	for i, key := range l.path {
		keys[i] = keyText(key)
		length += len(keys[i]) + 1
	}
	if l.bytes+length > maxListingBytes {
		return broken("more than %d bytes of names and shapes", maxListingBytes)
	}
	t.Name = strings.Join(keys, "/")
	if err != nil {
		return fmt.Errorf("tensor %.200q: %w", t.Name, err)
	}
	return l.add(t)
}

func (l *tensorLister) listItems(items []any) error {
	for i, item := range items {
		if err := l.below(int64(i), item); err != nil {
			return err
		}
	}
	return nil
}

func (l *tensorLister) listValues(d *pickle.Dict) error {
	for k, item := range d.All() {
		if err := l.below(k, item); err != nil {
			return err
		}
	}
	return nil
}

func (l *tensorLister) below(key, item any) error {
	switch item.(type) {
	case nil, bool, int64, float64, string:
		return nil
	}
	l.path = append(l.path, key)
	err := l.list(item)
	l.path = l.path[:len(l.path)-1]
	return err
}

// sequence returns the items of a list or tuple.
func sequence(v any) []any {
	switch t := v.(type) {
	case *pickle.Tuple:
		return t.Items
	case *pickle.List:
		return t.Items
	}
	return nil
}

// keyText spells a dict's key for people. What is neither text nor a number is named by its kind.
func keyText(k any) string {
	switch t := k.(type) {
	case string:
		return t
	case nil, bool, int64, float64, *big.Int:
		return fmt.Sprint(t)
	}
	return pickle.Kind(k)
}
