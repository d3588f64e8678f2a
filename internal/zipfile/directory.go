package zipfile

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bundlewatch/bundlewatch/internal/names"
)

// Compression methods that are read.
const (
	Stored   = 0
	Deflated = 8
)

// maxCentral bounds the central directory, whose entries are held in memory: about 2 million files.
const maxCentral = 128 << 20

// Limits of what the compressed files of a zip may be inflated to, all together. Data that is worth compressing
// shrinks to a tenth at best; zeros shrink to a thousandth, and there is room for some.
const (
	inflatedFloor  = 4 << 30
	inflatedFactor = 100 // bytes per byte of the zip
	inflatedCap    = 64 << 30
)

// Entry is one file of a zip.
type Entry struct {
	Name   string
	Method uint16 // Stored or Deflated
	flags  uint16
	CRC32  uint32 // of the content, as the central directory has it
	Size   int64  // of the content
	Packed int64  // of the data as it lies in the zip
	Header int64  // offset of the local header
	Data   int64  // offset of the data
}

// Directory is the proven structure of a zip: every byte up to the central directory belongs to
// exactly one entry.
type Directory struct {
	Entries []Entry // in the order of the central directory
	Start   int64   // offset of the central directory
	Size    int64   // of the whole zip

	names names.Index // of Entries
	order []int32     // places in Entries as they lie in the file; nil where that is their order
	heads []uint32    // CRC-32 of what is in front of the data of each, in that order
}

// Error says what is wrong with a zip.
type Error struct {
	Offset int64  // where, from the start of the file
	Entry  string // the file in question, if any; a copy, as an error may be kept for long and names lie together
	Reason string
}

func (e *Error) Error() string {
	if e.Entry != "" {
		return fmt.Sprintf("zip record %q at byte %d: %s", e.Entry, e.Offset, e.Reason)
	}
	return fmt.Sprintf("zip at byte %d: %s", e.Offset, e.Reason)
}

