package checkpoint

import (
	"fmt"
	"hash/crc32"
	"io"
	"strings"

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
	blobs     blobs  // the storages; nil while they are not known
	uses      []use  // of each of them
	last      int    // place of the storage that was looked at last
	shapes    shapes
	class     *pickle.Global // of the last storage that was looked at
	elements  elementKind    // of that class
}

// blobs are runs of bytes of a file, each in a place from 0 on.
type blobs interface {
	count() int
	at(place int) blob
	// place returns where the one of that key is, or -1.
	place(key string) int
}

// blob is where a run of bytes lies in the file.
type blob struct {
	record       string // that it is, for messages
	offset, size int64
	crc          uint32
	hasCRC       bool
}

// use is how the pickle refers to a storage.
type use struct {
	referred bool      // it does,
	dtype    dtypeCode // as a storage of this type
}

func (f *torchFile) setBlobs(b blobs) { f.blobs, f.uses = b, make([]use, b.count()) }

// find returns the storage of that key, if it is there.
func (f *torchFile) find(key string) (b blob, ok bool) {
	if f.blobs == nil {
		return blob{}, false
	}
	place := f.blobs.place(key)
	if place < 0 {
		return blob{}, false
	}
	return f.blobs.at(place), true
}

// next returns where the storage of that key is, or -1. It is for those who look for all: most storages lie behind the one that the
// pickle refers to before them.
func (f *torchFile) next(key string) int {
	if f.blobs == nil {
		return -1
	}
	if next := f.last + 1; next < len(f.uses) {
		if own, ok := strings.CutPrefix(f.blobs.at(next).record, f.prefix); ok && own == key {
			f.last = next
			return next
		}
	}
	place := f.blobs.place(key)
	f.last = max(place, 0)
	return place
}

// key returns the key of the storage in a place.
func (f *torchFile) key(place int) string { return f.blobs.at(place).record[len(f.prefix):] }

// blobList are blobs that lie in records named by prefix and key.
type blobList struct {
	list   []blob
	prefix int // bytes
	keys   names.Index
}

func newBlobList(list []blob, prefix string) *blobList {
	l := &blobList{list: list, prefix: len(prefix)}
	l.keys, _ = names.NewIndex(len(list), l.key)
	return l
}

func (l *blobList) count() int { return len(l.list) }

func (l *blobList) at(place int) blob { return l.list[place] }

func (l *blobList) key(place int) string { return l.list[place].record[l.prefix:] }

func (l *blobList) place(key string) int { return l.keys.Find(key, l.key) }

// readBlob reads the bytes of a small storage and checks their CRC.
func (f *torchFile) readBlob(key string, limit int64) ([]byte, error) {
	b, ok := f.find(key)
	if !ok {
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
