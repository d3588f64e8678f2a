package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxSafeTensorsHeader is the library's own limit (safetensors/src/tensor.rs, MAX_HEADER_SIZE).
const maxSafeTensorsHeader = 100_000_000

const safeTensorsWhole = "safetensors: header, offsets without gaps or overlaps, every size as dtype and shape ask for, the last tensor ending " +
	"where the file ends; the format has no checksums, so nothing is known of the bytes behind the header: zeros of space that was reserved " +
	"and never written look the same"

// safeTensorsType is an element type: torch's name of it, and its size in bits.
type safeTensorsType struct {
	dtype string
	bits  int64
}

// safeTensorsTypes are those of safetensors/src/tensor.rs, enum Dtype. What torch has no name for keeps its own.
var safeTensorsTypes = map[string]safeTensorsType{
	"BOOL": {"bool", 8}, "U8": {"uint8", 8}, "I8": {"int8", 8}, "U16": {"uint16", 16}, "I16": {"int16", 16},
	"U32": {"uint32", 32}, "I32": {"int32", 32}, "U64": {"uint64", 64}, "I64": {"int64", 64},
	"F16": {"float16", 16}, "BF16": {"bfloat16", 16}, "F32": {"float32", 32}, "F64": {"float64", 64},
	"C64": {"complex64", 64}, "C128": {"complex128", 128},
	"F8_E4M3": {"float8_e4m3fn", 8}, "F8_E5M2": {"float8_e5m2", 8}, "F8_E8M0": {"float8_e8m0fnu", 8},
	"F8_E4M3FNUZ": {"float8_e4m3fnuz", 8}, "F8_E5M2FNUZ": {"float8_e5m2fnuz", 8},
	"F4": {"F4", 4}, "F6_E2M3": {"F6_E2M3", 6}, "F6_E3M2": {"F6_E3M2", 6},
}

// span is where the bytes of a tensor lie behind the header.
type span struct {
	name       string
	begin, end int64
}

// safeTensors reads the header, a JSON object of tensors by name and of "__metadata__".
type safeTensors struct {
	json *json.Decoder
	listing
	spans    []span
	seen     map[string]bool
	metadata int // its keys
}

func openSafeTensors(r io.ReaderAt, size int64) (*Checkpoint, error) {
	header, err := readSafeTensorsHeader(r, size)
	if err != nil {
		return nil, err
	}
	s := &safeTensors{json: json.NewDecoder(bytes.NewReader(header)), seen: make(map[string]bool)}
	s.json.UseNumber()
	if err := s.readHeader(); err != nil {
		return nil, err
	}
	if err := s.checkSpans(size - 8 - int64(len(header))); err != nil {
		return nil, err
	}
	return &Checkpoint{
		Format: SafeTensors, NoCRC: true, whole: safeTensorsWhole, tensors: s.tensors,
		holds: fmt.Sprintf("safetensors of %d tensors, with %d keys of metadata", len(s.tensors), s.metadata),
	}, nil
}

