package pickle

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// Encode writes a value as a pickle of protocol 2. Equal values give equal bytes. Lists, dicts,
// tuples, objects and persistent ids that occur more than once are written once and shared, as they
// were, but for short tuples of ints.
//
// Only opcodes are used that torch.load(weights_only=True) knows since torch 1.13
// (torch/_weights_only_unpickler.py), except for floats, which it knows since torch 2.0.
func Encode(v any) ([]byte, error) {
	e := &encoder{shared: shared(v)}
	return e.encode(v)
}

// Encoding is a value that can be written as [Encode] writes it again and again, without being in memory as a pickle.
// The value must stay as it is.
type Encoding struct {
	value  any
	shared map[any]bool
}

// NewEncoding returns the encoding of a value.
func NewEncoding(v any) *Encoding { return &Encoding{value: v, shared: shared(v)} }

// Write writes the pickle in pieces of about 64 KiB. An error of w ends it.
func (e *Encoding) Write(w io.Writer) error {
	out := &encoder{shared: e.shared, sink: w}
	last, err := out.encode(e.value)
	if err == nil {
		_, err = w.Write(last)
	}
	return err
}

// EncodePlain is Encode for plain values (see the package documentation): a value that would need an
// import to be read is an error.
func EncodePlain(v any) ([]byte, error) {
	e := &encoder{shared: shared(v), plain: true}
	return e.encode(v)
}

type encoder struct {
	out    []byte
	sink   io.Writer         // takes what is in out from time to time; nil when it is to stay there
	sunk   int               // bytes that it took
	shared map[any]bool      // nodes that are needed again, by identity
	memo   map[any]uint32    // of shared nodes that are written
	names  map[Global]uint32 // of imports that are written
	puts   uint32
	plain  bool
	depth  int
}

func (e *encoder) encode(v any) ([]byte, error) {
	e.memo = make(map[any]uint32)
	e.names = make(map[Global]uint32)
	e.out = append(e.out, opProto, 2)
	if err := e.value(v); err != nil {
		return nil, fmt.Errorf("write pickle: %w", err)
	}
	return append(e.out, opStop), nil
}

// shared finds the nodes that are reached more than once.
func shared(v any) map[any]bool {
	again := make(map[any]bool)
	seen := make(map[any]bool)
	todo := NewWalk(v)
	for v, ok := todo.Next(); ok; v, ok = todo.Next() {
		if !isNode(v) {
			continue
		}
		if !IsSingle(v) {
			if seen[v] {
				again[v] = true
				continue
			}
			seen[v] = true
		}
		if t, ok := v.(*TensorCall); ok && t.changed == nil {
			continue // nothing else refers to its parts
		}
		todo.Into(v)
	}
	return again
}

func isNode(v any) bool {
	switch t := v.(type) {
	case *List, *Dict, *Object, *PersistentID, *Set, *TensorCall:
		return true
	case *Tuple:
		return !isCounts(t)
	}
	return false
}

func (e *encoder) value(v any) error {
	if e.depth++; e.depth > MaxDepth {
		return fmt.Errorf("values are nested more than %d deep", MaxDepth)
	}
	if len(e.out)+e.sunk > MaxSize {
		return fmt.Errorf("it would be larger than %d bytes", MaxSize)
	}
	if err := e.flush(); err != nil {
		return err
	}
	defer func() { e.depth-- }()
	if len(e.memo) > 0 && isNode(v) {
		if i, ok := e.memo[v]; ok {
			e.get(i)
			return nil
		}
	}
	switch t := v.(type) {
	case nil:
		e.op(opNone)
	case bool:
		if t {
			e.op(opNewTrue)
		} else {
			e.op(opNewFalse)
		}
	case int64:
		e.int(t)
	case *big.Int:
		return e.bigInt(t)
	case float64:
		e.op(opBinFloat)
		e.out = binary.BigEndian.AppendUint64(e.out, math.Float64bits(t))
	case string:
		e.string(t)
	case *List:
		return e.list(t)
	case *Tuple:
		return e.tuple(t)
	case *Dict:
		e.op(opEmptyDict)
		e.remember(t)
		return e.pairs(t)
	default:
		if e.plain {
			return fmt.Errorf("%s is no plain value", kindOf(v))
		}
		return e.special(v)
	}
	return nil
}

const piece = 64 << 10 // bytes

func (e *encoder) flush() error {
	if e.sink == nil || len(e.out) < piece {
		return nil
	}
	n, err := e.sink.Write(e.out)
	e.sunk += n
	e.out = e.out[:0]
	return err
}

// special writes what cannot be read without an import or a persistent id.
func (e *encoder) special(v any) error {
	switch t := v.(type) {
	case *Global:
		return e.global(t)
	case *Object:
		return e.object(t)
	case *TensorCall:
		err := e.tensorCall(t)
		e.remember(t)
		return err
	case *PersistentID:
		if err := e.value(t.ID); err != nil {
			return err
		}
		e.op(opBinPersID)
		e.remember(t)
		return nil
	case Bytes:
		return e.bytes(t)
	case *Set:
		return e.set(t)
	}
	return fmt.Errorf("%s has no pickle form", kindOf(v))
}

func (e *encoder) op(op byte) { e.out = append(e.out, op) }

// remember puts the value that was just written into the memo when it is needed again.
func (e *encoder) remember(v any) {
	if len(e.shared) > 0 && e.shared[v] {
		e.memo[v] = e.put()
	}
}

