package zipfile

import "io"

const (
	leastPage = 1 << 10 // bytes that a window reads at once where pieces lie far from each other
	closeBy   = 4 << 10 // bytes that are read in the time of another call
)

// Window reads a file through a page of memory, for those who read many small pieces from front to back. The closer the pieces
// lie to each other, the more it reads at once. It is for one goroutine.
type Window struct {
	source io.ReaderAt
	most   int    // bytes of a page
	page   []byte // what was read
	start  int64  // of the page
}

// NewWindow returns a window with a page of up to so many bytes.
func NewWindow(source io.ReaderAt, most int) *Window {
	return &Window{source: source, most: most}
}

// ReadAt implements io.ReaderAt. Pieces that are larger than a page are read past it.
func (w *Window) ReadAt(b []byte, offset int64) (int, error) {
	if len(b) > w.most {
		return w.source.ReadAt(b, offset)
	}
	piece, err := w.Peek(offset, len(b))
	return copy(b, piece), err
}

// Peek returns the n bytes at an offset, which are valid until the next read, or fewer and an error.
func (w *Window) Peek(offset int64, n int) ([]byte, error) {
	from := offset - w.start
	if from >= 0 && from+int64(n) <= int64(len(w.page)) {
		return w.page[from:][:n], nil
	}
	size := leastPage
	if from > 0 && from < int64(len(w.page)+closeBy) {
		size = 2 * len(w.page)
	}
	size = max(min(size, w.most), n)
	if size > cap(w.page) {
		w.page = make([]byte, size)
	}
	got, err := w.source.ReadAt(w.page[:size], offset)
	w.page, w.start = w.page[:got], offset
	if got >= n {
		return w.page[:n], nil
	}
	return w.page, err
}
