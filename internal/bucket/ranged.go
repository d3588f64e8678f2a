package bucket

import (
	"context"
	"io"
	"sync"
)

// ranged reads an object in ranges. What is read here and there comes in small pieces, what is read on and on in
// pieces that grow.
type ranged struct {
	size  int64
	fetch func(offset, size int64) ([]byte, error)

	mu     sync.Mutex
	pieces []piece // the last ones, the newest at the end
	next   int64   // where a read goes on that follows the last one
	ahead  int64   // bytes that are fetched at once
}

type piece struct {
	offset int64
	data   []byte
}

// What is fetched at once, in bytes, and how many pieces are kept.
const (
	leastAhead = 32 << 10
	mostAhead  = 8 << 20
	keptPieces = 8
)

// ReadAt implements [io.ReaderAt].
func (r *ranged) ReadAt(b []byte, offset int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for n < len(b) && offset+int64(n) < r.size {
		p, err := r.at(offset+int64(n), int64(len(b)-n))
		if err != nil {
			return n, err
		}
		n += copy(b[n:], p.data[offset+int64(n)-p.offset:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// at returns a piece that has the byte at an offset, from where so many are wanted.
func (r *ranged) at(offset, wanted int64) (piece, error) {
	for _, p := range r.pieces {
		if p.offset <= offset && offset < p.offset+int64(len(p.data)) {
			return p, nil
		}
	}
	if offset == r.next {
		r.ahead = min(max(2*r.ahead, leastAhead), mostAhead)
	} else {
		r.ahead = leastAhead
	}
	size := min(max(r.ahead, min(wanted, mostAhead)), r.size-offset)
	data, err := r.fetch(offset, size)
	if err != nil {
		return piece{}, err
	}
	r.next = offset + size
	p := piece{offset, data}
	if len(r.pieces) == keptPieces {
		r.pieces = r.pieces[1:]
	}
	r.pieces = append(r.pieces, p)
	return p, nil
}

// reader reads an object of a bundle in the store.
func (b *Bucket) reader(ctx context.Context, key, etag string, size int64) io.ReaderAt {
	return &ranged{size: size, fetch: func(offset, size int64) ([]byte, error) { return b.objects.ReadRange(ctx, key, etag, offset, size) }}
}
