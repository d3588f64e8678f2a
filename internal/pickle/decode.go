package pickle

import (
	"bytes"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"

	"github.com/bundlewatch/bundlewatch/internal/names"
)

// Limits of a read. Real checkpoints stay far below them: the pickle of 100,000 tensors has about
// 15 MB and marks nest as deep as the pickled value does.
const (
	// MaxSize is the largest pickle that is read, in bytes.
	MaxSize = 64 << 20
	// MaxDepth is how deep marks, and values that are walked, may be nested.
	MaxDepth = 1000
	// MaxImports is how many different names may be imported.
	MaxImports = 1 << 16

	maxDigits    = 4300 // of an int written as text: reading them takes quadratic time (CPython's limit)
	maxIntBytes  = 2048 // of an int written as bytes: about as many digits
	memoryFloor  = 16 << 20
	memoryFactor = 40 // bytes of values per byte of pickle
	memoryCap    = 256 << 20
)

// Bytes that values take in memory, without what they hold.
const (
	costBox          = 16 // a scalar or the header of a text, as the value of an interface
	costItem         = 16 // one value in an array of its size
	costGrown        = 24 // one value in an array that grows
	costPair         = 64 // in a dict that grows, with its index
	costList         = 32
	costTuple        = 32
	costDict         = 48
	costSet          = 48
	costObject       = 112
	costPersistentID = 24
	costMemo         = 40
	costImport       = 48
	costShared       = 256 // of what can be reached on several ways: whoever walks over values has to remember it
)

// Import is one name that a pickle imports.
type Import struct {
	Module, Name string
	Offset       int // of the opcode, from the start of the pickle
}

// String returns the dotted name.
func (i Import) String() string { return i.Module + "." + i.Name }

// Pickle is one pickle, read.
type Pickle struct {
	Value    any      // see the package documentation; nil after an error
	Imports  []Import // in order of occurrence, repetitions included
	Protocol int      // of the PROTO opcode, 0 when there is none
	Size     int      // bytes up to and with STOP; data may follow
	// Discarded are the containers and objects that the pickle makes and throws away: values that it pops, and those of
	// keys that get another. Reading them called what they call.
	Discarded []any

	opcodes [256]bool // those that occur
}

// OnlyUses tells whether no opcode occurs but those given.
func (p *Pickle) OnlyUses(opcodes string) bool {
	known := [256]bool{}
	for i := range len(opcodes) {
		known[opcodes[i]] = true
	}
	for op, occurs := range p.opcodes {
		if occurs && !known[op] {
			return false
		}
	}
	return true
}

// Decode reads the pickle at the start of data. After an error the returned Pickle holds the imports
// seen up to there; the error is an [*Error].
func Decode(data []byte) (*Pickle, error) { return DecodeFrom(bytes.NewReader(data), int64(len(data))) }

// DecodeFrom is Decode for the pickle at the start of a file of so many bytes, which it goes through twice from front to
// back, and never holds in memory. An error that is no [*Error] comes from r.
func DecodeFrom(r io.ReaderAt, size int64) (*Pickle, error) { return decode(r, size, usualWindow) }

func decode(r io.ReaderAt, size int64, window int) (*Pickle, error) {
	if size > MaxSize {
		return &Pickle{}, &Error{Reason: fmt.Sprintf("%d bytes are more than the %d that are read", size, MaxSize)}
	}
	d := &decoder{lexer: lexer{source: r, size: int(size), window: window}, memory: min(memoryFloor+memoryFactor*int(size), memoryCap)}
	if err := d.findUsedMemos(); err != nil {
		d.listImports()
		return &d.result, err
	}
	err := d.run()
	return &d.result, err
}

// decoder is the pickle machine: a stack, marks in it, and a memo.
type decoder struct {
	lexer
	result Pickle
	stack  []any
	marks  []int // stack heights
	memory int   // bytes of values that may still be made

	// What occurs again and again is kept once.
	globals map[string]*Global
	texts   names.Texts
	words   words
	tuples  tuples
	forms   forms
	calls   tensorCalls
	spares  spares

	// Only memo entries that a GET asks for are kept: most of what a pickler memoizes is never used again.
	used     bitSet
	memo     map[uint64]any
	memoized bitSet // indexes that were put
	memoLen  uint64
}

