package pickle

import "hash/maphash"

// fewKeys is how many keys are searched one by one: most dicts are small, and there are many.
const fewKeys = 8

// keyIndex finds a key among many. It has a place in 4 bytes for each, and room for at most as many again: a map of
// Go takes several times that.
type keyIndex struct {
	slots []uint32 // the place of a key, counted from 1; 0 is free
	keys  int
}

var keySeed = maphash.MakeSeed()

// findKey returns the place of a key that was made hashable, or -1. The keys are every stride-th of items.
func findKey(x *keyIndex, items []any, stride int, k any) int {
	if x != nil {
		_, place := x.slot(items, stride, k)
		return place
	}
	for i := 0; i < len(items); i += stride {
		if hashable(items[i]) == k {
			return i / stride
		}
	}
	return -1
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

// indexKeys takes up the last key of items, and returns the index, which is nil as long as there are few.
func indexKeys(x *keyIndex, items []any, stride int) *keyIndex {
	n := len(items) / stride
	if n <= fewKeys {
		return nil
	}
	if x == nil || n > len(x.slots)/4*3 {
		x = &keyIndex{slots: make([]uint32, slotsFor(n))}
	}
	for ; x.keys < n; x.keys++ {
		slot, _ := x.slot(items, stride, hashable(items[x.keys*stride]))
		x.slots[slot] = uint32(x.keys + 1)
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
