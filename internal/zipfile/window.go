package zipfile

import "io"

// Window reads a file through a page of memory, for those who read many small pieces from front to back. It is for
// one goroutine.
type Window struct {
	source io.ReaderAt
	page   []byte
	start  int64 // of what is in page
	filled int
}

// NewWindow returns a window with a page of so many bytes.
func NewWindow(source io.ReaderAt, page int) *Window {
	return &Window{source: source, page: make([]byte, page)}
}

// ReadAt implements io.ReaderAt. Pieces that are larger than the page are read past it.
func (w *Window) ReadAt(b []byte, offset int64) (int, error) {
	if len(b) > len(w.page) {
		return w.source.ReadAt(b, offset)
	}
	if from := offset - w.start; from >= 0 && from+int64(len(b)) <= int64(w.filled) {
		return copy(b, w.page[from:]), nil
	}
	n, err := w.source.ReadAt(w.page, offset)
	w.start, w.filled = offset, n
	if n >= len(b) {
		return copy(b, w.page[:n]), nil
	}
	return copy(b, w.page[:n]), err
}
