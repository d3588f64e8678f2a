package checkpoint

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

const (
	npyStart     = 12      // bytes that hold the magic, the version and the header's length, whichever version
	maxNPYHeader = 1 << 20 // numpy itself reads 10,000 bytes, more only when asked to
)

const npyWhole = "npy: every header, and behind it as many bytes as dtype and shape ask for, up to the end of the file; the format has no " +
	"checksums, so the bytes of the arrays cannot be proven"

// array is what the header of an .npy file says.
type array struct {
	tensor Tensor
	header int64 // its bytes
	object bool  // Python objects: a pickle follows the header
}

func openNPY(r io.ReaderAt, size int64) (*Checkpoint, error) {
	c := &Checkpoint{Format: NPY, NoCRC: true, whole: npyWhole}
	var found listing
	objects := &pickleReader{source: r, size: size}
	for objects.pos < size { // numpy.save can append to a file
		err := readArray(objects, fmt.Sprintf("arr_%d", len(found.tensors)), &found)
		c.Imports = objects.imports.list
		if err != nil {
			return c, err
		}
	}
	c.tensors, c.holds = found.tensors, fmt.Sprintf("numpy arrays: %d", len(found.tensors))
	return c, nil
}

// readArray reads the header at the position of p, and passes over what follows it.
func readArray(p *pickleReader, name string, found *listing) error {
	a, err := readNPYHeader(io.NewSectionReader(p.source, p.pos, p.size-p.pos))
	if err != nil {
		return err
	}
	a.tensor.Name = name
	if err := found.add(a.tensor); err != nil {
		return err
	}
	if err := p.skip(a.header); err != nil {
		return err
	}
	if a.object {
		_, err := p.next("an array of objects")
		return err
	}
	return p.skip(a.tensor.Bytes)
}

// readNPYHeader reads the magic, the version, the length and the header itself (numpy/lib/format.py).
func readNPYHeader(r io.Reader) (*array, error) {
	start := make([]byte, npyStart)
	if _, err := io.ReadFull(r, start); err != nil {
		return nil, cutHeader("npy", err)
	}
	var length, at int64
	switch major := start[6]; {
	case string(start[:6]) != string(npyMagic):
		return nil, broken("no numpy array where one should begin, but %q", start[:6])
	case major == 1:
		length, at = int64(binary.LittleEndian.Uint16(start[8:])), 10
	case major == 2 || major == 3:
		length, at = int64(binary.LittleEndian.Uint32(start[8:])), 12
	default:
		return nil, broken("a numpy array of format version %d.%d, which is not known", major, start[7])
	}
	if length > maxNPYHeader || length < npyStart-at {
		return nil, broken("the header of a numpy array is said to have %d bytes", length)
	}
	text := make([]byte, length)
	copied := copy(text, start[at:])
	if _, err := io.ReadFull(r, text[copied:]); err != nil {
		return nil, cutHeader("npy", err)
	}
	a, err := parseNPYHeader(string(text))
	if err == nil {
		a.header = at + length
	}
	return a, err
}

// cutHeader tells a file that ends inside of its header from one that cannot be read.
func cutHeader(format string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return &Broken{Reason: fmt.Sprintf("the file is cut off inside of its %s header", format), Err: err}
	}
	return fmt.Errorf("read the %s header: %w", format, err)
}

// parseNPYHeader reads {'descr': …, 'fortran_order': …, 'shape': (…)}.
func parseNPYHeader(text string) (*array, error) {
	v, err := parseLiteral(text)
	if err != nil {
		return nil, err
	}
	d, _ := v.(*pickle.Dict)
	descr, _ := d.Get("descr")
	_, ordered := d.Get("fortran_order")
	shapeValue, _ := d.Get("shape")
	if !ordered || d.Len() != 3 {
		return nil, broken("the header of a numpy array is %.80q instead of descr, fortran_order and shape", text)
	}
	if t, ok := shapeValue.(*pickle.Tuple); !ok || len(t.Items) > maxDimensions {
		return nil, broken("the shape of a numpy array is %s", pickle.Kind(shapeValue))
	}
	shape, err := dimensions(shapeValue)
	if err != nil {
		return nil, err
	}
	kind, err := parseDescr(descr, 0)
	if err != nil {
		return nil, err
	}
	n := numel(shape)
	if kind.size > 0 && n > math.MaxInt64/kind.size || n > maxNumel {
		return nil, broken("a numpy array of shape %v has too many elements to be real", shape)
	}
	return &array{object: kind.object, tensor: Tensor{DType: kind.name, Shape: shape, Bytes: n * kind.size}}, nil
}