func broken(offset int64, format string, args ...any) error {
	return &Error{Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

func (e *Entry) broken(format string, args ...any) error {
	return &Error{Offset: e.Header, Entry: strings.Clone(e.Name), Reason: fmt.Sprintf(format, args...)}
}

// Find returns the entry of that name, or nil.
func (d *Directory) Find(name string) *Entry {
	if place := d.Place(name); place >= 0 {
		return &d.Entries[place]
	}
	return nil
}

// Place returns where in Entries that name is, or -1.
func (d *Directory) Place(name string) int { return d.names.Find(name, d.name) }

func (d *Directory) name(place int) string { return d.Entries[place].Name }

// InFileOrder yields the entries as they lie in the file, each with the CRC-32 of what is in front of its data and behind that of
// the entry before it.
func (d *Directory) InFileOrder() iter.Seq2[*Entry, uint32] {
	return func(yield func(*Entry, uint32) bool) {
		for i, sum := range d.heads {
			if !yield(d.inFile(i), sum) {
				return
			}
		}
	}
}

// inFile returns the entry that is the i-th in the file.
func (d *Directory) inFile(i int) *Entry {
	if d.order != nil {
		i = int(d.order[i])
	}
	return &d.Entries[i]
}

// sortFile makes inFile work.
func (d *Directory) sortFile() {
	compare := func(a, b *Entry) int { return cmp.Compare(a.Header, b.Header) }
	sorted := true
	for i := 1; i < len(d.Entries) && sorted; i++ {
		sorted = compare(&d.Entries[i-1], &d.Entries[i]) <= 0
	}
	if sorted {
		return
	}
	d.order = make([]int32, len(d.Entries))
	for i := range d.order {
		d.order[i] = int32(i)
	}
	slices.SortFunc(d.order, func(a, b int32) int { return compare(&d.Entries[a], &d.Entries[b]) })
}

// Read reads and proves the structure of the zip that is the whole of r. Contents are not read. An
// error of the zip is an [*Error]; others come from r.
func Read(r io.ReaderAt, size int64) (*Directory, error) {
	end, err := readEnd(r, size)
	if err != nil {
		return nil, err
	}
	if end.size > maxCentral {
		return nil, broken(end.start, "a central directory of %d bytes is larger than the %d that are read", end.size, int64(maxCentral))
	}
	w := NewWindow(r, pageSize)
	d := &Directory{Start: end.start, Size: size}
	if d.Entries, err = readCentral(w, end); err != nil {
		return nil, err
	}
	if err := d.checkNames(); err != nil {
		return nil, err
	}
	if err := d.checkInflated(); err != nil {
		return nil, err
	}
	d.sortFile()
	return d, d.checkLocals(w)
}

const pageSize = 64 << 10 // bytes

// checkInflated bounds what whoever reads all contents has to inflate.
func (d *Directory) checkInflated() error {
	limit := min(inflatedFloor+inflatedFactor*min(d.Size, inflatedCap), inflatedCap)
	room := limit
	for i := range d.Entries {
		e := &d.Entries[i]
		if e.Method == Stored {
			continue
		}
		if e.Size > room {
			return e.broken("with its %d bytes the compressed files would inflate to more than the %d that are read of a zip of %d bytes",
				e.Size, limit, d.Size)
		}
		room -= e.Size
	}
	return nil
}

func readAt(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	return short(offset, len(b)-n, err)
}

// short is the error of a read that missed some bytes.
func short(offset int64, missing int, err error) error {
	if errors.Is(err, io.EOF) {
		return broken(offset, "the file ends %d bytes early", missing)
	}
	return err
}

// end is what the end records say.
type end struct {
	count       uint64
	start, size int64 // of the central directory
	record      int64 // offset of the first end record
}

func readEnd(r io.ReaderAt, size int64) (end, error) {
	if size < endSize {
		return end{}, broken(0, "%d bytes are too few for a zip", size)
	}
	b := make([]byte, endSize)
	at := size - endSize
	if err := readAt(r, b, at); err != nil {
		return end{}, err
	}
	if binary.LittleEndian.Uint32(b) != endSignature {
		return end{}, broken(at, "no end record: the file is cut off, still being written, or followed by other bytes")
	}
	if binary.LittleEndian.Uint16(b[20:]) != 0 {
		return end{}, broken(at, "the end record announces a comment behind the end of the file")
	}
	e := end{
		count:  uint64(binary.LittleEndian.Uint16(b[10:])),
		size:   int64(binary.LittleEndian.Uint32(b[12:])),
		start:  int64(binary.LittleEndian.Uint32(b[16:])),
		record: at,
	}
	if disks := binary.LittleEndian.Uint32(b[4:]); disks != 0 || binary.LittleEndian.Uint16(b[8:]) != uint16(e.count) {
		return end{}, broken(at, "the zip is spread over several disks")
	}
	e, err := readEnd64(r, e)
	if err != nil {
		return end{}, err
	}
	if e.start < 0 || e.size < 0 || e.start > size || e.size > size-e.start || e.start+e.size != e.record {
		return end{}, broken(e.record, "the central directory (%d bytes at %d) does not end where the end record begins", e.size, e.start)
	}
	if e.count > uint64(e.size)/centralSize {
		return end{}, broken(e.record, "%d entries do not fit into a central directory of %d bytes", e.count, e.size)
	}
	return e, nil
}

// readEnd64 replaces what the end record says by the zip64 end record, if there is one.
func readEnd64(r io.ReaderAt, e end) (end, error) {
	needs := e.count == math.MaxUint16 || e.size == math.MaxUint32 || e.start == math.MaxUint32
	at := e.record - locator64Size
	b := make([]byte, locator64Size)
	if at >= end64Size {
		if err := readAt(r, b, at); err != nil {
			return end{}, err
		}
	}
	if binary.LittleEndian.Uint32(b) != locator64Signature {
		if needs {
			return end{}, broken(e.record, "the zip64 end record is missing")
		}
		return e, nil
	}
	if binary.LittleEndian.Uint32(b[4:]) != 0 || binary.LittleEndian.Uint32(b[16:]) > 1 {
		return end{}, broken(at, "the zip is spread over several disks")
	}
	record := int64(binary.LittleEndian.Uint64(b[8:]))
	if record != at-end64Size {
		return end{}, broken(at, "the zip64 end record is not right before its locator")
	}
	b = make([]byte, end64Size)
	if err := readAt(r, b, record); err != nil {
		return end{}, err
	}
	if binary.LittleEndian.Uint32(b) != end64Signature || binary.LittleEndian.Uint64(b[4:]) != end64Size-12 {
		return end{}, broken(record, "no zip64 end record where its locator points")
	}
	if binary.LittleEndian.Uint64(b[16:]) != 0 || binary.LittleEndian.Uint64(b[24:]) != binary.LittleEndian.Uint64(b[32:]) {
		return end{}, broken(record, "the zip is spread over several disks")
	}
	wide := end{
		count:  binary.LittleEndian.Uint64(b[32:]),
		size:   int64(binary.LittleEndian.Uint64(b[40:])),
		start:  int64(binary.LittleEndian.Uint64(b[48:])),
		record: record,
	}
	if !agree(e.count, wide.count, math.MaxUint16) || !agree(uint64(e.size), uint64(wide.size), math.MaxUint32) ||
		!agree(uint64(e.start), uint64(wide.start), math.MaxUint32) {
		return end{}, broken(record, "the two end records contradict each other")
	}
	return wide, nil
}

// agree tells whether a narrow field says the same as the wide one, or that the wide one counts.
func agree(narrow, wide, escape uint64) bool { return narrow == wide || narrow == escape }

func readCentral(w *Window, e end) ([]Entry, error) {
	entries := make([]Entry, 0, e.count)
	var texts names.Texts
	for left := e.size; left > 0; {
		entries = append(entries, Entry{})
		n, err := entries[len(entries)-1].readCentral(w, e.start+e.size-left, left, &texts)
		if err != nil {
			return nil, err
		}
		left -= int64(n)
	}
	if uint64(len(entries)) != e.count {
		return nil, broken(e.start, "the end record counts %d entries, the central directory has %d", e.count, len(entries))
	}
	return entries, nil
}

// readCentral reads an entry of the central directory, of which left bytes follow, and returns the length of the entry.
func (e *Entry) readCentral(w *Window, at, left int64, texts *names.Texts) (length int, err error) {
	b, err := peek(w, at, int(min(centralSize, left)))
	if err != nil {
		return 0, err
	}
	if len(b) < centralSize || binary.LittleEndian.Uint32(b) != centralSignature {
		return 0, broken(at, "no entry of the central directory where one should be")
	}
	nameLen, extraLen := int(binary.LittleEndian.Uint16(b[28:])), int(binary.LittleEndian.Uint16(b[30:]))
	length = centralSize + nameLen + extraLen + int(binary.LittleEndian.Uint16(b[32:]))
	if int64(length) > left {
		return 0, broken(at, "an entry of the central directory is longer than the directory")
	}
	if b, err = peek(w, at, length); err != nil {
		return 0, err
	}
	*e = Entry{
		Name:   texts.Keep(b[centralSize : centralSize+nameLen]),
		flags:  binary.LittleEndian.Uint16(b[8:]),
		Method: binary.LittleEndian.Uint16(b[10:]),
		CRC32:  binary.LittleEndian.Uint32(b[16:]),
		Packed: int64(binary.LittleEndian.Uint32(b[20:])),
		Size:   int64(binary.LittleEndian.Uint32(b[24:])),
		Header: int64(binary.LittleEndian.Uint32(b[42:])),
	}
	if err := e.readZip64(b[centralSize+nameLen:centralSize+nameLen+extraLen], true); err != nil {
		return 0, err
	}
	if e.flags&^(flagDescriptor|flagUTF8|flagLevel) != 0 {
		return 0, e.broken("flags 0x%04x: encrypted, patched or of an unknown kind", e.flags)
	}
	if e.Method != Stored && e.Method != Deflated {
		return 0, e.broken("compression method %d is not read", e.Method)
	}
	if e.Method == Stored && e.Packed != e.Size {
		return 0, e.broken("stored, yet %d bytes are packed as %d", e.Size, e.Packed)
	}
	if binary.LittleEndian.Uint16(b[34:]) != 0 {
		return 0, e.broken("it is said to lie on another disk")
	}
	return length, nil
}

// readZip64 replaces the fields that say "see the zip64 extra field".
func (e *Entry) readZip64(extra []byte, withOffset bool) error {
	field, found, err := e.findZip64(extra)
	if err != nil {
		return err
	}
	fields := [...]*int64{&e.Size, &e.Packed, &e.Header}
	for i, f := range fields {
		if *f != math.MaxUint32 || i == 2 && !withOffset {
			continue
		}
		if !found {
			return e.broken("its zip64 extra field is missing")
		}
		if len(field) < 8 {
			return e.broken("its zip64 extra field is too short")
		}
		v := binary.LittleEndian.Uint64(field)
		if v > math.MaxInt64 {
			return e.broken("a size or offset of %d is impossible", v)
		}
		*f, field = int64(v), field[8:]
	}
	return nil
}

// findZip64 looks through the extra fields for the zip64 one, and for what other readers would heed:
// another name, another zip64 field.
func (e *Entry) findZip64(extra []byte) (field []byte, found bool, err error) {
	for len(extra) >= 4 {
		id, size := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		switch {
		case size > len(extra)-4:
			return nil, false, e.broken("an extra field is longer than its room")
		case id == extraUnicodePath:
			return nil, false, e.broken("an extra field gives it another name")
		case id == extraZip64 && found:
			return nil, false, e.broken("it has two zip64 extra fields")
		case id == extraZip64:
			field, found = extra[4:4+size], true
		}
		extra = extra[4+size:]
	}
	return field, found, nil
}

// checkNames makes Find work, too.
func (d *Directory) checkNames() (err error) {
	var twice int
	if d.names, twice = names.NewIndex(len(d.Entries), d.name); twice >= 0 {
		return d.Entries[twice].broken("the name occurs twice")
	}
	for i := range d.Entries {
		if err := d.Entries[i].checkName(); err != nil {
			return d.Entries[i].broken("%v", err)
		}
	}
	return nil
}

func (e *Entry) checkName() error {
	name := e.Name
	switch {
	case e.flags&flagUTF8 != 0 && !utf8.ValidString(name):
		return errors.New("the name is said to be UTF-8 and is not")
	case strings.HasSuffix(name, "/") && e.Size > 0:
		return fmt.Errorf("the name is a folder's, yet it has %d bytes", e.Size)
	case name == "":
		return errors.New("the name is empty")
	case strings.ContainsRune(name, 0):
		return errors.New("the name holds a NUL byte")
	case strings.Contains(name, `\`):
		return errors.New("the name holds a backslash, which some readers take for a slash")
	case strings.HasPrefix(name, "/"):
		return errors.New("the name is absolute")
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(name, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("the name has a %q segment and could leave its folder", segment)
		}
	}
	return nil
}

// checkLocals holds every entry against its local header and makes sure that the entries cover the
// file from its start to the central directory, without overlap and without a gap.
func (d *Directory) checkLocals(w *Window) error {
	d.heads = make([]uint32, len(d.Entries))
	var pos int64
	var sum uint32 // of what is behind the data before
	for i := range d.heads {
		e := d.inFile(i)
		if e.Header != pos {
			return e.broken("it begins at byte %d, but what is before it ends at byte %d", e.Header, pos)
		}
		next := d.Start
		if i+1 < len(d.heads) {
			next = d.inFile(i + 1).Header
		}
		if err := e.checkLocal(w, next, &sum); err != nil {
			return err
		}
		d.heads[i], sum = sum, 0
		if pos = e.Data + e.Packed; e.isDescribed() {
			if err := e.checkDescriptor(w, next, &sum); err != nil {
				return err
			}
			pos = next
		}
	}
	if pos != d.Start {
		return broken(pos, "%d bytes between the last record and the central directory belong to nothing", d.Start-pos)
	}
	return nil
}

// peek returns n bytes of a zip.
func peek(w *Window, offset int64, n int) ([]byte, error) {
	b, err := w.Peek(offset, n)
	if len(b) < n {
		return nil, short(offset, n-len(b), err)
	}
	return b, nil
}

// peekSummed is peek that adds the bytes to a CRC-32.
func peekSummed(w *Window, offset int64, n int, sum *uint32) ([]byte, error) {
	b, err := peek(w, offset, n)
	*sum = crc32.Update(*sum, crc32.IEEETable, b)
	return b, err
}

// checkLocal holds an entry against its local header. next is where the entry has to end.
func (e *Entry) checkLocal(w *Window, next int64, sum *uint32) error {
	if room := next - e.Header - localSize - int64(len(e.Name)); e.Packed < 0 || e.Packed > room {
		return e.broken("its %d bytes reach into what follows at byte %d", e.Packed, next)
	}
	local, err := e.readLocal(w, sum)
	if err != nil {
		return err
	}
	if e.Data+e.Packed > next {
		return e.broken("its %d bytes reach into what follows at byte %d", e.Packed, next)
	}
	if local.Name != e.Name {
		return e.broken("its local header has another name: %q", local.Name)
	}
	if local.Method != e.Method || (local.flags^e.flags)&^flagLevel != 0 {
		return e.broken("its local header has another method or other flags than the central directory")
	}
	same := func(here, there int64) bool { return here == there || here == 0 && e.isDescribed() }
	if !same(int64(local.CRC32), int64(e.CRC32)) || !same(local.Packed, e.Packed) || !same(local.Size, e.Size) {
		return e.broken("its local header has another size or CRC than the central directory")
	}
	return nil
}

// isDescribed tells whether a data descriptor follows the data.
func (e *Entry) isDescribed() bool { return e.flags&flagDescriptor != 0 }

// readLocal reads the local header. It says where the data of the entry begins.
func (e *Entry) readLocal(w *Window, sum *uint32) (Entry, error) {
	b, err := peekSummed(w, e.Header, localSize, sum)
	if err != nil {
		return Entry{}, err
	}
	if binary.LittleEndian.Uint32(b) != localSignature {
		return Entry{}, e.broken("there is no local header")
	}
	local := Entry{
		Name:   e.Name,
		Method: binary.LittleEndian.Uint16(b[8:]),
		CRC32:  binary.LittleEndian.Uint32(b[14:]),
		Packed: int64(binary.LittleEndian.Uint32(b[18:])),
		Size:   int64(binary.LittleEndian.Uint32(b[22:])),
		Header: e.Header,
		flags:  binary.LittleEndian.Uint16(b[6:]),
	}
	nameLen, extraLen := int(binary.LittleEndian.Uint16(b[26:])), int(binary.LittleEndian.Uint16(b[28:]))
	rest, err := peekSummed(w, e.Header+localSize, nameLen+extraLen, sum)
	if err != nil {
		return Entry{}, err
	}
	if name := rest[:nameLen]; string(name) != e.Name {
		local.Name = string(name)
	}
	e.Data = e.Header + localSize + int64(len(rest))
	return local, local.readZip64(rest[nameLen:], false)
}

// checkDescriptor reads the data descriptor, which fills the space up to next: an optional signature,
// the CRC, and both sizes in 4 or 8 bytes.
func (e *Entry) checkDescriptor(w *Window, next int64, sum *uint32) error {
	end := e.Data + e.Packed
	room := next - end
	if room < 12 || room > 24 || room%4 != 0 {
		return e.broken("%d bytes follow its data, which is no data descriptor", room)
	}
	b, err := peekSummed(w, end, int(room), sum)
	if err != nil {
		return err
	}
	if room == 16 || room == 24 {
		if binary.LittleEndian.Uint32(b) != descriptorSignature {
			return e.broken("no data descriptor follows its data")
		}
		b = b[4:]
	}
	var packed, size uint64
	if len(b) == 12 {
		packed, size = uint64(binary.LittleEndian.Uint32(b[4:])), uint64(binary.LittleEndian.Uint32(b[8:]))
	} else {
		packed, size = binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:])
	}
	if binary.LittleEndian.Uint32(b) != e.CRC32 || packed != uint64(e.Packed) || size != uint64(e.Size) {
		return e.broken("its data descriptor has another size or CRC than the central directory")
	}
	return nil
}