// findUsedMemos walks the opcodes once for the memo indexes that are read. It also finds out whether
// the pickle is cut off, before any value is made.
func (d *decoder) findUsedMemos() error {
	l := lexer{source: d.source, size: d.size, window: d.window} // not of the loop, which would copy it each time
	for {
		in, err := l.next()
		if err != nil {
			return err
		}
		switch in.op {
		case opGet, opBinGet, opLongBinGet:
			i, err := memoIndex(in)
			if err != nil {
				return err
			}
			if i >= uint64(d.size) {
				return fault(in, "memo %d was never set", i)
			}
			d.used.add(i)
		case opStop:
			return nil
		}
	}
}

// listImports runs as far as the pickle goes, for the sake of the imports alone.
func (d *decoder) listImports() {
	_ = d.run()
	d.result.Value, d.result.Discarded = nil, nil
}

func (d *decoder) run() error {
	d.memo = make(map[uint64]any)
	d.globals = make(map[string]*Global)
	for {
		in, err := d.next()
		if err != nil {
			return err
		}
		d.result.opcodes[in.op] = true
		if in.op == opStop {
			return d.stop(in)
		}
		if err := d.step(in); err != nil {
			return err
		}
	}
}

func (d *decoder) stop(in *instruction) error {
	v, err := d.pop(in)
	if err != nil {
		return err
	}
	if len(d.stack) > 0 {
		return fault(in, "%d values are left on the stack", len(d.stack))
	}
	d.result.Value, d.result.Size = v, d.pos()
	return nil
}

func fault(in *instruction, format string, args ...any) error {
	return &Error{Offset: in.offset, Op: in.op, Reason: fmt.Sprintf(format, args...)}
}

// step executes one instruction. The groups are: stack, scalars, containers, memo, names and calls.
func (d *decoder) step(in *instruction) error {
	switch in.op {
	case opMark, opPop, opPopMark, opDup, opProto, opFrame:
		return d.stackOp(in)
	case opEmptyTuple, opTuple, opTuple1, opTuple2, opTuple3, opEmptyList, opList, opAppend, opAppends,
		opEmptyDict, opDict, opSetItem, opSetItems, opEmptySet, opAddItems, opFrozenSet:
		return d.containerOp(in)
	case opGet, opBinGet, opLongBinGet, opPut, opBinPut, opLongBinPut, opMemoize:
		return d.memoOp(in)
	case opGlobal, opStackGlobal, opExt1, opExt2, opExt4, opInst, opObj, opReduce, opNewObj, opNewObjEx, opBuild,
		opPersID, opBinPersID, opNextBuffer, opReadonlyBuffer:
		return d.objectOp(in)
	}
	return d.scalarOp(in)
}

// push puts a value that takes so many bytes on the stack.
func (d *decoder) push(in *instruction, v any, cost int) error {
	if len(d.stack) == cap(d.stack) {
		cost += costGrown * max(cap(d.stack), 32) // what it grows by, and what is copied
		d.stack = slices.Grow(d.stack, max(cap(d.stack), 32))
	}
	if err := d.charge(in, cost); err != nil {
		return err
	}
	d.stack = append(d.stack, v)
	return nil
}

// charge counts bytes that are about to be taken.
func (d *decoder) charge(in *instruction, bytes int) error {
	if d.memory -= bytes; d.memory < 0 {
		return d.tooLarge(in)
	}
	return nil
}

func (d *decoder) tooLarge(in *instruction) error {
	return fault(in, "the values need more memory than a pickle of %d bytes may", d.size)
}

// base is the height below which the values since the last mark lie.
func (d *decoder) base() int {
	if len(d.marks) == 0 {
		return 0
	}
	return d.marks[len(d.marks)-1]
}

func (d *decoder) pop(in *instruction) (any, error) {
	if len(d.stack) <= d.base() {
		return nil, fault(in, "the stack is empty")
	}
	v := d.stack[len(d.stack)-1]
	d.stack[len(d.stack)-1] = nil
	d.stack = d.stack[:len(d.stack)-1]
	return v, nil
}

func (d *decoder) top(in *instruction) (any, error) {
	if len(d.stack) <= d.base() {
		return nil, fault(in, "the stack is empty")
	}
	return d.stack[len(d.stack)-1], nil
}

// popMark takes all values since the last mark. They stay where they are until the next push.
func (d *decoder) popMark(in *instruction) ([]any, error) {
	if len(d.marks) == 0 {
		return nil, fault(in, "there is no mark")
	}
	at := d.marks[len(d.marks)-1]
	d.marks = d.marks[:len(d.marks)-1]
	items := d.stack[at:]
	d.stack = d.stack[:at]
	return items, nil
}

