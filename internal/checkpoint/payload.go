package checkpoint

import (
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// Segment is a run of bytes of a payload: either made here, or a range of the source file.
type Segment struct {
	Literal []byte // the bytes, when they do not come from the source
	Offset  int64  // in the source
	Size    int64
	CRC32   uint32
	Record  string // the record of the source that the range is, for messages
}

// Name says what a segment is, for messages.
func (s Segment) Name() string {
	switch {
	case s.Literal != nil:
		return "bytes in memory"
	case s.Record != "":
		return fmt.Sprintf("record %q", s.Record)
	}
	return "the bytes between the records"
}

// Payload is a file to be written, laid out beforehand: its size and CRC-32 are known before the
// source is read. Copying it reads each source byte once.
type Payload struct {
	Segments []Segment
	Size     int64
	CRC32    uint32
	// Source is the file that the ranges lie in; nil when all is literal.
	Source io.ReaderAt
	// Verbatim tells that the payload is the source file, byte for byte.
	Verbatim bool
}

func (p *Payload) literal(b []byte) {
	p.add(Segment{Literal: b, Size: int64(len(b)), CRC32: crc32.ChecksumIEEE(b)})
}

func (p *Payload) add(s Segment) {
	if s.Size == 0 {
		return
	}
	p.CRC32 = zipfile.Combine(p.CRC32, s.CRC32, s.Size)
	p.Size += s.Size
	p.Segments = append(p.Segments, s)
}

// Verbatim lays out the whole file, byte for byte. What has no CRC of its own is read now: the bytes
// between the records of a zip, compressed records (whose content is held against its CRC), and other formats
// as a whole.
func (c *Checkpoint) Verbatim() (*Payload, error) {
	p := &Payload{Source: c.source, Verbatim: true}
	for _, e := range c.inFileOrder() {
		if err := p.addRange(p.Size, e.Data-p.Size, ""); err != nil {
			return nil, err
		}
		if err := c.addEntry(p, e); err != nil {
			return nil, err
		}
	}
	return p, p.addRange(p.Size, c.Size-p.Size, "")
}

// inFileOrder returns the records of a zip as they lie in the file; none for other formats.
func (c *Checkpoint) inFileOrder() []*zipfile.Entry {
	if c.directory == nil {
		return nil
	}
	entries := make([]*zipfile.Entry, 0, len(c.directory.Entries))
	for i := range c.directory.Entries {
		entries = append(entries, &c.directory.Entries[i])
	}
	slices.SortFunc(entries, func(a, b *zipfile.Entry) int { return cmp.Compare(a.Data, b.Data) })
	return entries
}

// addEntry adds a record of a zip. The saved CRC of a compressed one is its content's, not that of the bytes in
// the file.
func (c *Checkpoint) addEntry(p *Payload, e *zipfile.Entry) error {
	if e.Method == zipfile.Stored {
		return p.addBlob(blob{record: e.Name, offset: e.Data, size: e.Size, crc: e.CRC32, hasCRC: !c.NoCRC})
	}
	if err := checkEntry(c.source, e); err != nil {
		return err
	}
	return p.addRange(e.Data, e.Packed, e.Name)
}

// segmentOf returns the segment of a run of bytes with the CRC that was saved for it, so that copying checks it. Without
// one it is read now, unless the source remembers it.
func (p *Payload) segmentOf(b blob) (Segment, error) {
	s := Segment{Offset: b.offset, Size: b.size, CRC32: b.crc, Record: b.record}
	if b.hasCRC || b.size == 0 {
		return s, nil
	}
	memory := rangesOf(p.Source)
	if known, ok := memory.get(b.offset, b.size); ok {
		s.CRC32 = known
		return s, nil
	}
	sum := crc32.NewIEEE()
	if n, err := io.CopyBuffer(sum, io.NewSectionReader(p.Source, b.offset, b.size), make([]byte, min(b.size, 1<<20))); err != nil || n < b.size {
		return s, fmt.Errorf("read %d bytes at %d: got %d: %w", b.size, b.offset, n, cmp.Or(err, io.ErrUnexpectedEOF))
	}
	s.CRC32 = sum.Sum32()
	memory.put(b.offset, b.size, s.CRC32)
	return s, nil
}

func (p *Payload) addBlob(b blob) error {
	s, err := p.segmentOf(b)
	if err == nil {
		p.add(s)
	}
	return err
}

// addRange adds a range of the source whose CRC is not known: it is read for it.
func (p *Payload) addRange(offset, size int64, record string) error {
	return p.addBlob(blob{record: record, offset: offset, size: size})
}

// Extract lays out a checkpoint that holds nothing but the given state_dict: the pickle is written
// anew as protocol 2, the storages that it refers to travel raw. Shared storages stay shared.
func (c *Checkpoint) Extract(s *StateDict) (*Payload, error) { return assemble(s.Value, c.torch) }

// Travels tells whether the state_dict can travel as the file that it is in, byte for byte: when it is
// the whole of it, in a zip whose pickle torch.load(weights_only=True) reads.
func (c *Checkpoint) Travels(s *StateDict) bool {
	return s.Path == "" && (c.Protocol == 2 || c.Protocol == 3) && c.torch != nil && c.torch.loadable && !c.torch.legacy
}

// weightsOnlyOpcodes are those that torch.load(weights_only=True) knows
// (torch/_weights_only_unpickler.py); its names for them are in CPython's Lib/pickle.py.
const weightsOnlyOpcodes = "\x80\x81\x85\x86\x87\x88\x89\x8a" + "().]}NGJKMRUXQqrhjabcestu\x8f"

// Save lays out what torch.save would write for a value without tensors.
func Save(value any) (*Payload, error) { return assemble(value, nil) }

// SaveFrom is Save for a value that may hold tensors of the checkpoint source, which may be nil.
func SaveFrom(value any, source *Checkpoint) (*Payload, error) {
	if source == nil {
		return assemble(value, nil)
	}
	return assemble(value, source.torch)
}

// SentinelDict is the value that stands for a role without weights of its own.
func SentinelDict(role string) *pickle.Dict { return pickle.NewDict("_sentinel", role) }

const (
	alignment = 64      // of every record's data, as torch.save aligns it
	block     = 4096    // file system block; offsets congruent to the source's modulo it can share extents
	shareable = 1 << 16 // records of this size and more are placed congruently
)

// assemble lays out a torch zip. The records are those that every torch since 1.6 needs: data.pkl
// first, then byteorder, the storages, version. Whoever places the payload must put it at a multiple
// of the block size, so that records stay congruent to the source.
func assemble(value any, f *torchFile) (*Payload, error) {
	data, err := pickle.Encode(value)
	if err != nil {
		return nil, &Broken{Reason: fmt.Sprintf("its pickle cannot be written: %v", err), Err: err}
	}
	p := &Payload{}
	l := &zipfile.Layout{}
	addLiteral := func(name string, b []byte) {
		h := zipfile.Header{Name: "archive/" + name, Size: int64(len(b)), CRC32: crc32.ChecksumIEEE(b), Place: zipfile.Place{Modulus: alignment}}
		p.literal(l.Add(h))
		p.literal(b)
	}
	addLiteral("data.pkl", data)
	byteOrder := "little"
	if f != nil {
		p.Source, byteOrder = f.source, cmp.Or(f.byteOrder, byteOrder)
	}
	addLiteral("byteorder", []byte(byteOrder))
	if f != nil {
		if err := f.addStorages(p, l, value); err != nil {
			return nil, err
		}
	}
	addLiteral("version", []byte("3\n"))
	p.literal(l.End())
	return p, nil
}

func (f *torchFile) addStorages(p *Payload, l *zipfile.Layout, value any) error {
	storages, err := f.storagesOf(value)
	if err != nil {
		return err
	}
	p.Segments = slices.Grow(p.Segments, 2*len(storages)+4) // with those behind the storages
	for _, b := range storages {
		segment, err := p.segmentOf(*b)
		if err != nil {
			return err
		}
		h := zipfile.Header{Name: "archive/data/" + b.record[len(f.prefix):], Size: b.size, CRC32: segment.CRC32, Place: zipfile.Place{Modulus: alignment}}
		if b.size >= shareable && b.offset%alignment == 0 {
			h.Place = zipfile.Place{Modulus: block, Offset: b.offset}
		}
		p.literal(l.Add(h))
		p.add(segment)
	}
	return nil
}

// Check reads what comes from the source, and holds it against the CRCs that copying would hold it against.
func (p *Payload) Check(ctx context.Context) error {
	for _, s := range p.Segments {
		if s.Literal != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		got, err := p.segmentOf(blob{record: s.Record, offset: s.Offset, size: s.Size})
		if err != nil {
			return err
		}
		if got.CRC32 != s.CRC32 {
			return ErrCRC(s.Record, s.CRC32, got.CRC32)
		}
	}
	return nil
}

// StorageBytes returns how many bytes of the source travel in a payload.
func (p *Payload) StorageBytes() int64 {
	var n int64
	for _, s := range p.Segments {
		if s.Literal == nil {
			n += s.Size
		}
	}
	return n
}

// Literal is a payload of bytes that are in memory.
func Literal(b []byte) *Payload {
	p := &Payload{}
	p.literal(b)
	return p
}
