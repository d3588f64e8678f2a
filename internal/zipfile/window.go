package zipfile

import "io"

// window reads a file in pieces of a page: the headers of small records lie close together.
type window struct {
	source io.ReaderAt
	page   [4096]byte
	start  int64 // of what is in page
	filled int
}

// ReadAt implements io.ReaderAt.
func (w *window) ReadAt(b []byte, offset int64) (int, error) {
	if len(b) > len(w.page) {
		return w.source.ReadAt(b, offset)
	}
	if from := offset - w.start; from >= 0 && from+int64(len(b)) <= int64(w.filled) {
		return copy(b, w.page[from:]), nil
	}
	n, err := w.source.ReadAt(w.page[:], offset)
	w.start, w.filled = offset, n
	if n >= len(b) {
		return copy(b, w.page[:n]), nil
	}
	return copy(b, w.page[:n]), err
}
