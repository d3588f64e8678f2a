package checkpoint

import (
	"fmt"
	"hash/crc32"
	"io"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// torchFile is what a checkpoint in one of torch's formats has: tensors in its pickle that are views of
// storages, which lie in the file as raw bytes.
type torchFile struct {
	source    io.ReaderAt
	byteOrder string // "little", "big", or "" when the file does not say
	loadable  bool   // only opcodes that torch.load(weights_only=True) reads, and no record that torch does not know
	legacy    bool   // a format from before torch 1.6
	prefix    string // of the names of storages in messages
	blobs     map[string]blob
	storages  map[*pickle.PersistentID]storage // that the pickle refers to
	byKey     map[string]storage
}

// blob is where a run of bytes lies in the file.
type blob struct {
	record       string // that it is, for messages
	offset, size int64
	crc          uint32
	hasCRC       bool
}

// readBlob reads the bytes of a small storage and checks their CRC.
func (f *torchFile) readBlob(key string, limit int64) ([]byte, error) {
	b, found := f.blobs[key]
	if !found {
		return nil, brokenRecord(f.prefix+key, "it is missing")
	}
	return readBlob(f.source, b, limit)
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
