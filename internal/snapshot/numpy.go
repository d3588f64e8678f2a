package snapshot

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// numpyScalar flattens scalar(dtype, bytes) of numpy's multiarray module to a number, a bool or a string.
func (f *flattener) numpyScalar(o *pickle.Object) (any, bool) {
	if len(o.Args) == 2 {
		kind, order, okType := numpyType(o.Args[0])
		data, okData := rawBytes(o.Args[1])
		if okType && okData {
			if value, ok := numpyValue(kind, order, data); ok {
				return value, true
			}
		}
	}
	return f.leaveOut("a numpy scalar that is neither a number nor a string")
}

// numpyType returns a dtype's kind and size, such as "f8", and its byte order, which is the second
// element of its state.
func numpyType(v any) (string, binary.ByteOrder, bool) {
	dtype, ok := v.(*pickle.Object)
	if !ok || !dtype.Is("numpy", "dtype") || len(dtype.Args) == 0 {
		return "", nil, false
	}
	kind, ok := dtype.Args[0].(string)
	if state, isTuple := dtype.State.(*pickle.Tuple); isTuple && len(state.Items) > 1 && state.Items[1] == ">" {
		return kind, binary.BigEndian, ok
	}
	return kind, binary.LittleEndian, ok
}

// rawBytes returns bytes however the pickle's protocol writes them: protocols below 3 call
// codecs.encode on a string whose code points are the bytes.
func rawBytes(v any) ([]byte, bool) {
	if o, ok := v.(*pickle.Object); ok && o.Is("_codecs", "encode") && len(o.Args) > 0 {
		v = o.Args[0]
	}
	switch v := v.(type) {
	case pickle.Bytes:
		return v, true
	case string:
		return latin1(v)
	}
	return nil, false
}

func latin1(text string) ([]byte, bool) {
	data := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			return nil, false
		}
		data = append(data, byte(r))
	}
	return data, true
}

func numpyValue(kind string, order binary.ByteOrder, data []byte) (any, bool) {
	if kind == "" {
		return nil, false
	}
	size, err := strconv.Atoi(kind[1:])
	if err != nil {
		return nil, false
	}
	if kind[0] == 'U' {
		return utf32(data, order), true
	}
	if size != len(data) || size != 1 && size != 2 && size != 4 && size != 8 {
		return nil, false
	}
	bits := unsigned(data, order)
	switch kind[0] {
	case 'b':
		return bits != 0, true
	case 'i':
		shift := 64 - 8*size
		return int64(bits<<shift) >> shift, true
	case 'u':
		value, err := parseInt(strconv.FormatUint(bits, 10), 10)
		return value, err == nil
	case 'f':
		return float(bits, size)
	}
	return nil, false
}

func unsigned(data []byte, order binary.ByteOrder) uint64 {
	switch len(data) {
	case 1:
		return uint64(data[0])
	case 2:
		return uint64(order.Uint16(data))
	case 4:
		return uint64(order.Uint32(data))
	}
	return order.Uint64(data)
}

func float(bits uint64, size int) (any, bool) {
	switch size {
	case 2:
		return half(uint16(bits)), true
	case 4:
		return float64(math.Float32frombits(uint32(bits))), true
	case 8:
		return math.Float64frombits(bits), true
	}
	return nil, false
}

// half widens an IEEE 754 binary16.
func half(bits uint16) float64 {
	sign := 1.0
	if bits>>15 != 0 {
		sign = -1
	}
	exponent, fraction := int(bits>>10&0x1f), float64(bits&0x3ff)
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 0x1f:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

func utf32(data []byte, order binary.ByteOrder) string {
	var b strings.Builder
	for ; len(data) >= 4; data = data[4:] {
		if r := rune(order.Uint32(data)); r != 0 {
			b.WriteRune(r)
		}
	}
	return b.String()
}
