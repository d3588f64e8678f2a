package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// Format names what a file is.
type Format string

// TorchZip is what torch.save writes since torch 1.6: a zip of stored records, with a pickle in
// <prefix>/data.pkl and the tensors' bytes in <prefix>/data/<key>
// (torch/serialization.py, caffe2/serialize/inline_container.cc).
const TorchZip Format = "torch-zip"

// Broken says why a file is no whole checkpoint.
type Broken struct {
	Record string // the record of the file in question, if any
	Reason string
	Err    error // what it follows from, if anything
}

func (b *Broken) Error() string {
	if b.Record != "" {
		return fmt.Sprintf("record %q: %s", b.Record, b.Reason)
	}
	return b.Reason
}

func (b *Broken) Unwrap() error { return b.Err }

func broken(format string, args ...any) error { return &Broken{Reason: fmt.Sprintf(format, args...)} }

func brokenRecord(record, format string, args ...any) error {
	return &Broken{Record: record, Reason: fmt.Sprintf(format, args...)}
}

// Checkpoint is a file whose structure is proven.
type Checkpoint struct {
	Format Format
	Size   int64
	// Root is the value that was saved, with tensors as pickle objects.
	Root any
	// Imports are all names that the pickle would import, in its order.
	Imports []pickle.Import
	// Protocol is the pickle protocol of the file.
	Protocol int
	// NoCRC tells that the file was saved without checksums (torch.serialization.set_crc32_options(False)):
	// its bytes cannot be proven.
	NoCRC bool

	source    io.ReaderAt
	prefix    string // of the record names, with a slash at the end
	records   map[string]*zipfile.Entry
	directory *zipfile.Directory
	byteOrder string
	loadable  bool                             // the pickle has only opcodes that torch.load(weights_only=True) reads
	storages  map[*pickle.PersistentID]storage // that the pickle refers to
	byKey     map[string]storage
}

// Open recognises and proves the checkpoint that is the whole of r. What is wrong with the file is a
// [*Broken] error; other errors come from r. When only the pickle is broken, the returned checkpoint
// still tells the imports up to there; else it is nil.
func Open(r io.ReaderAt, size int64) (*Checkpoint, error) {
	if err := recognise(r, size); err != nil {
		return nil, err
	}
	directory, err := zipfile.Read(r, size)
	if err != nil {
		return nil, wrapZip(err)
	}
	c := &Checkpoint{Format: TorchZip, Size: size, source: r, directory: directory}
	if err := c.index(); err != nil {
		return nil, err
	}
	if err := c.readPickle(); err != nil {
		return c, err
	}
	return c, c.checkStorages()
}

// wrapZip makes a fault of the zip a fault of the checkpoint.
func wrapZip(err error) error {
	if ze := (*zipfile.Error)(nil); errors.As(err, &ze) {
		return &Broken{Reason: ze.Error(), Err: ze}
	}
	return err
}

var (
	zipMagic         = []byte("PK\x03\x04")
	legacyMagic      = []byte("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") // 0x1950a86a20f9469cfc6c as LONG1
	hdf5Magic        = []byte("\x89HDF\r\n\x1a\n")
	recognitionBytes = 512
)

// recognise tells torch zips from everything else, by content.
func recognise(r io.ReaderAt, size int64) error {
	if size == 0 {
		return broken("the file is empty")
	}
	head := make([]byte, min(size, int64(recognitionBytes)))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return fmt.Errorf("read the first %d bytes: %w", len(head), err)
	}
	switch {
	case bytes.HasPrefix(head, zipMagic):
		return nil
	case len(bytes.Trim(head, "\x00")) == 0:
		return broken("the file begins with %d zero bytes: space was reserved, but the content never written", len(head))
	case bytes.Contains(head[:min(len(head), 16)], legacyMagic):
		return broken("a checkpoint in torch's legacy format (before torch 1.6), which this version does not bundle")
	case bytes.HasPrefix(head, hdf5Magic):
		return broken("an HDF5 file, not a torch checkpoint")
	case size > 8 && head[8] == '{':
		return broken("it looks like safetensors, not like a torch checkpoint")
	}
	return broken("not a torch checkpoint: it begins with %q", head[:min(len(head), 16)])
}

