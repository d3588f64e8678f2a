package checkpoint

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const ggufWhole = "GGUF: header, metadata, offsets without gaps or overlaps, the last tensor ending where the file ends; the format has no " +
	"checksums, so nothing is known of the tensors' bytes: zeros of space that was reserved and never written look the same"

// ggufType is an element type of ggml: elements come in blocks of so many bytes.
type ggufType struct {
	name            string
	elements, bytes int64 // of a block
}

// ggufTypes are those of ggml (ggml/include/ggml.h, enum ggml_type; gguf-py/gguf/constants.py,
// GGML_QUANT_SIZES). What torch has a name for has torch's.
var ggufTypes = map[uint32]ggufType{
	0: {"float32", 1, 4}, 1: {"float16", 1, 2}, 2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 40}, 10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176},
	14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292}, 16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98},
	19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136},
	24: {"int8", 1, 1}, 25: {"int16", 1, 2}, 26: {"int32", 1, 4}, 27: {"int64", 1, 8}, 28: {"float64", 1, 8}, 29: {"IQ1_M", 256, 56},
	30: {"bfloat16", 1, 2}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36}, 41: {"Q1_0", 128, 18},
}

// Types of metadata values (ggml/include/gguf.h, enum gguf_type).
const (
	ggufUint32 = 4
	ggufString = 8
	ggufArray  = 9
)

// ggufSizes are the bytes of values of fixed size, by type.
var ggufSizes = map[uint32]int64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

const (
	ggufAlignment  = 32 // of tensors, where general.alignment does not say otherwise
	maxGGUFName    = 64 << 10
	maxGGUFKeys    = 1 << 16
	maxGGUFNesting = 8 // of arrays
)

// gguf reads a file in the format of llama.cpp (ggml/docs/gguf.md), versions 2 and 3.
type gguf struct {
	in    *bufio.Reader
	order binary.ByteOrder
	pos   int64
	size  int64
	err   error

	listing
	alignment    int64
	architecture string
	keys, names  map[string]bool
	text         int64 // bytes of keys and names
	body         int64 // bytes of the tensors so far, padded
	last         int64 // the end of the last one, not padded
}

func openGGUF(r io.ReaderAt, size int64) (*Checkpoint, error) {
	g := &gguf{in: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<16), order: binary.LittleEndian, size: size,
		alignment: ggufAlignment, keys: make(map[string]bool), names: make(map[string]bool)}
	g.readHeader()
	if g.err == nil {
		g.err = g.checkEnd()
	}
	if g.err != nil {
		return nil, g.err
	}
	holds := fmt.Sprintf("GGUF of %d tensors and %d keys of metadata", len(g.tensors), len(g.keys))
	if g.architecture != "" {
		holds += fmt.Sprintf(", architecture %.60q", g.architecture)
	}
	return &Checkpoint{Format: GGUF, NoCRC: true, whole: ggufWhole, tensors: g.tensors, holds: holds}, nil
}

// fail keeps the first fault. After it every read gives zeros.
func (g *gguf) fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

// take reads n bytes into b.
func (g *gguf) take(b []byte) {
	if g.err != nil {
		return
	}
	n, err := io.ReadFull(g.in, b)
	g.pos += int64(n)
	if err != nil {
		clear(b)
		g.fail(cutHeader("GGUF", err))
	}
}

func (g *gguf) uint32() uint32 {
	var b [4]byte
	g.take(b[:])
	return g.order.Uint32(b[:])
}

// count reads a number of things or bytes, each of which takes at least so many bytes of the file.
func (g *gguf) count(what string, each int64) int64 {
	var b [8]byte
	g.take(b[:])
	n := g.order.Uint64(b[:])
	if g.err == nil && n > uint64((g.size-g.pos)/each) {
		g.fail(broken("the GGUF header says at byte %d that there are %d %s, more than fit into the rest of the file", g.pos-8, n, what))
		return 0
	}
	return int64(n)
}

func (g *gguf) string(what string) string {
	n := g.count("bytes in "+what, 1)
	if g.err == nil && n > maxGGUFName {
		g.fail(broken("%s in the GGUF header has %d bytes", what, n))
	}
	if g.err != nil {
		return ""
	}
	if g.text += n; g.text > maxListingBytes {
		g.fail(broken("the GGUF header has more than %d bytes of keys and names", maxListingBytes))
		return ""
	}
	b := make([]byte, n)
	g.take(b)
	return string(b)
}

func (g *gguf) skip(n int64) {
	for n > 0 && g.err == nil {
		step, err := g.in.Discard(int(min(n, 1<<30)))
		g.pos, n = g.pos+int64(step), n-int64(step)
		if err != nil {
			g.fail(cutHeader("GGUF", err))
		}
	}
}

func (g *gguf) readHeader() {
	g.skip(int64(len(ggufMagic)))
	g.readVersion()
	tensors := g.count("tensors", 24)
	keys := g.count("keys of metadata", 13)
	if g.err == nil && keys > maxGGUFKeys {
		g.fail(broken("the GGUF header has %d keys of metadata", keys))
	}
	for i := int64(0); i < keys && g.err == nil; i++ {
		g.readKey()
	}
	for i := int64(0); i < tensors && g.err == nil; i++ {
		g.readTensor()
	}
}