// numpyType is an element type of numpy.
type numpyType struct {
	name   string
	size   int64
	object bool // or with objects in it
}

// torchNames are torch's names of numpy's types; the others keep their own.
var torchNames = map[string]string{
	"b1": "bool", "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32", "i8": "int64", "u8": "uint64",
	"f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128",
}

const maxElement = 1 << 32 // bytes of one

// parseDescr reads a type: "<f4", or a list of (name, type) and (name, type, shape) of a structured one.
func parseDescr(v any, depth int) (numpyType, error) {
	switch t := v.(type) {
	case string:
		return parseTypeString(t)
	case *pickle.List:
		return parseFields(t.Items, depth)
	case *pickle.Tuple: // (type, shape)
		if len(t.Items) == 2 && depth < maxLiteralDepth {
			return parseSubarray(t.Items[0], t.Items[1], depth)
		}
	}
	return numpyType{}, broken("the type of a numpy array is %s", pickle.Kind(v))
}

// parseTypeString reads an order (<, >, =, |), a kind, and a size, for dates with a unit behind it.
func parseTypeString(text string) (numpyType, error) {
	bad := broken("the type %.40q of a numpy array is not known", text)
	if len(text) < 2 {
		return numpyType{}, bad
	}
	order, kind, digits := text[0], text[1], text[2:]
	if kind == 'O' {
		return numpyType{name: "object", object: true}, nil
	}
	if kind == 'M' || kind == 'm' {
		for i := range len(digits) {
			if digits[i] == '[' {
				digits = digits[:i]
				break
			}
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return numpyType{}, bad
	}
	size := int64(n)
	switch kind {
	case 'U':
		size *= 4
	case 'b', 'i', 'u', 'f', 'c', 'S', 'a', 'V', 'M', 'm', 't':
	default:
		return numpyType{}, bad
	}
	if name, known := torchNames[text[1:]]; known && order != '>' {
		return numpyType{name: name, size: size}, nil
	}
	return numpyType{name: text, size: size}, nil
}

func parseFields(fields []any, depth int) (numpyType, error) {
	whole := numpyType{name: "structured"}
	for _, f := range fields {
		t, ok := f.(*pickle.Tuple)
		if !ok || len(t.Items) < 2 || len(t.Items) > 3 || depth >= maxLiteralDepth {
			return whole, broken("a field of a structured numpy array is %s", pickle.Kind(f))
		}
		shape := any(&pickle.Tuple{})
		if len(t.Items) == 3 {
			shape = t.Items[2]
		}
		field, err := parseSubarray(t.Items[1], shape, depth)
		if err != nil {
			return whole, err
		}
		whole.object = whole.object || field.object
		if whole.size += field.size; whole.size > maxElement {
			return whole, broken("an element of a numpy array of more than %d bytes", int64(maxElement))
		}
	}
	return whole, nil
}

// parseSubarray reads a type and the shape in which it is repeated.
func parseSubarray(descr, shape any, depth int) (numpyType, error) {
	t, err := parseDescr(descr, depth+1)
	if err != nil {
		return t, err
	}
	dims, err := dimensions(shape)
	if err != nil {
		return t, err
	}
	n := numel(dims)
	if n > maxElement/max(t.size, 1) {
		return t, broken("an element of a numpy array of more than %d bytes", int64(maxElement))
	}
	t.size *= n
	return t, nil
}
