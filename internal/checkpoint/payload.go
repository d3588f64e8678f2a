package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"

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

	of *whole // of which the literal is a piece; nil when it is a whole itself
}

// whole is a literal that is not in memory as one.
type whole struct {
	size int64
	crc  uint32
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
	Size  int64
	CRC32 uint32
	// Source is the file that the ranges lie in; nil when all is literal.
	Source io.ReaderAt

	segments    iter.Seq[Segment] // may have empty ones
	fingerprint string
}

// newPayload finds out what is to be known beforehand of segments, which can be gone through again and again.
func newPayload(source io.ReaderAt, segments iter.Seq[Segment]) *Payload {
	p := &Payload{Source: source, segments: segments}
	var sum zipfile.Sum
	content := newFingerprint()
	for s := range p.Segments() {
		if s.Literal != nil {
			sum.CRC32 = crc32.Update(sum.CRC32, crc32.IEEETable, s.Literal)
		} else {
			sum.Add(s.CRC32, s.Size)
		}
		p.Size += s.Size
		content.add(s)
	}
	p.CRC32, p.fingerprint = sum.CRC32, content.text()
	return p
}

// Segments yields the runs of bytes in their order. They are made anew each time, because there can be some hundred
// thousand; a Literal is valid until the next one.
func (p *Payload) Segments() iter.Seq[Segment] {
	return func(yield func(Segment) bool) {
		for s := range p.segments {
			if s.Size > 0 && !yield(s) {
				return
			}
		}
	}
}

func literalSegment(b []byte) Segment {
	return Segment{Literal: b, Size: int64(len(b)), CRC32: crc32.ChecksumIEEE(b)}
}

// Literal is a payload of bytes that are in memory.
func Literal(b []byte) *Payload {
	return newPayload(nil, func(yield func(Segment) bool) { yield(literalSegment(b)) })
}

// Verbatim lays out the whole file, byte for byte. What has no CRC of its own is read now, unless the source remembers
// it: the central directory of a zip, compressed records (whose content is held against its CRC), and other
// formats as a whole.
func (c *Checkpoint) Verbatim() (*Payload, error) {
	sums, err := rangesOf(c.source).ofWhole(c.sumParts)
	if err != nil {
		return nil, err
	}
	parts := *c
	return newPayload(c.source, func(yield func(Segment) bool) {
		left := sums
		parts.eachPart(func(part Segment, _ *zipfile.Entry, summed bool) bool {
			if !summed {
				part.CRC32, left = left[0], left[1:]
			}
			return yield(part)
		})
	}), nil
}

// eachPart visits the parts of which the file consists: what is in front of a record, the record, and so on; last what
// follows the last record. summed tells that the part has its CRC.
func (c *Checkpoint) eachPart(visit func(part Segment, record *zipfile.Entry, summed bool) bool) {
	at := int64(0)
	if c.directory != nil {
		for e, head := range c.directory.InFileOrder() {
			// That of a compressed record is the content's, and not that of the bytes in the file.
			summed := e.Method == zipfile.Stored && !c.NoCRC
			if !visit(Segment{Offset: at, Size: e.Data - at, CRC32: head}, nil, true) ||
				!visit(Segment{Offset: e.Data, Size: e.Packed, CRC32: e.CRC32, Record: e.Name}, e, summed) {
				return
			}
			at = e.Data + e.Packed
		}
	}
	visit(Segment{Offset: at, Size: c.Size - at}, nil, false)
}

// sumParts returns the CRC-32 of the parts that have none.
func (c *Checkpoint) sumParts() (sums []uint32, err error) {
	near := zipfile.NewWindow(c.source, nearRecords)
	c.eachPart(func(part Segment, e *zipfile.Entry, summed bool) bool {
		if summed {
			return true
		}
		if e != nil && e.Method != zipfile.Stored {
			err = checkEntry(c.source, e)
		}
		if err == nil {
			part.CRC32, err = sumRange(near, part.Offset, part.Size)
		}
		sums = append(sums, part.CRC32)
		return err == nil
	})
	return sums, err
}

const nearRecords = 64 << 10 // bytes: records may be small

// sumRange reads a range for its CRC-32.
func sumRange(r io.ReaderAt, offset, size int64) (uint32, error) {
	if size == 0 {
		return 0, nil
	}
	sum := crc32.NewIEEE()
	n, err := io.CopyBuffer(sum, io.NewSectionReader(r, offset, size), make([]byte, min(size, 1<<20)))
	if err != nil || n < size {
		return 0, fmt.Errorf("read %d bytes at %d: got %d: %w", size, offset, n, cmp.Or(err, io.ErrUnexpectedEOF))
	}
	return sum.Sum32(), nil
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
	a := &assembly{pickle: pickle.NewEncoding(value), byteOrder: "little"}
	if err := a.pickle.Write(&a.whole); err != nil {
		return nil, &Broken{Reason: fmt.Sprintf("its pickle cannot be written: %v", err), Err: err}
	}
	var source io.ReaderAt
	if f != nil {
		source, a.byteOrder = f.source, cmp.Or(f.byteOrder, a.byteOrder)
		if err := a.takeStorages(f, value); err != nil {
			return nil, err
		}
	}
	_ = a.writeEnd(&a.end) // which takes all
	return newPayload(source, a.segments), nil
}

