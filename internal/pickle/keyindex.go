package pickle

import "hash/maphash"

// fewKeys is how many keys are searched one by one: most dicts are small, and there are many.
const fewKeys = 8

// keyIndex finds a key among many. It has a place in 4 bytes for each, and room for at most as many again: a map of
// Go takes several times that.
type keyIndex struct {
	slots []uint32 // the place of a key, counted from 1; 0 is free
}

var keySeed = maphash.MakeSeed()

// findKey returns the place of a key that was made hashable, or -1, and the slot for it. The keys are every stride-th of items.
func findKey(x *keyIndex, items []any, stride int, k any) (slot, place int) {
	if x != nil {
		return x.slot(items, stride, k)
	}
	for i := 0; i < len(items); i += stride {
		if hashable(items[i]) == k {
			return 0, i / stride
		}
	}
	return 0, -1
}

// slot returns where a key is noted, with its place, or where it would be, with -1.
func (x *keyIndex) slot(items []any, stride int, k any) (slot, place int) {
	mask := len(x.slots) - 1
	for slot = int(maphash.Comparable(keySeed, k)) & mask; x.slots[slot] != 0; slot = (slot + 1) & mask {
		if place = int(x.slots[slot]) - 1; hashable(items[place*stride]) == k {
			return slot, place
		}
	}
	return slot, -1
}

// noteKey notes the last key of items in its slot, and returns the index, which is nil as long as there are few.
func noteKey(x *keyIndex, slot int, items []any, stride int) *keyIndex {
	n := len(items) / stride
	switch {
	case n <= fewKeys:
		return nil
	case x != nil && n <= len(x.slots)/4*3:
		x.slots[slot] = uint32(n)
		return x
	}
	x = &keyIndex{slots: make([]uint32, slotsFor(n))}
	for place := range n {
		slot, _ := x.slot(items, stride, hashable(items[place*stride]))
		x.slots[slot] = uint32(place + 1)
	}
	return x
}

// slotsFor returns a power of two that leaves room for as many keys again.
func slotsFor(keys int) int {
	n := 4 * fewKeys
	for n < 2*keys {
		n *= 2
	}
	return n
}
