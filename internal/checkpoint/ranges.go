package checkpoint

import "sync"

// Ranges remembers the CRC-32 of ranges of a file that were read for them, so that a file without checksums of its
// own is not read for them again. It holds for one state of the file. The zero value remembers nothing yet.
type Ranges struct {
	mu    sync.Mutex
	known map[[2]int64]uint32 // by offset and size
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

func (r *Ranges) get(offset, size int64) (sum uint32, known bool) {
	if r == nil {
		return 0, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	sum, known = r.known[[2]int64{offset, size}]
	return sum, known
}

func (r *Ranges) put(offset, size int64, sum uint32) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[[2]int64]uint32)
	}
	r.known[[2]int64{offset, size}] = sum
}