// readSafeTensorsHeader reads the header's length, in 8 bytes, and the header.
func readSafeTensorsHeader(r io.ReaderAt, size int64) ([]byte, error) {
	var length [8]byte
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, fmt.Errorf("read the length of the header: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	switch {
	case n > maxSafeTensorsHeader:
		return nil, broken("a safetensors header of %d bytes, more than the %d that the library allows", n, maxSafeTensorsHeader)
	case int64(n) > size-8:
		return nil, broken("the safetensors header should have %d bytes, but only %d follow: the file is cut off", n, size-8)
	}
	header := make([]byte, n)
	if got, err := r.ReadAt(header, 8); got < len(header) {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	if !utf8.Valid(header) {
		return nil, broken("the safetensors header is no UTF-8")
	}
	return header, nil
}

func badHeader(err error) error {
	return &Broken{Reason: fmt.Sprintf("the safetensors header is no such JSON: %v", err), Err: err}
}

func (s *safeTensors) readHeader() error {
	if err := s.object(s.entry); err != nil {
		return err
	}
	if _, err := s.json.Token(); err != io.EOF {
		return broken("something follows the JSON of the safetensors header")
	}
	return nil
}

// object reads an object, calling value at the value of each key.
func (s *safeTensors) object(value func(key string) error) error {
	if err := s.delimiter('{'); err != nil {
		return err
	}
	for s.json.More() {
		key, err := s.text()
		if err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
	}
	return s.delimiter('}')
}

func (s *safeTensors) delimiter(want json.Delim) error {
	token, err := s.json.Token()
	if err != nil {
		return badHeader(err)
	}
	if token != want {
		return broken("the safetensors header has %.40q where %q should be", fmt.Sprint(token), want)
	}
	return nil
}

func (s *safeTensors) text() (string, error) {
	token, err := s.json.Token()
	if err != nil {
		return "", badHeader(err)
	}
	t, ok := token.(string)
	if !ok {
		return "", broken("the safetensors header has %.40q where a string should be", fmt.Sprint(token))
	}
	return t, nil
}

// counts reads a list of numbers that are not negative.
func (s *safeTensors) counts(most int) ([]int64, error) {
	if err := s.delimiter('['); err != nil {
		return nil, err
	}
	list := []int64{}
	for s.json.More() {
		token, err := s.json.Token()
		if err != nil {
			return nil, badHeader(err)
		}
		number, _ := token.(json.Number)
		n, err := number.Int64()
		if err != nil || n < 0 || len(list) == most {
			return nil, broken("the safetensors header has %.40q in a list of at most %d counts", fmt.Sprint(token), most)
		}
		list = append(list, n)
	}
	return list, s.delimiter(']')
}

// entry reads what stands under one key of the header.
func (s *safeTensors) entry(name string) error {
	if s.seen[name] {
		return broken("the safetensors header has %.100q twice", name)
	}
	s.seen[name] = true
	if name == "__metadata__" {
		return s.object(func(string) error {
			s.metadata++
			_, err := s.text()
			return err
		})
	}
	return s.tensor(name)
}

// tensor reads {"dtype": …, "shape": […], "data_offsets": [begin, end]}.
func (s *safeTensors) tensor(name string) error {
	var dtype string
	var shape, offsets []int64
	err := s.object(func(key string) (err error) {
		switch {
		case key == "dtype" && dtype == "":
			dtype, err = s.text()
		case key == "shape" && shape == nil:
			shape, err = s.counts(maxDimensions)
		case key == "data_offsets" && offsets == nil:
			offsets, err = s.counts(2)
		default:
			err = broken("the key %.40q is unknown, or there twice", key)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("tensor %.200q: %w", name, err)
	}
	if shape == nil || len(offsets) != 2 {
		return broken("tensor %.200q has no dtype, shape and pair of data_offsets", name)
	}
	return s.addTensor(name, dtype, shape, span{name, offsets[0], offsets[1]})
}

func (s *safeTensors) addTensor(name, dtype string, shape []int64, at span) error {
	kind, known := safeTensorsTypes[dtype]
	if !known {
		return broken("tensor %.200q has the unknown dtype %.40q", name, dtype)
	}
	n := numel(shape)
	if n > math.MaxInt64/kind.bits || n*kind.bits%8 != 0 {
		return broken("tensor %.200q of shape %v and dtype %s has no size in bytes", name, shape, dtype)
	}
	size := n * kind.bits / 8
	if at.end < at.begin || at.end-at.begin != size {
		return broken("tensor %.200q of shape %v and dtype %s needs %d bytes, but has those from %d to %d", name, shape, dtype, size, at.begin, at.end)
	}
	s.spans = append(s.spans, at)
	return s.add(Tensor{Name: name, DType: kind.dtype, Shape: shape, Bytes: size, offset: at.begin})
}

// checkSpans makes sure that the tensors cover the body, the bytes behind the header, each byte once.
func (s *safeTensors) checkSpans(body int64) error {
	slices.SortFunc(s.spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), strings.Compare(a.name, b.name))
	})
	var pos int64
	for _, sp := range s.spans {
		switch {
		case sp.begin < pos:
			return broken("tensor %.200q begins at byte %d of the body and overlaps another, which ends at %d", sp.name, sp.begin, pos)
		case sp.begin > pos:
			return broken("%d bytes of the body before tensor %.200q belong to nothing", sp.begin-pos, sp.name)
		}
		pos = sp.end
	}
	switch {
	case body < pos:
		return broken("the file is cut off: %d of %d bytes of the tensors are missing", pos-body, pos)
	case body > pos:
		return broken("%d bytes follow the last tensor", body-pos)
	}
	return nil
}
