package pickle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Opcodes, as in CPython's Lib/pickletools.py.
const (
	opMark           = '('
	opEmptyTuple     = ')'
	opStop           = '.'
	opPop            = '0'
	opPopMark        = '1'
	opDup            = '2'
	opBinBytes       = 'B'
	opShortBinBytes  = 'C'
	opFloat          = 'F'
	opBinFloat       = 'G'
	opInt            = 'I'
	opBinInt         = 'J'
	opBinInt1        = 'K'
	opLong           = 'L'
	opBinInt2        = 'M'
	opNone           = 'N'
	opPersID         = 'P'
	opBinPersID      = 'Q'
	opReduce         = 'R'
	opString         = 'S'
	opBinString      = 'T'
	opShortBinString = 'U'
	opUnicode        = 'V'
	opBinUnicode     = 'X'
	opEmptyList      = ']'
	opAppend         = 'a'
	opBuild          = 'b'
	opGlobal         = 'c'
	opDict           = 'd'
	opAppends        = 'e'
	opGet            = 'g'
	opBinGet         = 'h'
	opInst           = 'i'
	opLongBinGet     = 'j'
	opList           = 'l'
	opObj            = 'o'
	opPut            = 'p'
	opBinPut         = 'q'
	opLongBinPut     = 'r'
	opSetItem        = 's'
	opTuple          = 't'
	opSetItems       = 'u'
	opEmptyDict      = '}'
	opProto          = 0x80
	opNewObj         = 0x81
	opExt1           = 0x82
	opExt2           = 0x83
	opExt4           = 0x84
	opTuple1         = 0x85
	opTuple2         = 0x86
	opTuple3         = 0x87
	opNewTrue        = 0x88
	opNewFalse       = 0x89
	opLong1          = 0x8a
	opLong4          = 0x8b
	opShortBinUni    = 0x8c
	opBinUnicode8    = 0x8d
	opBinBytes8      = 0x8e
	opEmptySet       = 0x8f
	opAddItems       = 0x90
	opFrozenSet      = 0x91
	opNewObjEx       = 0x92
	opStackGlobal    = 0x93
	opMemoize        = 0x94
	opFrame          = 0x95
	opByteArray8     = 0x96
	opNextBuffer     = 0x97
	opReadonlyBuffer = 0x98
)

// argument tells what follows an opcode.
type argument struct {
	width uint8 // bytes of a little-endian number
	form  form
}

// form is what an argument is.
type form uint8

const (
	unknown  form = iota // the byte is no opcode
	number               // the number alone, or nothing
	counted              // as many bytes as the number tells
	line                 // text up to a newline
	twoLines             // two of them
)

var arguments = func() (table [256]argument) {
	set := func(width uint8, f form, ops ...byte) {
		for _, op := range ops {
			table[op] = argument{width, f}
		}
	}
	set(0, number, opMark, opEmptyTuple, opStop, opPop, opPopMark, opDup, opNone, opBinPersID, opReduce, opEmptyList,
		opAppend, opBuild, opDict, opAppends, opList, opObj, opSetItem, opTuple, opSetItems, opEmptyDict, opNewObj,
		opTuple1, opTuple2, opTuple3, opNewTrue, opNewFalse, opEmptySet, opAddItems, opFrozenSet, opNewObjEx,
		opStackGlobal, opMemoize, opNextBuffer, opReadonlyBuffer)
	set(1, number, opBinInt1, opBinGet, opBinPut, opProto, opExt1)
	set(2, number, opBinInt2, opExt2)
	set(4, number, opBinInt, opLongBinGet, opLongBinPut, opExt4)
	set(8, number, opBinFloat, opFrame)
	set(0, line, opFloat, opInt, opLong, opPersID, opString, opUnicode, opGet, opPut)
	set(0, twoLines, opGlobal, opInst)
	set(1, counted, opShortBinBytes, opShortBinString, opShortBinUni, opLong1)
	set(4, counted, opBinBytes, opBinString, opBinUnicode, opLong4)
	set(8, counted, opBinUnicode8, opBinBytes8, opByteArray8)
	return table
}()

// instruction is one opcode with its argument.
type instruction struct {
	op     byte
	offset int
	number uint64 // the little-endian number
	text   []byte // the line or the counted bytes
	second []byte // the second line
}

// lexer cuts a pickle into instructions. It knows nothing of their meaning, so that a walk over the
// opcodes sees the same instructions as a read of the values. The texts of an instruction are valid until the next.
type lexer struct {
	source io.ReaderAt
	size   int
	window int    // bytes that are read at once, or more
	data   []byte // a part of the pickle, from start on; what follows the begin of the instruction stays there
	start  int
	at     int // in data
	in     instruction
}