// index finds the records and their common prefix.
func (c *Checkpoint) index() error {
	if c.prefix = findPrefix(c.directory.Entries); c.prefix == "" {
		return broken("a zip, but not torch's: it has no <name>/data.pkl")
	}
	if c.directory.Find(c.prefix+"constants.pkl") != nil {
		return broken("a TorchScript program (torch.jit.save), not a checkpoint: it holds code besides weights")
	}
	c.records = make(map[string]*zipfile.Entry, len(c.directory.Entries))
	folded := make(map[string]bool, len(c.directory.Entries))
	c.NoCRC = true
	for i := range c.directory.Entries {
		e := &c.directory.Entries[i]
		name, ok := strings.CutPrefix(e.Name, c.prefix)
		lower := strings.ToLower(name)
		switch {
		case !ok:
			return brokenRecord(e.Name, "it is outside of %q, where torch keeps all records", c.prefix)
		case e.Method != zipfile.Stored:
			return brokenRecord(e.Name, "it is compressed, which torch never does")
		case folded[lower]:
			return brokenRecord(e.Name, "its name differs from another's in case only, and torch's reader ignores case")
		}
		c.records[name], folded[lower] = e, true
		c.NoCRC = c.NoCRC && e.CRC32 == 0
	}
	if err := c.checkVersion(); err != nil {
		return err
	}
	return c.readByteOrder()
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
func (c *Checkpoint) checkVersion() error {
	name := "version"
	if c.records[".data/version"] != nil {
		name = ".data/version"
	}
	if c.records[name] == nil {
		return brokenRecord(c.prefix+name, "it is missing; torch would not load the file")
	}
	b, err := c.readRecord(name, 16)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || n < 1 || n > maxVersion {
		return brokenRecord(c.prefix+name, "it says %q instead of a version from 1 to %d; torch would not load the file", b, maxVersion)
	}
	return nil
}

func (c *Checkpoint) readByteOrder() error {
	if c.records["byteorder"] == nil {
		return nil
	}
	b, err := c.readRecord("byteorder", 16)
	if err != nil {
		return err
	}
	c.byteOrder = string(b)
	if c.byteOrder != "little" && c.byteOrder != "big" {
		return brokenRecord(c.prefix+"byteorder", "it says %q", c.byteOrder)
	}
	return nil
}

// readRecord reads a whole small record and checks its CRC.
func (c *Checkpoint) readRecord(name string, limit int64) ([]byte, error) {
	e := c.records[name]
	if e == nil {
		return nil, brokenRecord(c.prefix+name, "it is missing")
	}
	if e.Size > limit {
		return nil, brokenRecord(e.Name, "its %d bytes are more than the %d that are read", e.Size, limit)
	}
	b := make([]byte, e.Size)
	if n, err := c.source.ReadAt(b, e.Data); n < len(b) {
		return nil, fmt.Errorf("read record %q: %w", e.Name, err)
	}
	if !c.NoCRC && crc32.ChecksumIEEE(b) != e.CRC32 {
		return nil, ErrCRC(e.Name, e.CRC32, crc32.ChecksumIEEE(b))
	}
	return b, nil
}

// ErrCRC returns the error for a record whose bytes do not have the CRC-32 that was saved with them.
func ErrCRC(record string, want, got uint32) error {
	return &Broken{Record: record, Err: errCorrupt,
		Reason: fmt.Sprintf("its bytes have CRC-32 %08x, but %08x was saved with them: the content is corrupt", got, want)}
}

var errCorrupt = errors.New("corrupt content")

// IsCorrupt tells whether err is about content that does not have its saved CRC-32.
func IsCorrupt(err error) bool { return errors.Is(err, errCorrupt) }

func (c *Checkpoint) readPickle() error {
	const name = "data.pkl"
	data, err := c.readRecord(name, pickle.MaxSize)
	if err != nil {
		return err
	}
	p, err := pickle.Decode(data)
	c.Imports, c.Protocol, c.loadable = p.Imports, p.Protocol, p.OnlyUses(weightsOnlyOpcodes)
	if err != nil {
		return &Broken{Record: c.prefix + name, Reason: err.Error() + describeImports(p.Imports), Err: err}
	}
	if p.Size != len(data) {
		return brokenRecord(c.prefix+name, "%d bytes follow the end of the pickle", len(data)-p.Size)
	}
	c.Root = p.Value
	return nil
}

// describeImports names what a broken pickle would have imported besides tensors, for the reason of
// its refusal.
func describeImports(imports []pickle.Import) string {
	if foreign := Foreign(imports); len(foreign) > 0 {
		return fmt.Sprintf("; it imports %q", foreign[0].String())
	}
	return ""
}

// HyperParameters returns what Lightning saved under hyper_parameters, or nil.
func (c *Checkpoint) HyperParameters() any {
	if d := mapping(c.Root); d != nil {
		v, _ := d.Get("hyper_parameters")
		return v
	}
	return nil
}

// CheckRecords reads every record and checks its CRC.
func (c *Checkpoint) CheckRecords() error {
	if c.NoCRC {
		return nil
	}
	buffer := make([]byte, 1<<20)
	for i := range c.directory.Entries {
		e := &c.directory.Entries[i]
		sum := crc32.NewIEEE()
		if _, err := io.CopyBuffer(sum, io.NewSectionReader(c.source, e.Data, e.Size), buffer); err != nil {
			return fmt.Errorf("read record %q: %w", e.Name, err)
		}
		if sum.Sum32() != e.CRC32 {
			return ErrCRC(e.Name, e.CRC32, sum.Sum32())
		}
	}
	return nil
}

// Records returns the records of the file in their order.
func (c *Checkpoint) Records() []zipfile.Entry { return c.directory.Entries }

// Describe says what the top level holds, for people.
func (c *Checkpoint) Describe() string {
	d := mapping(c.Root)
	if d == nil {
		return pickle.Kind(c.Root)
	}
	return fmt.Sprintf("%s of %d keys: %s", pickle.Kind(c.Root), d.Len(), describeKeys(d))
}
