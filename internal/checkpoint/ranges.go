package checkpoint

import "sync"

// Ranges remembers the CRC-32 of ranges of a file that were read for them, so that a file without checksums of its
// own is not read for them again. It holds for one state of the file. The zero value remembers nothing yet.
type Ranges struct {
	mu    sync.Mutex
	known map[[2]int64]uint32 // by offset and size
	whole []uint32            // of the parts of the file that have none of their own, in order; nil when they are not known
}

// remembering is a source that has a memory for the CRC-32 of its ranges.
type remembering interface{ Ranges() *Ranges }

// rangesOf returns the memory of a source, nil for none.
func rangesOf(source any) *Ranges {
	if r, ok := source.(remembering); ok {
		return r.Ranges()
	}
	return nil
}

// of returns the CRC-32 of a range, which is read for it when it is not known.
func (r *Ranges) of(offset, size int64, read func() (uint32, error)) (uint32, error) {
	if r == nil {
		return read()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if sum, known := r.known[[2]int64{offset, size}]; known {
		return sum, nil
	}
	sum, err := read()
	if err == nil {
		if r.known == nil {
			r.known = make(map[[2]int64]uint32)
		}
		r.known[[2]int64{offset, size}] = sum
	}
	return sum, err
}

// ofWhole returns the CRC-32 of the parts of the file that have none of their own, which are read when they are not known.
func (r *Ranges) ofWhole(read func() ([]uint32, error)) (sums []uint32, err error) {
	if r == nil {
		return read()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.whole != nil {
		return r.whole, nil
	}
	if sums, err = read(); err == nil {
		r.whole = sums
	}
	return sums, err
}