// readVersion finds the byte order, too: version 3 may be big-endian, and then is 3 in that order.
func (g *gguf) readVersion() {
	version := g.uint32()
	if version == 3<<24 {
		g.order, version = binary.BigEndian, 3
	}
	if g.err == nil && version != 2 && version != 3 {
		g.fail(broken("a GGUF file of version %d; 2 and 3 are read", version))
	}
}

func (g *gguf) readKey() {
	key := g.string("a key")
	if g.err == nil && g.keys[key] {
		g.fail(broken("the GGUF header has the key %.100q twice", key))
	}
	g.keys[key] = true
	kind := g.uint32()
	switch {
	case key == "general.alignment" && kind == ggufUint32:
		g.alignment = int64(g.uint32())
		if g.err == nil && (g.alignment == 0 || g.alignment&(g.alignment-1) != 0) {
			g.fail(broken("general.alignment is %d, which is no power of two", g.alignment))
		}
	case key == "general.alignment":
		g.fail(broken("general.alignment is of type %d instead of %d", kind, ggufUint32))
	case key == "general.architecture" && kind == ggufString:
		g.architecture = g.string("the architecture")
	default:
		g.skipValue(kind, 0)
	}
}

func (g *gguf) skipValue(kind uint32, nesting int) {
	size, fixed := ggufSizes[kind]
	switch {
	case fixed:
		g.skip(size)
	case kind == ggufString:
		g.skip(g.count("bytes in a string", 1))
	case kind == ggufArray && nesting < maxGGUFNesting:
		g.skipArray(nesting)
	default:
		g.fail(broken("the GGUF header has a value of the unknown type %d", kind))
	}
}

func (g *gguf) skipArray(nesting int) {
	kind := g.uint32()
	if size, fixed := ggufSizes[kind]; fixed {
		g.skip(size * g.count("values in an array", size))
		return
	}
	n := g.count("values in an array", 8)
	for i := int64(0); i < n && g.err == nil; i++ {
		g.skipValue(kind, nesting+1)
	}
}

// readTensor reads name, shape, type and offset. Shapes are written from the fastest dimension on, the reverse of
// torch's order.
func (g *gguf) readTensor() {
	name := g.string("the name of a tensor")
	dims := g.uint32()
	if g.err == nil && (g.names[name] || dims > maxDimensions) {
		g.fail(broken("tensor %.200q of GGUF is there twice, or has %d dimensions", name, dims))
	}
	if g.err != nil {
		return
	}
	g.names[name] = true
	shape := make([]int64, dims)
	for i := range shape {
		shape[len(shape)-1-i] = g.uint64()
	}
	kind, known := ggufTypes[g.uint32()]
	offset := g.uint64()
	switch {
	case g.err != nil:
	case !known:
		g.fail(broken("tensor %.200q of GGUF has an unknown type", name))
	default:
		g.addTensor(Tensor{Name: name, DType: kind.name, Shape: shape}, kind, offset)
	}
}

// uint64 reads a number; one beyond the range of an int64 is a fault.
func (g *gguf) uint64() int64 {
	var b [8]byte
	g.take(b[:])
	n := g.order.Uint64(b[:])
	if n > math.MaxInt64 {
		g.fail(broken("the GGUF header has the impossible number %d at byte %d", n, g.pos-8))
		return 0
	}
	return int64(n)
}

// addTensor makes sure that the tensor begins where the one before it ends, and is of whole rows of blocks.
func (g *gguf) addTensor(t Tensor, kind ggufType, offset int64) {
	row := int64(1)
	if len(t.Shape) > 0 {
		row = t.Shape[len(t.Shape)-1]
	}
	n := numel(t.Shape)
	switch {
	case row%kind.elements != 0:
		g.fail(broken("tensor %.200q of GGUF has rows of %d elements, which are no whole blocks of %s", t.Name, row, kind.name))
		return
	case n > maxNumel || n/kind.elements > g.size/kind.bytes:
		g.fail(broken("tensor %.200q of GGUF has shape %v, more than fits into the file: the file is cut off, or the header lies", t.Name, t.Shape))
		return
	case offset != g.body:
		g.fail(broken("tensor %.200q of GGUF begins at byte %d of the tensors, but what is before it ends at %d", t.Name, offset, g.body))
		return
	}
	t.Bytes = n / kind.elements * kind.bytes
	g.last = g.body + t.Bytes
	if g.body = g.padded(g.last); g.body > g.padded(g.size) {
		g.fail(broken("tensor %.200q of GGUF ends behind the end of the file: the file is cut off", t.Name))
		return
	}
	if err := g.add(t); err != nil {
		g.fail(err)
	}
}

func (g *gguf) padded(n int64) int64 {
	if n > math.MaxInt64-g.alignment {
		return math.MaxInt64
	}
	return (n + g.alignment - 1) / g.alignment * g.alignment
}

// checkEnd makes sure that the file ends with the last tensor, padded as the others are. Writers that leave the last
// padding out are known; nothing is missing then.
func (g *gguf) checkEnd() error {
	if len(g.tensors) == 0 {
		if g.size != g.pos && g.size != g.padded(g.pos) {
			return broken("a GGUF file without tensors, but with %d bytes behind its header", g.size-g.pos)
		}
		return nil
	}
	start := g.padded(g.pos)
	switch whole := start + g.body; {
	case g.size == whole || g.size == start+g.last:
		return nil
	case g.size < whole:
		return broken("the GGUF file is cut off: it has %d of %d bytes", g.size, whole)
	default:
		return broken("%d bytes follow the last tensor of the GGUF file", g.size-whole)
	}
}