func (e *encoder) put() uint32 {
	i := e.puts
	e.puts++
	if i < 256 {
		e.out = append(e.out, opBinPut, byte(i))
	} else {
		e.out = binary.LittleEndian.AppendUint32(append(e.out, opLongBinPut), i)
	}
	return i
}

func (e *encoder) get(i uint32) {
	if i < 256 {
		e.out = append(e.out, opBinGet, byte(i))
	} else {
		e.out = binary.LittleEndian.AppendUint32(append(e.out, opLongBinGet), i)
	}
}

func (e *encoder) int(n int64) {
	switch {
	case n >= 0 && n < 1<<8:
		e.out = append(e.out, opBinInt1, byte(n))
	case n >= 0 && n < 1<<16:
		e.out = binary.LittleEndian.AppendUint16(append(e.out, opBinInt2), uint16(n))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		e.out = binary.LittleEndian.AppendUint32(append(e.out, opBinInt), uint32(int32(n)))
	default:
		width := 8
		for width > 1 && n>>(8*(width-1)-1) == n>>63 {
			width--
		}
		e.out = append(e.out, opLong1, byte(width))
		for i := range width {
			e.out = append(e.out, byte(n>>(8*i)))
		}
	}
}

func (e *encoder) bigInt(n *big.Int) error {
	if n.IsInt64() {
		e.int(n.Int64())
		return nil
	}
	b := twosComplement(n)
	if len(b) > 255 {
		return fmt.Errorf("an int of %d bytes is too long", len(b))
	}
	e.out = append(append(e.out, opLong1, byte(len(b))), b...)
	return nil
}

// twosComplement returns the shortest little-endian two's complement form.
func twosComplement(n *big.Int) []byte {
	magnitude := n
	if n.Sign() < 0 {
		magnitude = new(big.Int).Not(n)
	}
	b := magnitude.Bytes()
	slices.Reverse(b)
	if len(b) == 0 || bits.Len8(b[len(b)-1]) == 8 {
		b = append(b, 0)
	}
	if n.Sign() < 0 {
		for i := range b {
			b[i] = ^b[i]
		}
	}
	return b
}

// string writes a str. Lone surrogates are kept as they are: Python reads them under surrogatepass.
func (e *encoder) string(s string) {
	e.op(opBinUnicode)
	e.out = binary.LittleEndian.AppendUint32(e.out, uint32(len(s)))
	e.out = append(e.out, s...)
}

func (e *encoder) list(l *List) error {
	e.op(opEmptyList)
	e.remember(l)
	return e.appended(l.Items)
}

func (e *encoder) appended(items []any) error {
	if len(items) == 0 {
		return nil
	}
	e.op(opMark)
	for _, v := range items {
		if err := e.value(v); err != nil {
			return err
		}
	}
	e.op(opAppends)
	return nil
}

func (e *encoder) pairs(d *Dict) error {
	if d.Len() == 0 {
		return nil
	}
	e.op(opMark)
	for k, v := range d.All() {
		if err := e.value(k); err != nil {
			return err
		}
		if err := e.value(v); err != nil {
			return fmt.Errorf("%.60q: %w", fmt.Sprint(k), err)
		}
	}
	e.op(opSetItems)
	return nil
}

func (e *encoder) tuple(t *Tuple) error {
	if len(t.Items) == 0 {
		e.op(opEmptyTuple)
		return nil
	}
	if len(t.Items) > 3 {
		e.op(opMark)
	}
	for _, v := range t.Items {
		if err := e.value(v); err != nil {
			return err
		}
	}
	if len(t.Items) > 3 {
		e.op(opTuple)
	} else {
		e.op(byte(opTuple1 + len(t.Items) - 1))
	}
	e.remember(t)
	return nil
}

func (e *encoder) global(g *Global) error {
	if i, ok := e.names[*g]; ok {
		e.get(i)
		return nil
	}
	if strings.ContainsAny(g.Module+g.Name, "\n") || !utf8.ValidString(g.Module+g.Name) {
		return fmt.Errorf("the imported name %q cannot be written", g.String())
	}
	e.out = append(e.out, opGlobal)
	e.out = append(append(e.out, g.Module...), '\n')
	e.out = append(append(e.out, g.Name...), '\n')
	e.names[*g] = e.put()
	return nil
}

func (e *encoder) object(o *Object) error {
	if o.Kwargs.Len() > 0 {
		return fmt.Errorf("protocol 2 cannot create %q with keyword arguments", o.ClassName())
	}
	if err := e.value(o.Class); err != nil {
		return err
	}
	if err := e.tuple(&Tuple{Items: o.Args}); err != nil {
		return err
	}
	if o.New {
		e.op(opNewObj)
	} else {
		e.op(opReduce)
	}
	e.remember(o)
	if err := e.appended(o.Appended); err != nil {
		return err
	}
	if err := e.pairs(o.Items); err != nil {
		return err
	}
	if !o.Built {
		return nil
	}
	if err := e.value(o.State); err != nil {
		return err
	}
	e.op(opBuild)
	return nil
}

// bytes writes bytes as Python does below protocol 3: as _codecs.encode(str, 'latin1').
func (e *encoder) bytes(b Bytes) error {
	latin1 := make([]rune, len(b))
	for i, c := range b {
		latin1[i] = rune(c)
	}
	return e.object(&Object{Class: &Global{"_codecs", "encode"}, Args: []any{string(latin1), "latin1"}})
}

func (e *encoder) set(s *Set) error {
	name := "set"
	if s.Frozen {
		name = "frozenset"
	}
	err := e.object(&Object{Class: &Global{"__builtin__", name}, Args: []any{&List{Items: s.Items}}})
	e.remember(s)
	return err
}
