package pickle

// bitSet is a set of memo indexes below a limit, at one bit for each.
type bitSet []uint64

func newBitSet(limit int) bitSet { return make(bitSet, limit/64+1) }

func (s bitSet) add(i uint64) { s[i/64] |= 1 << (i % 64) }

func (s bitSet) has(i uint64) bool { return s[i/64]&(1<<(i%64)) != 0 }
