package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// torchZip are the records of a torch zip, by their names below the common prefix.
type torchZip struct {
	source    io.ReaderAt
	prefix    string // with a slash at the end
	directory *zipfile.Directory
	noCRC     bool
}

// record returns the record of that name, or nil.
func (z *torchZip) record(name string) *zipfile.Entry { return z.directory.Find(z.prefix + name) }

const torchZipWhole = "torch zip: end record, every local header and entry, every storage that the pickle refers to present with its size; "

func (c *Checkpoint) openTorchZip() (*Checkpoint, error) {
	z, err := indexTorchZip(c.source, c.directory)
	if err != nil {
		return nil, err
	}
	if err := z.checkVersion(); err != nil {
		return nil, err
	}
	byteOrder, err := z.readByteOrder()
	if err != nil {
		return nil, err
	}
	c.Format, c.NoCRC = TorchZip, z.noCRC
	c.whole = torchZipWhole + "CRC-32 of every record that travels checked while it was read"
	if z.noCRC {
		c.whole = torchZipWhole + "saved without checksums, so its bytes cannot be proven"
	}
	c.torch = &torchFile{source: c.source, byteOrder: byteOrder, prefix: z.prefix + storageFolder}
	if err := c.readTorchPickle(z); err != nil {
		return c, err
	}
	c.torch.setBlobs(z)
	return c, c.torch.checkStorages(c.Root)
}

// indexTorchZip finds the common prefix, and makes sure that torch would find the same records.
func indexTorchZip(r io.ReaderAt, d *zipfile.Directory) (*torchZip, error) {
	z := &torchZip{source: r, prefix: findPrefix(d.Entries), noCRC: true, directory: d}
	if z.prefix == "" {
		return nil, broken("a zip like torch's, but it has no <name>/data.pkl")
	}
	if z.record("constants.pkl") != nil {
		return nil, broken("a TorchScript program (torch.jit.save), not a checkpoint: it holds code besides weights")
	}
	for i := range d.Entries {
		e := &d.Entries[i]
		switch {
		case !strings.HasPrefix(e.Name, z.prefix):
			return nil, brokenRecord(e.Name, "it is outside of %q, where torch keeps all records", z.prefix)
		case e.Method != zipfile.Stored:
			return nil, brokenRecord(e.Name, "it is compressed, which torch never does")
		}
		z.noCRC = z.noCRC && e.CRC32 == 0
	}
	return z, z.checkCase()
}

// checkCase makes sure that no two names differ in case only.
func (z *torchZip) checkCase() error {
	folded := make(map[string]bool) // of names that are not in lower case
	twice := func(name string) error {
		return brokenRecord(name, "its name differs from another's in case only, and torch's reader ignores case")
	}
	for i := range z.directory.Entries {
		name := z.directory.Entries[i].Name
		own := strings.TrimPrefix(name, z.prefix)
		lower := strings.ToLower(own)
		if lower == own {
			continue
		}
		if folded[lower] || z.record(lower) != nil {
			return twice(name)
		}
		folded[lower] = true
	}
	return nil
}

// ownRecords are what torch.save writes besides the storages.
var ownRecords = []string{"data.pkl", "version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"}

// onlyOwn tells whether the zip holds nothing but what torch.save writes: a record that torch never reads
// is not carried.
func (z *torchZip) onlyOwn() bool {
	for i := range z.directory.Entries {
		name := strings.TrimPrefix(z.directory.Entries[i].Name, z.prefix)
		if !strings.HasPrefix(name, storageFolder) && !slices.Contains(ownRecords, name) {
			return false
		}
	}
	return true
}

// storageFolder is where the storages are, below the common prefix.
const storageFolder = "data/"

// torchZip implements blobs: the place of a storage is that of its record.

func (z *torchZip) count() int { return len(z.directory.Entries) }

func (z *torchZip) at(place int) blob { return z.blob(&z.directory.Entries[place]) }

func (z *torchZip) place(key string) int {
	var room [64]byte
	name := append(append(append(room[:0], z.prefix...), storageFolder...), key...)
	return z.directory.Place(string(name))
}

func (z *torchZip) blob(e *zipfile.Entry) blob {
	return blob{record: e.Name, offset: e.Data, size: e.Size, crc: e.CRC32, hasCRC: !z.noCRC}
}

