package names

import (
	"hash/maphash"
	"math/bits"
)

// Index finds names in a list. It takes 6 to 12 bytes for each of them, which a map does several times. The zero value is one
// of no names.
type Index struct {
	slots []uint32 // the place of a name, counted from 1; 0 is free
}

var indexSeed = maphash.MakeSeed()

// NewIndex returns an index of n names. twice is the first place whose name is that of a place before it, -1 when there is none.
func NewIndex(n int, name func(place int) string) (x Index, twice int) {
	x.slots, twice = make([]uint32, 1<<bits.Len(uint(n+n/2))), -1
	for place := range n {
		slot, found := x.slot(name(place), name)
		if found < 0 {
			x.slots[slot] = uint32(place + 1)
		} else if twice < 0 {
			twice = place
		}
	}
	return x, twice
}

// Find returns the first place of a name, -1 when it is not there. name gives the names that the index was made of.
func (x Index) Find(wanted string, name func(place int) string) int {
	if x.slots == nil {
		return -1
	}
	_, place := x.slot(wanted, name)
	return place
}

// slot returns where a name is noted, with its place, or where it would be, with -1.
func (x Index) slot(wanted string, name func(place int) string) (slot, place int) {
	mask := len(x.slots) - 1
	for slot = int(maphash.String(indexSeed, wanted)) & mask; x.slots[slot] != 0; slot = (slot + 1) & mask {
		if place = int(x.slots[slot]) - 1; name(place) == wanted {
			return slot, place
		}
	}
	return slot, -1
}