// pos returns where in the pickle the lexer is.
func (l *lexer) pos() int { return l.start + l.at }

const usualWindow = 64 << 10 // bytes

// numberEnd is where in an instruction the longest number ends.
const numberEnd = 1 + 8

// next returns the next instruction, which is valid until the one after it.
func (l *lexer) next() (*instruction, error) {
	in := &l.in
	*in = instruction{offset: l.pos()}
	if end := min(in.offset+numberEnd, l.size); end > l.start+len(l.data) {
		if err := l.fill(end); err != nil {
			return in, err
		}
	}
	rest := l.data[l.at:]
	if len(rest) == 0 {
		return in, &Error{Offset: in.offset, Reason: "the pickle ends without a STOP opcode"}
	}
	in.op = rest[0]
	argument := arguments[in.op]
	width := int(argument.width)
	switch {
	case len(rest) >= numberEnd:
		in.number = binary.LittleEndian.Uint64(rest[1:]) & (1<<(8*width) - 1)
	case len(rest) <= width:
		return in, l.short(uint64(width), len(rest)-1)
	default:
		var wide [8]byte
		copy(wide[:], rest[1:1+width])
		in.number = binary.LittleEndian.Uint64(wide[:])
	}
	l.at += 1 + width
	var err error
	switch argument.form {
	case number:
	case counted:
		in.text, err = l.take(in.number)
	case line:
		in.text, err = l.line()
	case twoLines:
		in.text, in.second, err = l.twoLines()
	default:
		err = &Error{Offset: in.offset, Reason: fmt.Sprintf("byte 0x%02x is no opcode", in.op)}
	}
	return in, err
}

// short is the error of an argument that is longer than what is left of the pickle.
func (l *lexer) short(n uint64, left int) error {
	return fault(&l.in, "needs %d bytes, but only %d are left", n, left)
}

// take returns the n bytes that follow.
func (l *lexer) take(n uint64) ([]byte, error) {
	if n > uint64(len(l.data)-l.at) {
		if left := l.size - l.pos(); n > uint64(left) {
			return nil, l.short(n, left)
		}
		if err := l.fill(l.pos() + int(n)); err != nil {
			return nil, err
		}
	}
	begin := l.at
	l.at += int(n)
	return l.data[begin:l.at], nil
}

// fill reads on, at least up to end, and gives up what is in front of the instruction.
func (l *lexer) fill(end int) error {
	from := l.in.offset
	kept := l.data[min(from-l.start, len(l.data)):]
	size := min(max(l.window, 2*(end-from)), l.size-from)
	if size > cap(l.data) {
		l.data = append(make([]byte, 0, size), kept...)
	} else {
		l.data = l.data[:copy(l.data[:cap(l.data)], kept)]
	}
	l.start, l.at = from, l.pos()-from
	have := len(l.data)
	l.data = l.data[:size]
	n, err := l.source.ReadAt(l.data[have:], int64(l.start+have))
	if n < size-have {
		l.data = l.data[:have+n]
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read a pickle at byte %d: %w", l.start+have+n, err)
	}
	return nil
}

func (l *lexer) line() ([]byte, error) {
	for searched := l.pos(); ; {
		rest := l.data[searched-l.start:]
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			begin := l.at
			l.at = searched - l.start + i + 1
			return l.data[begin : l.at-1], nil
		}
		searched += len(rest)
		if searched == l.size {
			return nil, fault(&l.in, "its line of text does not end")
		}
		if err := l.fill(searched + 1); err != nil {
			return nil, err
		}
	}
}

func (l *lexer) twoLines() (first, second []byte, err error) {
	begin := l.pos()
	if first, err = l.line(); err != nil {
		return nil, nil, err
	}
	length := len(first)
	second, err = l.line()
	return l.data[begin-l.start:][:length], second, err // the second may have moved the first
}

// Error says where and why a pickle cannot be read.
type Error struct {
	Offset int  // of the opcode, from the start of the pickle
	Op     byte // the opcode, 0 when the fault is not one opcode's
	Reason string
}

func (e *Error) Error() string {
	if e.Op == 0 {
		return fmt.Sprintf("pickle at byte %d: %s", e.Offset, e.Reason)
	}
	return fmt.Sprintf("pickle at byte %d: opcode %q: %s", e.Offset, rune(e.Op), e.Reason)
}