// popN takes n values. They stay where they are until the next push.
func (d *decoder) popN(in *instruction, n int) ([]any, error) {
	if len(d.stack)-d.base() < n {
		return nil, fault(in, "needs %d values, the stack has %d", n, len(d.stack)-d.base())
	}
	at := len(d.stack) - n
	items := d.stack[at:]
	d.stack = d.stack[:at]
	return items, nil
}

func (d *decoder) stackOp(in *instruction) error {
	switch in.op {
	case opMark:
		if len(d.marks) >= MaxDepth {
			return fault(in, "marks are nested more than %d deep", MaxDepth)
		}
		d.marks = append(d.marks, len(d.stack))
	case opPop:
		if len(d.marks) > 0 && len(d.stack) == d.base() {
			d.marks = d.marks[:len(d.marks)-1]
			return nil
		}
		v, err := d.pop(in)
		if err != nil {
			return err
		}
		return d.discard(in, v)
	case opPopMark:
		items, err := d.popMark(in)
		if err != nil {
			return err
		}
		defer clear(items)
		return d.discard(in, items...)
	case opDup:
		v, err := d.top(in)
		if err != nil {
			return err
		}
		return d.push(in, v, share(v))
	case opProto:
		if in.offset != 0 {
			return fault(in, "the protocol is named in the middle of the pickle")
		}
		if in.number > 5 {
			return fault(in, "protocol %d is not known", in.number)
		}
		d.result.Protocol = int(in.number)
	case opFrame:
		if rest := uint64(d.size - d.pos()); in.number > rest {
			return fault(in, "a frame of %d bytes, but only %d are left", in.number, rest)
		}
	}
	return nil
}

func (d *decoder) scalarOp(in *instruction) error {
	switch in.op {
	case opNone:
		return d.push(in, nil, 0)
	case opNewTrue, opNewFalse:
		return d.push(in, in.op == opNewTrue, 0)
	case opBinInt:
		return d.pushInt(in, int64(int32(uint32(in.number))))
	case opBinInt1, opBinInt2:
		return d.pushInt(in, int64(in.number))
	case opBinFloat:
		return d.push(in, bigEndianFloat(in.number), costBox)
	case opLong1, opLong4:
		if len(in.text) > maxIntBytes {
			return fault(in, "an int of %d bytes is larger than any real one", len(in.text))
		}
		return d.push(in, littleEndianInt(in.text), 2*costBox+len(in.text))
	case opShortBinString, opBinString, opBinUnicode, opShortBinUni, opBinUnicode8:
		return d.pushText(in, in.text)
	case opShortBinBytes, opBinBytes, opBinBytes8, opByteArray8:
		return d.push(in, Bytes(slices.Clone(in.text)), 2*costBox+len(in.text))
	}
	return d.textOp(in)
}

func (d *decoder) pushInt(in *instruction, n int64) error {
	if n >= 0 && n < 256 { // Go has those
		return d.push(in, n, 0)
	}
	return d.push(in, n, costBox)
}

func (d *decoder) pushText(in *instruction, text []byte) error {
	if v := d.words.known(text); v != nil {
		return d.push(in, v, 0)
	}
	s := d.texts.Keep(text)
	if err := checkText(s, in.op); err != nil {
		return fault(in, "%v", err)
	}
	var v any = s
	d.words.keep(text, v)
	return d.push(in, v, 2*costBox+len(s))
}

// textOp executes the scalars of protocol 0, which are written as text.
func (d *decoder) textOp(in *instruction) error {
	text := string(in.text)
	switch in.op {
	case opFloat:
		f, err := textFloat(text)
		if err != nil {
			return fault(in, "%v", err)
		}
		return d.push(in, f, costBox)
	case opInt, opLong:
		v, err := textInt(in.op, text)
		if err != nil {
			return fault(in, "%v", err)
		}
		return d.push(in, v, 2*costBox+len(text))
	case opString:
		s, err := unquote(text)
		if err == nil {
			err = checkText(s, in.op)
		}
		if err != nil {
			return fault(in, "%v", err)
		}
		return d.push(in, s, 2*costBox+len(s))
	case opUnicode:
		s, err := rawUnicodeEscape(text)
		if err != nil {
			return fault(in, "%v", err)
		}
		return d.push(in, s, 2*costBox+len(s))
	}
	return fault(in, "not implemented")
}

