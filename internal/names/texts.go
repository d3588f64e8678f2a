// Package names keeps some hundred thousand names in little memory, and finds them.
package names

import "strings"

// piece is how many bytes of names lie in one piece of memory.
const piece = 4 << 10

// Texts keeps names in few pieces of memory, which is little for the garbage collector to look at: a piece stays as long as one of
// its names. The zero value is ready.
type Texts struct{ piece strings.Builder }

// Keep returns a text as a string.
func (t *Texts) Keep(text []byte) string {
	if len(text) > piece/8 {
		return string(text)
	}
	if t.piece.Cap()-t.piece.Len() < len(text) {
		t.piece.Reset()
		t.piece.Grow(piece)
	}
	begin := t.piece.Len()
	t.piece.Write(text)
	return t.piece.String()[begin:]
}
