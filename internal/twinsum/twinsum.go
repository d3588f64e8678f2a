// Package twinsum adds bytes to two SHA-256 at once: that of a file in an archive, and that of the archive. Where both
// are at the same place of a block, and the processor has instructions for SHA-256, that takes little longer than one.
package twinsum

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
	"math"
	"sync"
	"time"
)

// worthwhile is the number of bytes from which on the states are taken out of the hashes and put back.
const worthwhile = 2 << 10

// kernel takes bytes, a multiple of its size, into both states.
type kernel struct {
	take func(a, b *[8]uint32, data []byte)
	size int
}

// method is how both are computed on this processor.
type method struct {
	kernel kernel // none where it has no instructions for that
	costly bool
}

// fastest is the method that takes the least time for a few bytes.
var fastest = sync.OnceValue(func() method {
	data := make([]byte, 64<<10)
	var state [2][8]uint32
	h := sha256.New()
	one, both := least(func() { h.Write(data) }), time.Duration(math.MaxInt64)
	m := method{costly: true}
	for _, k := range kernels() {
		if took := least(func() { k.take(&state[0], &state[1], data) }); took < both {
			m, both = method{kernel: k, costly: took > one+one/4}, took
		}
	}
	return m
})

func least(do func()) time.Duration {
	took := time.Duration(math.MaxInt64)
	for range 4 {
		begin := time.Now()
		do()
		took = min(took, time.Since(begin))
	}
	return took
}

// Costly tells whether Write takes much longer than adding the bytes to one of them, on this processor.
func Costly() bool { return fastest().costly }

// Write adds data to both, which must be of crypto/sha256.New.
func Write(a, b hash.Hash, data []byte) {
	if k := fastest().kernel; k.take != nil && len(data) >= worthwhile {
		data = k.write(a, b, data)
	}
	a.Write(data)
	b.Write(data)
}

// write adds what it can of data, and returns what is left.
func (k kernel) write(a, b hash.Hash, data []byte) (rest []byte) {
	x, okA := stateOf(a)
	y, okB := stateOf(b)
	if !okA || !okB || x.pending() != y.pending() {
		return data
	}
	if pending := x.pending(); pending > 0 { // fill the block that was begun
		head := data[:blockSize-pending]
		a.Write(head)
		b.Write(head)
		data = data[len(head):]
		x, okA = stateOf(a)
		y, okB = stateOf(b)
		if !okA || !okB {
			return data
		}
	}
	whole := data[:len(data)/k.size*k.size]
	h, i := x.words(), y.words()
	k.take(&h, &i, whole)
	if x.put(a, h, len(whole)) && y.put(b, i, len(whole)) {
		return data[len(whole):]
	}
	panic("crypto/sha256 does not take back the state that it gave")
}

const blockSize = 64

// state is that of a SHA-256 as crypto/sha256 marshals it: a mark, 8 words, the block that was begun, and the number of
// bytes so far.
type state [stateSize]byte

const (
	mark      = "sha\x03"
	wordsAt   = len(mark)
	lengthAt  = wordsAt + 8*4 + blockSize
	stateSize = lengthAt + 8
)

func stateOf(h hash.Hash) (s state, ok bool) {
	appender, ok := h.(encoding.BinaryAppender)
	if !ok {
		return s, false
	}
	text, err := appender.AppendBinary(s[:0])
	return s, err == nil && len(text) == stateSize && string(text[:len(mark)]) == mark
}

func (s *state) length() uint64 { return binary.BigEndian.Uint64(s[lengthAt:]) }

// pending returns the bytes of the block that was begun.
func (s *state) pending() int { return int(s.length() % blockSize) }

func (s *state) words() (w [8]uint32) {
	for i := range w {
		w[i] = binary.BigEndian.Uint32(s[wordsAt+4*i:])
	}
	return w
}

// put gives the hash the state after so many more bytes.
func (s *state) put(h hash.Hash, words [8]uint32, more int) bool {
	for i, w := range words {
		binary.BigEndian.PutUint32(s[wordsAt+4*i:], w)
	}
	binary.BigEndian.PutUint64(s[lengthAt:], s.length()+uint64(more))
	u, ok := h.(encoding.BinaryUnmarshaler)
	return ok && u.UnmarshalBinary(s[:]) == nil
}
