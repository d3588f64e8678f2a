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

// argument tells how the bytes after an opcode are laid out.
type argument uint8

const (
	argUnknown argument = iota // not an opcode
	argNone
	argUint1    // 1 byte, little-endian number
	argUint2    // 2 bytes
	argUint4    // 4 bytes
	argUint8    // 8 bytes
	argLine     // text up to a newline
	argTwoLines // two of them
	argCounted1 // that many bytes after a 1-byte count
	argCounted4
	argCounted8
)

var arguments = func() (table [256]argument) {
	set := func(a argument, ops ...byte) {
		for _, op := range ops {
			table[op] = a
		}
	}
	set(argNone, opMark, opEmptyTuple, opStop, opPop, opPopMark, opDup, opNone, opBinPersID, opReduce, opEmptyList,
		opAppend, opBuild, opDict, opAppends, opList, opObj, opSetItem, opTuple, opSetItems, opEmptyDict, opNewObj,
		opTuple1, opTuple2, opTuple3, opNewTrue, opNewFalse, opEmptySet, opAddItems, opFrozenSet, opNewObjEx,
		opStackGlobal, opMemoize, opNextBuffer, opReadonlyBuffer)
	set(argUint1, opBinInt1, opBinGet, opBinPut, opProto, opExt1)
	set(argUint2, opBinInt2, opExt2)
	set(argUint4, opBinInt, opLongBinGet, opLongBinPut, opExt4)
	set(argUint8, opBinFloat, opFrame)
	set(argLine, opFloat, opInt, opLong, opPersID, opString, opUnicode, opGet, opPut)
	set(argTwoLines, opGlobal, opInst)
	set(argCounted1, opShortBinBytes, opShortBinString, opShortBinUni, opLong1)
	set(argCounted4, opBinBytes, opBinString, opBinUnicode, opLong4)
	set(argCounted8, opBinUnicode8, opBinBytes8, opByteArray8)
	return table
}()

// instruction is one opcode with its argument.
type instruction struct {
	op     byte
	offset int
	number uint64 // the argUint* value
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

// next returns the next instruction, which is valid until the one after it.
func (l *lexer) next() (*instruction, error) {
	in := &l.in
	*in = instruction{offset: l.pos()}
	if in.offset >= l.size {
		return in, &Error{Offset: in.offset, Reason: "the pickle ends without a STOP opcode"}
	}
	op, err := l.take(1)
	if err != nil {
		return in, err
	}
	in.op = op[0]
	switch arguments[in.op] {
	case argNone:
	case argUint1:
		in.number, err = l.uint(1)
	case argUint2:
		in.number, err = l.uint(2)
	case argUint4:
		in.number, err = l.uint(4)
	case argUint8:
		in.number, err = l.uint(8)
	case argLine:
		in.text, err = l.line()
	case argTwoLines:
		in.text, in.second, err = l.twoLines()
	case argCounted1:
		in.text, err = l.counted(1)
	case argCounted4:
		in.text, err = l.counted(4)
	case argCounted8:
		in.text, err = l.counted(8)
	default:
		err = &Error{Offset: in.offset, Reason: fmt.Sprintf("byte 0x%02x is no opcode", in.op)}
	}
	return in, err
}

// take returns the n bytes that follow.
func (l *lexer) take(n uint64) ([]byte, error) {
	if n > uint64(len(l.data)-l.at) {
		if err := l.need(n); err != nil {
			return nil, err
		}
	}
	l.at += int(n)
	return l.data[l.at-int(n) : l.at], nil
}

// need reads on until the n bytes that follow are there.
func (l *lexer) need(n uint64) error {
	if rest := uint64(l.size - l.pos()); n > rest {
		return fault(&l.in, "needs %d bytes, but only %d are left", n, rest)
	}
	return l.fill(l.pos() + int(n))
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

func (l *lexer) uint(width uint64) (uint64, error) {
	b, err := l.take(width)
	if err != nil {
		return 0, err
	}
	switch width {
	case 1:
		return uint64(b[0]), nil
	case 2:
		return uint64(binary.LittleEndian.Uint16(b)), nil
	case 4:
		return uint64(binary.LittleEndian.Uint32(b)), nil
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (l *lexer) counted(width uint64) ([]byte, error) {
	n, err := l.uint(width)
	if err != nil {
		return nil, err
	}
	return l.take(n)
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