// assembly is what a torch zip is made of.
type assembly struct {
	pickle    *pickle.Encoding
	whole     whole // the pickle
	byteOrder string
	file      *torchFile // nil when there are no storages
	storages  []uint32   // places in its blobs
	sums      []uint32   // their CRC-32
	end       whole      // the central directory, and what follows it
}

func (a *assembly) takeStorages(f *torchFile, value any) (err error) {
	if a.storages, err = f.storagesOf(value); err != nil {
		return err
	}
	a.file, a.sums = f, make([]uint32, len(a.storages))
	for i, place := range a.storages {
		if a.sums[i], err = f.sumOf(f.blobs.at(int(place))); err != nil {
			return err
		}
	}
	return nil
}

// sumOf returns the CRC-32 of a storage. Where none was saved it is read, unless the source remembers it.
func (f *torchFile) sumOf(b blob) (uint32, error) {
	if b.hasCRC {
		return b.crc, nil
	}
	return rangesOf(f.source).of(b.offset, b.size, func() (uint32, error) { return sumRange(f.source, b.offset, b.size) })
}

// segments yields the segments of the zip.
func (a *assembly) segments(yield func(Segment) bool) {
	var l zipfile.Layout
	var local []byte
	all := a.eachRecord(func(h zipfile.Header, content Segment) bool {
		local = l.AppendLocal(local[:0], h)
		l.Drain() // writeEnd makes it anew
		if !yield(literalSegment(local)) {
			return false
		}
		if content.of == &a.whole {
			return a.pickle.Write(pieces{&a.whole, yield}) == nil
		}
		return yield(content)
	})
	if all {
		_ = a.writeEnd(pieces{&a.end, yield}) // no more pieces are wanted after an error
	}
}

// eachRecord visits the records of the zip in their order, until visit returns false; the pickle without its bytes.
func (a *assembly) eachRecord(visit func(h zipfile.Header, content Segment) bool) (all bool) {
	record := func(name string, place zipfile.Place, content Segment) bool {
		return visit(zipfile.Header{Name: name, Size: content.Size, CRC32: content.CRC32, Place: place}, content)
	}
	aligned := zipfile.Place{Modulus: alignment}
	if !record("archive/data.pkl", aligned, Segment{Size: a.whole.size, CRC32: a.whole.crc, of: &a.whole}) ||
		!record("archive/byteorder", aligned, literalSegment([]byte(a.byteOrder))) {
		return false
	}
	for i, at := range a.storages {
		b, place := a.file.blobs.at(int(at)), aligned
		if b.size >= shareable && b.offset%alignment == 0 {
			place = zipfile.Place{Modulus: block, Offset: b.offset}
		}
		const folder = "archive/" + storageFolder
		name := b.record
		if a.file.prefix != folder {
			name = folder + a.file.key(int(at))
		}
		if !record(name, place, Segment{Offset: b.offset, Size: b.size, CRC32: a.sums[i], Record: b.record}) {
			return false
		}
	}
	return record("archive/version", aligned, literalSegment([]byte("3\n")))
}

// writeEnd writes the central directory and what follows it in pieces, so that it is never in memory as a whole.
func (a *assembly) writeEnd(w io.Writer) (err error) {
	const piece = 64 << 10 // bytes
	var l zipfile.Layout
	var local, central []byte
	a.eachRecord(func(h zipfile.Header, _ Segment) bool {
		local = l.AppendLocal(local[:0], h)
		if central = append(central, l.Drain()...); len(central) >= piece {
			_, err = w.Write(central)
			central = central[:0]
		}
		return err == nil
	})
	if err == nil {
		_, err = w.Write(append(central, l.End()...))
	}
	return err
}

// Write counts the bytes of a whole.
func (w *whole) Write(piece []byte) (int, error) {
	w.size += int64(len(piece))
	w.crc = crc32.Update(w.crc, crc32.IEEETable, piece)
	return len(piece), nil
}

// pieces yields what is written as pieces of a whole.
type pieces struct {
	of    *whole
	yield func(Segment) bool
}

var errStopped = errors.New("no more pieces are wanted")

func (p pieces) Write(piece []byte) (int, error) {
	if !p.yield(Segment{Literal: piece, Size: int64(len(piece)), of: p.of}) {
		return 0, errStopped
	}
	return len(piece), nil
}

// Check reads what comes from the source, and holds it against the CRCs that copying would hold it against.
func (p *Payload) Check(ctx context.Context) error {
	for s := range p.Segments() {
		if s.Literal != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		got, err := sumRange(p.Source, s.Offset, s.Size)
		if err != nil {
			return err
		}
		if got != s.CRC32 {
			return ErrCRC(s.Record, s.CRC32, got)
		}
	}
	return nil
}
