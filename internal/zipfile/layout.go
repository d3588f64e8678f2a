package zipfile

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"
)

const (
	localSignature      = 0x04034b50
	centralSignature    = 0x02014b50
	endSignature        = 0x06054b50
	end64Signature      = 0x06064b50
	locator64Signature  = 0x07064b50
	descriptorSignature = 0x08074b50

	localSize     = 30
	centralSize   = 46
	endSize       = 22
	end64Size     = 56
	locator64Size = 20

	extraZip64       = 0x0001
	extraPadding     = 0x4246 // "FB"
	extraUnicodePath = 0x7075 // Info-ZIP's, which Python 3.13 takes for the name

	flagLevel      = 3 << 1 // how hard the writer tried to compress
	flagDescriptor = 1 << 3
	flagUTF8       = 1 << 11

	dosDate       = 1<<5 | 1 // 1980-01-01
	madeByUnix    = 3 << 8
	regularFile   = 0o100644 << 16
	versionStored = 20
	versionZip64  = 45
)

// Place asks for an offset of a file's data: congruent to Offset modulo Modulus. The zero value asks
// for nothing.
type Place struct{ Modulus, Offset int64 }

// Header describes a file to be laid out, stored and not compressed.
type Header struct {
	Name  string
	Size  int64
	CRC32 uint32
	Place Place
}

// Layout lays files out one after the other from offset 0. What it returns depends on nothing but
// the headers it was given.
type Layout struct {
	offset  int64
	count   int
	central []byte
	drained int64 // bytes of the central directory that are not in central any more
}

// Add returns the local header of the next file. Its data, of exactly h.Size bytes, must follow the
// header at once.
func (l *Layout) Add(h Header) (local []byte) { return l.AppendLocal(nil, h) }

// AppendLocal is Add that appends the local header to what there is.
func (l *Layout) AppendLocal(local []byte, h Header) []byte {
	header := l.offset
	var flags, version uint16 = 0, versionStored
	if !isASCII(h.Name) && utf8.ValidString(h.Name) {
		flags = flagUTF8
	}
	var extra []byte
	if h.Size >= math.MaxUint32 {
		version = versionZip64
		extra = binary.LittleEndian.AppendUint16(extra, extraZip64)
		extra = binary.LittleEndian.AppendUint16(extra, 16)
		extra = binary.LittleEndian.AppendUint64(extra, uint64(h.Size))
		extra = binary.LittleEndian.AppendUint64(extra, uint64(h.Size))
	}
	extra = appendPadding(extra, header+localSize+int64(len(h.Name))+int64(len(extra)), h.Place)

	before := len(local)
	local = slices.Grow(local, localSize+len(h.Name)+len(extra))
	local = binary.LittleEndian.AppendUint32(local, localSignature)
	local = appendCommon(local, h, version, flags, h.Size >= math.MaxUint32)
	local = binary.LittleEndian.AppendUint16(local, uint16(len(h.Name)))
	local = binary.LittleEndian.AppendUint16(local, uint16(len(extra)))
	local = append(append(local, h.Name...), extra...)

	l.addCentral(h, header, version, flags)
	l.offset = header + int64(len(local)-before) + h.Size
	l.count++
	return local
}

// Offset returns where the next local header goes: the size of the archive so far.
func (l *Layout) Offset() int64 { return l.offset }

// DataOffset returns where the data of the next file would begin.
func (l *Layout) DataOffset(h Header) int64 {
	trial := Layout{offset: l.offset}
	return l.offset + int64(len(trial.Add(h)))
}

// appendCommon appends the fields that local and central headers share, from "version needed" to
// "uncompressed size".
func appendCommon(b []byte, h Header, version, flags uint16, zip64 bool) []byte {
	b = binary.LittleEndian.AppendUint16(b, version)
	b = binary.LittleEndian.AppendUint16(b, flags)
	b = binary.LittleEndian.AppendUint16(b, 0) // stored
	b = binary.LittleEndian.AppendUint16(b, 0) // time
	b = binary.LittleEndian.AppendUint16(b, dosDate)
	b = binary.LittleEndian.AppendUint32(b, h.CRC32)
	size := uint32(math.MaxUint32)
	if !zip64 {
		size = uint32(h.Size)
	}
	b = binary.LittleEndian.AppendUint32(b, size)
	return binary.LittleEndian.AppendUint32(b, size)
}

