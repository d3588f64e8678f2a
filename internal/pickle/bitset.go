package pickle

// bitSet is a set of memo indexes, at one bit for each up to the largest.
type bitSet []uint64

func (s *bitSet) add(i uint64) {
	if missing := int(i/64) - len(*s) + 1; missing > 0 {
		*s = append(*s, make([]uint64, missing)...)
	}
	(*s)[i/64] |= 1 << (i % 64)
}

func (s bitSet) has(i uint64) bool { return i/64 < uint64(len(s)) && s[i/64]&(1<<(i%64)) != 0 }