func (d *decoder) containerOp(in *instruction) error {
	switch in.op {
	case opEmptyTuple:
		return d.pushTuple(in, nil)
	case opEmptyList:
		return d.push(in, &List{single: single{true}}, costList)
	case opEmptyDict:
		return d.push(in, &Dict{single: single{true}}, costDict)
	case opEmptySet:
		return d.push(in, &Set{single: single{true}}, costSet)
	case opTuple1, opTuple2, opTuple3:
		items, err := d.popN(in, int(in.op)-opTuple1+1)
		if err != nil {
			return err
		}
		return d.pushTuple(in, items)
	case opAppend:
		if _, err := d.top(in); err != nil {
			return err
		}
		items, err := d.popN(in, 1)
		if err != nil {
			return err
		}
		return d.extend(in, items)
	case opSetItem:
		pair, err := d.popN(in, 2)
		if err != nil {
			return err
		}
		return d.setItems(in, pair)
	}
	return d.markedContainerOp(in)
}

// pushTuple makes a tuple of values that were just taken from the stack.
func (d *decoder) pushTuple(in *instruction, items []any) error {
	if t, kept := d.tuples.intern(items); kept {
		return d.push(in, t, 0)
	} else if t != nil {
		return d.push(in, t, costTuple+costItem*len(items))
	}
	if err := d.charge(in, costTuple+costItem*len(items)); err != nil {
		return err
	}
	t := d.spares.tuple(items)
	clear(items)
	return d.push(in, t, 0)
}

// markedContainerOp executes the container opcodes that take the values since the last mark.
func (d *decoder) markedContainerOp(in *instruction) error {
	items, err := d.popMark(in)
	if err != nil {
		return err
	}
	switch in.op {
	case opTuple:
		return d.pushTuple(in, items)
	case opList:
		if err := d.charge(in, costList+costItem*len(items)); err != nil {
			return err
		}
		l := &List{Items: slices.Clone(items), single: single{true}}
		clear(items)
		return d.push(in, l, 0)
	case opFrozenSet:
		s := &Set{Frozen: true, single: single{true}}
		if err := d.addMembers(in, s, items); err != nil {
			return err
		}
		return d.push(in, s, costSet)
	case opDict:
		if len(items)%2 != 0 {
			return fault(in, "a key has no value")
		}
		dict := &Dict{single: single{true}}
		if err := d.setPairs(in, dict, items); err != nil {
			return err
		}
		return d.push(in, dict, costDict)
	case opSetItems:
		return d.setItems(in, items)
	}
	return d.extend(in, items) // APPENDS, ADDITEMS
}

// target is the value on the top, which the pickle is about to change.
func (d *decoder) target(in *instruction) (any, error) {
	v, err := d.top(in)
	if t, ok := v.(*TensorCall); ok {
		if !t.Changed() {
			err = d.charge(in, costPackedAway+costObject+costTensorForm)
		}
		return t.object(), err
	}
	return v, err
}

func (d *decoder) extend(in *instruction, items []any) error {
	defer clear(items)
	if err := d.charge(in, costGrown*len(items)); err != nil {
		return err
	}
	target, err := d.target(in)
	if err != nil {
		return err
	}
	if o, ok := target.(*Object); ok {
		o.Appended = append(o.Appended, items...)
		return nil
	}
	if in.op == opAddItems {
		s, ok := target.(*Set)
		if !ok || s.Frozen {
			return fault(in, "adds to %s, which is no set that can change", kindOf(target))
		}
		return d.addMembers(in, s, items)
	}
	l, ok := target.(*List)
	if !ok {
		return fault(in, "adds to %s, which is no list", kindOf(target))
	}
	l.Items = append(l.Items, items...)
	return nil
}

func (d *decoder) addMembers(in *instruction, s *Set, items []any) error {
	defer clear(items)
	for _, v := range items {
		if err := d.charge(in, costPair+keyCost(v)); err != nil {
			return err
		}
		if !canBeKey(v) {
			return fault(in, "a set has %s in it, which cannot be hashed", kindOf(v))
		}
		s.add(v)
	}
	return nil
}

func (d *decoder) setItems(in *instruction, pairs []any) error {
	if len(pairs)%2 != 0 {
		return fault(in, "a key has no value")
	}
	target, err := d.target(in)
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case *Dict:
		return d.setPairs(in, t, pairs)
	case *Object:
		if t.Items == nil {
			if err := d.charge(in, costDict); err != nil {
				return err
			}
			t.Items = &Dict{single: single{true}}
		}
		return d.setPairs(in, t.Items, pairs)
	}
	return fault(in, "sets a key of %s, which is no dict", kindOf(target))
}

