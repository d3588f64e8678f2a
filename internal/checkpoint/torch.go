package checkpoint

import (
	"fmt"
	"hash/crc32"
	"io"

	"github.com/bundlewatch/bundlewatch/internal/names"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// torchFile is what a checkpoint in one of torch's formats has: tensors in its pickle that are views of
// storages, which lie in the file as raw bytes.
type torchFile struct {
	source    io.ReaderAt
	byteOrder string // "little", "big", or "" when the file does not say
	loadable  bool   // only opcodes that torch.load(weights_only=True) reads, and no record that torch does not know
	legacy    bool   // a format from before torch 1.6
	prefix    string // of the names of the storages' records; the rest is the key
	blobs     []blob // the storages
	keys      names.Index
	shapes    shapes
	class     *pickle.Global // of the last storage that was looked at
	elements  elementKind    // of that class
}

// blob is where a run of bytes lies in the file.
type blob struct {
	record       string // that it is, for messages
	offset, size int64
	crc          uint32
	hasCRC       bool
	referred     bool      // the pickle refers to it,
	dtype        dtypeCode // as a storage of this type
}

// setBlobs takes over the storages, which lie in records named by prefix and key.
func (f *torchFile) setBlobs(blobs []blob) {
	f.blobs = blobs
	f.keys, _ = names.NewIndex(len(blobs), f.key)
}

func (f *torchFile) key(place int) string { return f.blobs[place].record[len(f.prefix):] }

// place returns where in blobs the storage of that key is, or -1.
func (f *torchFile) place(key string) int { return f.keys.Find(key, f.key) }

// find returns the storage of that key, or nil.
func (f *torchFile) find(key string) *blob {
	if i := f.place(key); i >= 0 {
		return &f.blobs[i]
	}
	return nil
}

// readBlob reads the bytes of a small storage and checks their CRC.
func (f *torchFile) readBlob(key string, limit int64) ([]byte, error) {
	b := f.find(key)
	if b == nil {
		return nil, brokenRecord(f.prefix+key, "it is missing")
	}
	return readBlob(f.source, *b, limit)
}

func readBlob(r io.ReaderAt, b blob, limit int64) ([]byte, error) {
	if b.size > limit {
		return nil, brokenRecord(b.record, "its %d bytes are more than the %d that are read", b.size, limit)
	}
	data := make([]byte, b.size)
	if n, err := r.ReadAt(data, b.offset); n < len(data) {
		return nil, fmt.Errorf("read record %q: %w", b.record, err)
	}
	if sum := crc32.ChecksumIEEE(data); b.hasCRC && sum != b.crc {
		return nil, ErrCRC(b.record, b.crc, sum)
	}
	return data, nil
}
