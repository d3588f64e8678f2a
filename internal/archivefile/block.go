package archivefile

import "unsafe"

// BlockSize is the size of a full block in bytes: each that is written interrupts who digests.
const BlockSize = 1 << 20

// Range is a part of the file, from begin up to end in bytes.
type Range struct{ begin, end int64 }

// Size returns the number of bytes in the range.
func (r Range) Size() int64 { return r.end - r.begin }

// Block is a part of the file that begins at a multiple of [BlockSize]. It is filled from its front.
type Block struct {
	Offset int64 // in the file
	buffer []byte
	filled int
	cloned []Range // in order
}

// NewBlock returns a block for reuse with [Block.Reset].
func NewBlock() *Block {
	// Direct writes want memory that is aligned as the disk is.
	memory := make([]byte, BlockSize+Align)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(memory))) % Align)
	return &Block{buffer: memory[skip : skip+BlockSize : skip+BlockSize]}
}

// Reset makes the block an empty one at offset.
func (b *Block) Reset(offset int64) { b.Offset, b.filled, b.cloned = offset, 0, b.cloned[:0] }

// Room returns the part of the block that is to be filled.
func (b *Block) Room() []byte { return b.buffer[b.filled:] }

// Fill tells that the first n bytes of the room were filled.
func (b *Block) Fill(n int) { b.filled += n }

// Since returns what was filled from an offset in the file on.
func (b *Block) Since(offset int64) []byte { return b.buffer[offset-b.Offset : b.filled] }

// End returns the offset in the file behind the last byte that was filled.
func (b *Block) End() int64 { return b.Offset + int64(b.filled) }

// Skip tells that a range was cloned, so that it is not written.
func (b *Block) Skip(r Range) {
	r = Range{max(r.begin, b.Offset), min(r.end, b.Offset+BlockSize)}
	if r.begin < r.end {
		b.cloned = append(b.cloned, r)
	}
}

// unwritten returns the filled ranges that were not cloned.
func (b *Block) unwritten() []Range {
	var ranges []Range
	at := b.Offset
	for _, c := range append(b.cloned, Range{b.End(), b.End()}) {
		if end := min(c.begin, b.End()); end > at {
			ranges = append(ranges, Range{at, end})
		}
		at = max(at, c.end)
	}
	return ranges
}