func (d *decoder) setPairs(in *instruction, dict *Dict, pairs []any) error {
	defer clear(pairs)
	dict.pairs = d.grow(dict.pairs, len(pairs))
	for i := 0; i < len(pairs); i += 2 {
		if !canBeKey(pairs[i]) {
			return fault(in, "a key is %s, which cannot be hashed", kindOf(pairs[i]))
		}
		if err := d.charge(in, costPair+keyCost(pairs[i])); err != nil {
			return err
		}
		if old, again := dict.replace(pairs[i], pairs[i+1]); again {
			if err := d.discard(in, old); err != nil {
				return err
			}
		}
	}
	return nil
}

// grow makes room for more pairs of a dict: when it grows again, for twice as many, or for as many as it has in the end if the rest
// of the pickle is like the part before it.
func (d *decoder) grow(pairs []any, more int) []any {
	n := len(pairs) + more
	if n <= cap(pairs) {
		return pairs
	}
	room := n
	if len(pairs) > 0 {
		expected := n + n*(d.size-d.pos())/d.pos()
		room = max(n+n/4, min(2*cap(pairs), expected+expected/64))
	}
	return append(make([]any, 0, room), pairs...)
}

// discard keeps values that nothing may refer to any more, if they can hold calls.
func (d *decoder) discard(in *instruction, values ...any) error {
	for _, v := range values {
		switch v.(type) {
		case *List, *Tuple, *Set, *Dict, *Object, *PersistentID, *TensorCall:
			if err := d.charge(in, costGrown); err != nil {
				return err
			}
			d.result.Discarded = append(d.result.Discarded, v)
		}
	}
	return nil
}

func memoIndex(in *instruction) (uint64, error) {
	if in.op != opGet && in.op != opPut {
		return in.number, nil
	}
	i, err := strconv.ParseUint(string(in.text), 10, 32)
	if err != nil {
		return 0, fault(in, "%.40q is no memo index", in.text)
	}
	return i, nil
}

func (d *decoder) memoOp(in *instruction) error {
	if in.op == opMemoize {
		return d.memoPut(in, d.memoLen)
	}
	i, err := memoIndex(in)
	if err != nil {
		return err
	}
	if in.op == opPut || in.op == opBinPut || in.op == opLongBinPut {
		return d.memoPut(in, i)
	}
	v, ok := d.memo[i]
	if !ok {
		return fault(in, "memo %d was never set", i)
	}
	return d.push(in, v, 0)
}

func (d *decoder) memoPut(in *instruction, i uint64) error {
	if i >= uint64(d.size) {
		return fault(in, "memo index %d is larger than the pickle", i)
	}
	v, err := d.top(in)
	if err != nil {
		return err
	}
	if !d.memoized.has(i) {
		d.memoized.add(i)
		d.memoLen++
	}
	if d.used.has(i) {
		d.memo[i] = v
		return d.charge(in, costMemo+share(v))
	}
	return nil
}

// pushImport notes an import. A name that occurs again is the same value.
func (d *decoder) pushImport(in *instruction, module, name string) error {
	g, err := d.importName(in, module, name)
	if err != nil {
		return err
	}
	return d.push(in, g, 0)
}

func (d *decoder) importName(in *instruction, module, name string) (*Global, error) {
	dotted := module + "\n" + name
	g, known := d.globals[dotted]
	if !known {
		if len(d.globals) == MaxImports {
			return nil, fault(in, "more than %d different names are imported", MaxImports)
		}
		g = &Global{Module: module, Name: name}
		d.globals[dotted] = g
		d.memory -= costPair + 3*len(dotted)
	}
	d.result.Imports = append(d.result.Imports, Import{Module: g.Module, Name: g.Name, Offset: in.offset})
	return g, d.charge(in, costImport)
}