// appendPadding appends an FB extra field that moves data, which would begin at offset, to its place.
func appendPadding(extra []byte, offset int64, place Place) []byte {
	if place.Modulus <= 1 {
		return extra
	}
	need := (place.Offset - offset) % place.Modulus
	if need < 0 {
		need += place.Modulus
	}
	if need == 0 {
		return extra
	}
	for need < 4 {
		need += place.Modulus
	}
	extra = binary.LittleEndian.AppendUint16(extra, extraPadding)
	extra = binary.LittleEndian.AppendUint16(extra, uint16(need-4))
	for range need - 4 {
		extra = append(extra, 'Z')
	}
	return extra
}

func (l *Layout) addCentral(h Header, header int64, version, flags uint16) {
	var extra []byte
	bigSize, bigOffset := h.Size >= math.MaxUint32, header >= math.MaxUint32
	if bigSize {
		extra = binary.LittleEndian.AppendUint64(extra, uint64(h.Size))
		extra = binary.LittleEndian.AppendUint64(extra, uint64(h.Size))
	}
	if bigOffset {
		version = versionZip64
		extra = binary.LittleEndian.AppendUint64(extra, uint64(header))
		header = math.MaxUint32
	}
	b := binary.LittleEndian.AppendUint32(l.central, centralSignature)
	b = binary.LittleEndian.AppendUint16(b, madeByUnix|version)
	b = appendCommon(b, h, version, flags, bigSize)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Name)))
	extraLen := len(extra)
	if extraLen > 0 {
		extraLen += 4
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(extraLen))
	b = binary.LittleEndian.AppendUint16(b, 0) // comment
	b = binary.LittleEndian.AppendUint16(b, 0) // disk
	b = binary.LittleEndian.AppendUint16(b, 0) // internal attributes
	b = binary.LittleEndian.AppendUint32(b, regularFile)
	b = binary.LittleEndian.AppendUint32(b, uint32(header))
	b = append(b, h.Name...)
	if len(extra) > 0 {
		b = binary.LittleEndian.AppendUint16(b, extraZip64)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(extra)))
		b = append(b, extra...)
	}
	l.central = b
}

// Drain returns what there is of the central directory and was not drained before, so that it need not be in memory as a whole. It
// is valid until the next file is added.
func (l *Layout) Drain() []byte {
	b := l.central
	l.drained += int64(len(b))
	l.central = b[:0]
	return b
}

// End returns what follows the last file's data: the central directory, but for what was drained, and the end records.
func (l *Layout) End() []byte {
	start, size := l.offset, l.centralSize()
	b := l.central
	if l.count >= math.MaxUint16 || start >= math.MaxUint32 || size >= math.MaxUint32 {
		b = l.appendEnd64(b)
	}
	b = binary.LittleEndian.AppendUint32(b, endSignature)
	b = binary.LittleEndian.AppendUint32(b, 0) // disks
	b = binary.LittleEndian.AppendUint16(b, uint16(min(l.count, math.MaxUint16)))
	b = binary.LittleEndian.AppendUint16(b, uint16(min(l.count, math.MaxUint16)))
	b = binary.LittleEndian.AppendUint32(b, uint32(min(size, math.MaxUint32)))
	b = binary.LittleEndian.AppendUint32(b, uint32(min(start, math.MaxUint32)))
	return binary.LittleEndian.AppendUint16(b, 0) // comment
}

func (l *Layout) centralSize() int64 { return l.drained + int64(len(l.central)) }

func (l *Layout) appendEnd64(b []byte) []byte {
	size := uint64(l.centralSize())
	record := uint64(l.offset) + size
	b = binary.LittleEndian.AppendUint32(b, end64Signature)
	b = binary.LittleEndian.AppendUint64(b, end64Size-12)
	b = binary.LittleEndian.AppendUint16(b, madeByUnix|versionZip64)
	b = binary.LittleEndian.AppendUint16(b, versionZip64)
	b = binary.LittleEndian.AppendUint64(b, 0) // disks
	b = binary.LittleEndian.AppendUint64(b, uint64(l.count))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.count))
	b = binary.LittleEndian.AppendUint64(b, size)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.offset))
	b = binary.LittleEndian.AppendUint32(b, locator64Signature)
	b = binary.LittleEndian.AppendUint32(b, 0) // disk
	b = binary.LittleEndian.AppendUint64(b, record)
	return binary.LittleEndian.AppendUint32(b, 1) // disks
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