// readRecord reads a whole small record and checks its CRC.
func (z *torchZip) readRecord(name string, limit int64) ([]byte, error) {
	e := z.record(name)
	if e == nil {
		return nil, brokenRecord(z.prefix+name, "it is missing")
	}
	return readBlob(z.source, z.blob(e), limit)
}

// findPrefix returns the folder that has the pickle, with a slash; "" when there is none.
func findPrefix(entries []zipfile.Entry) string {
	for _, e := range entries {
		if folder, ok := strings.CutSuffix(e.Name, "/data.pkl"); ok && !strings.Contains(folder, "/") {
			return folder + "/"
		}
	}
	return ""
}

// maxVersion is the highest version of the container that torch up to 2.15 reads
// (caffe2/serialize/versions.h, kMaxSupportedFileFormatVersion).
const maxVersion = 10

// checkVersion reads the version of the container where torch looks for it.
func (z *torchZip) checkVersion() error {
	name := "version"
	if z.record(".data/version") != nil {
		name = ".data/version"
	}
	if z.record(name) == nil {
		return brokenRecord(z.prefix+name, "it is missing; torch would not load the file")
	}
	b, err := z.readRecord(name, 16)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || n < 1 || n > maxVersion {
		return brokenRecord(z.prefix+name, "it says %q instead of a version from 1 to %d; torch would not load the file", b, maxVersion)
	}
	return nil
}

func (z *torchZip) readByteOrder() (string, error) {
	if z.record("byteorder") == nil {
		return "", nil
	}
	b, err := z.readRecord("byteorder", 16)
	if err != nil {
		return "", err
	}
	if order := string(b); order == "little" || order == "big" {
		return order, nil
	}
	return "", brokenRecord(z.prefix+"byteorder", "it says %q", b)
}

func (c *Checkpoint) readTorchPickle(z *torchZip) error {
	b := z.blob(z.record("data.pkl"))
	if b.size > pickle.MaxSize {
		return brokenRecord(b.record, "its %d bytes are more than the %d that are read", b.size, int64(pickle.MaxSize))
	}
	record := &summed{source: io.NewSectionReader(z.source, b.offset, b.size)}
	p, err := pickle.DecodeFrom(record, b.size)
	c.Imports, c.Protocol, c.torch.loadable = p.Imports, p.Protocol, p.OnlyUses(weightsOnlyOpcodes) && z.onlyOwn()
	if fault := (*pickle.Error)(nil); err != nil && !errors.As(err, &fault) {
		return fmt.Errorf("read record %q: %w", b.record, err)
	}
	if sum, sumErr := record.whole(b.size); sumErr != nil || b.hasCRC && sum != b.crc {
		return cmp.Or(sumErr, ErrCRC(b.record, b.crc, sum))
	}
	if err != nil {
		return faultOf(b.record, err.Error()+describeImports(p.Imports), err)
	}
	if int64(p.Size) != b.size {
		return brokenRecord(b.record, "%d bytes follow the end of the pickle", b.size-int64(p.Size))
	}
	c.Root, c.discarded = p.Value, p.Discarded
	return nil
}

// summed computes the CRC-32 of what is read from it from front to back; it begins anew with every read from the front.
type summed struct {
	source io.ReaderAt
	sum    uint32
	end    int64 // of what is in the sum
}

func (s *summed) ReadAt(b []byte, offset int64) (int, error) {
	n, err := s.source.ReadAt(b, offset)
	if offset == 0 {
		s.sum, s.end = 0, 0
	}
	if offset == s.end {
		s.sum, s.end = crc32.Update(s.sum, crc32.IEEETable, b[:n]), offset+int64(n)
	}
	return n, err
}

// whole reads on to the end, and returns the CRC-32 of all.
func (s *summed) whole(size int64) (uint32, error) {
	buffer := make([]byte, min(max(size-s.end, 0), 64<<10))
	for s.end < size {
		part := buffer[:min(size-s.end, int64(len(buffer)))]
		if n, err := s.ReadAt(part, s.end); n < len(part) {
			return 0, fmt.Errorf("read %d bytes at %d of a record: %w", len(part), s.end, err)
		}
	}
	return s.sum, nil
}

// describeImports names what a broken pickle would have imported besides tensors, for the reason of
// its refusal.
func describeImports(imports []pickle.Import) string {
	if foreign := Foreign(imports); len(foreign) > 0 {
		return fmt.Sprintf("; it imports %q", foreign[0].String())
	}
	return ""
}