func (d *decoder) objectOp(in *instruction) error {
	for _, text := range [][]byte{in.text, in.second} { // of GLOBAL, INST, PERSID
		if err := checkText(string(text), in.op); err != nil {
			return fault(in, "%v", err)
		}
	}
	switch in.op {
	case opGlobal:
		return d.pushImport(in, string(in.text), string(in.second))
	case opStackGlobal:
		return d.stackGlobal(in)
	case opExt1, opExt2, opExt4:
		return d.pushImport(in, "copyreg", fmt.Sprintf("extension %d", in.number))
	case opPersID:
		return d.push(in, &PersistentID{ID: string(in.text), single: single{true}}, costPersistentID+2*costBox+len(in.text))
	case opBinPersID:
		id, err := d.pop(in)
		if err != nil {
			return err
		}
		return d.push(in, d.spares.persistentID(id), costPersistentID)
	case opNextBuffer:
		return d.push(in, &PersistentID{ID: "out-of-band buffer", single: single{true}}, costPersistentID)
	case opReadonlyBuffer:
		_, err := d.top(in)
		return err
	case opBuild:
		return d.build(in)
	}
	return d.call(in)
}

func (d *decoder) stackGlobal(in *instruction) error {
	pair, err := d.popN(in, 2)
	if err != nil {
		return err
	}
	module, ok1 := pair[0].(string)
	name, ok2 := pair[1].(string)
	if !ok1 || !ok2 {
		return fault(in, "the imported name is %s and %s, not two strings", kindOf(pair[0]), kindOf(pair[1]))
	}
	return d.pushImport(in, module, name)
}

// call executes the opcodes that would call something.
func (d *decoder) call(in *instruction) error {
	o := Object{New: in.op == opNewObj || in.op == opNewObjEx, single: single{true}}
	switch in.op {
	case opInst, opObj:
		return d.callMarked(in)
	case opReduce, opNewObj:
		pair, err := d.popN(in, 2)
		if err != nil {
			return err
		}
		args, ok := pair[1].(*Tuple)
		if !ok {
			return fault(in, "the arguments are %s, not a tuple", kindOf(pair[1]))
		}
		if in.op == opReduce {
			if t := d.packTensor(pair[0], args); t != nil {
				clear(pair)
				return d.push(in, t, costTensorCall)
			}
		}
		o.Class, o.Args = pair[0], args.Items
		clear(pair)
	case opNewObjEx:
		three, err := d.popN(in, 3)
		if err != nil {
			return err
		}
		args, ok1 := three[1].(*Tuple)
		kwargs, ok2 := three[2].(*Dict)
		if !ok1 || !ok2 {
			return fault(in, "the arguments are %s and %s, not a tuple and a dict", kindOf(three[1]), kindOf(three[2]))
		}
		o.Class, o.Args, o.Kwargs = three[0], args.Items, kwargs
		clear(three)
	}
	return d.push(in, d.spares.object(o), costObject)
}

// callMarked executes INST and OBJ, whose arguments are the values since the last mark.
func (d *decoder) callMarked(in *instruction) error {
	items, err := d.popMark(in)
	if err != nil {
		return err
	}
	if err := d.charge(in, costItem*len(items)); err != nil {
		return err
	}
	kept := slices.Clone(items)
	clear(items)
	if in.op == opInst {
		g, err := d.importName(in, string(in.text), string(in.second))
		if err != nil {
			return err
		}
		return d.push(in, &Object{Class: g, Args: kept, single: single{true}}, costObject)
	}
	if len(kept) == 0 {
		return fault(in, "there is no class")
	}
	return d.push(in, &Object{Class: kept[0], Args: kept[1:], single: single{true}}, costObject)
}

func (d *decoder) build(in *instruction) error {
	state, err := d.pop(in)
	if err != nil {
		return err
	}
	target, err := d.target(in)
	if err != nil {
		return err
	}
	o, ok := target.(*Object)
	if !ok {
		return fault(in, "sets the state of %s, which is no instance", kindOf(target))
	}
	if o.Built {
		return fault(in, "sets the state of an instance of %q twice", o.ClassName())
	}
	o.State, o.Built = state, true
	return nil
}

func kindOf(v any) string {
	switch t := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a bool"
	case int64, *big.Int:
		return "an int"
	case float64:
		return "a float"
	case string:
		return "a str"
	case Bytes:
		return "bytes"
	case *List:
		return "a list"
	case *Tuple:
		return "a tuple"
	case *Dict:
		return "a dict"
	case *Set:
		return "a set"
	case *Global:
		return fmt.Sprintf("the import %q", t.String())
	case *Object:
		return fmt.Sprintf("an instance of %q", t.ClassName())
	case *TensorCall:
		return fmt.Sprintf("an instance of %q", t.Object().ClassName())
	case *PersistentID:
		return "a persistent id"
	}
	return fmt.Sprintf("%T", v)
}

// Kind names the Python type of a value for people, with an article.
func Kind(v any) string { return kindOf(v) }
