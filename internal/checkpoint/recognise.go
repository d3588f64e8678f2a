package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// opener reads and proves the file of one format.
type opener func(r io.ReaderAt, size int64) (*Checkpoint, error)

var (
	zipMagic      = []byte("PK\x03\x04")
	emptyZipMagic = []byte("PK\x05\x06")
	legacyMagic   = []byte("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") // 0x1950a86a20f9469cfc6c as LONG1
	legacyText    = []byte("L119547037146038801333356L\n.")                    // the same in pickle protocols 0 and 1
	hdf5Magic     = []byte("\x89HDF\r\n\x1a\n")
	npyMagic      = []byte("\x93NUMPY")
	ggufMagic     = []byte("GGUF")
	tarMagic      = []byte("ustar")
)

const (
	recognitionBytes = 512
	legacyWithin     = 32  // bytes from the start, in which the magic number of legacy files lies
	tarMagicAt       = 257 // POSIX.1-1988, ustar header block
)

// recognise tells the formats apart, by content.
func recognise(r io.ReaderAt, size int64) (opener, error) {
	if size == 0 {
		return nil, broken("the file is empty")
	}
	head := make([]byte, min(size, int64(recognitionBytes)))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("read the first %d bytes: %w", len(head), err)
	}
	if len(bytes.Trim(head, "\x00")) == 0 {
		if hasUserBlock(r) {
			return nil, broken("an HDF5 file with a block of its user's before the superblock, which is not read")
		}
		return nil, broken("the file begins with %d zero bytes: space was reserved, but the content never written", len(head))
	}
	for format, magic := range map[string][]byte{"zip": zipMagic, "HDF5": hdf5Magic, "npy": npyMagic, "GGUF": ggufMagic} {
		if len(head) < len(magic) && bytes.HasPrefix(magic, head) {
			return nil, broken("it begins like %s, but ends after %d bytes", format, len(head))
		}
	}
	if n := len(head); n >= 6 && n <= 8 && len(bytes.Trim(head[5:], "\x00")) == 0 {
		return nil, broken("it begins like safetensors, but ends after %d bytes", n)
	}
	return recogniseHead(head), nil
}

// hasUserBlock tells whether an HDF5 file begins behind the shortest block that a user can put before it.
func hasUserBlock(r io.ReaderAt) bool {
	magic := make([]byte, len(hdf5Magic))
	_, err := r.ReadAt(magic, recognitionBytes)
	return err == nil && bytes.Equal(magic, hdf5Magic)
}

func recogniseHead(head []byte) opener {
	switch {
	case bytes.HasPrefix(head, zipMagic), bytes.HasPrefix(head, emptyZipMagic):
		return openZip
	case bytes.Contains(head[:min(len(head), legacyWithin)], legacyMagic), bytes.HasPrefix(head, legacyText):
		return openLegacy
	case len(head) > tarMagicAt && bytes.HasPrefix(head[tarMagicAt:], tarMagic):
		return openTar
	case bytes.HasPrefix(head, hdf5Magic):
		return openHDF5
	case bytes.HasPrefix(head, npyMagic):
		return openNPY
	case bytes.HasPrefix(head, ggufMagic):
		return openGGUF
	case looksLikeSafeTensors(head):
		return openSafeTensors
	}
	return openOther
}

// looksLikeSafeTensors tells whether the file begins with a length that is not absurd, and a JSON object.
func looksLikeSafeTensors(head []byte) bool {
	return len(head) > 8 && head[8] == '{' && binary.LittleEndian.Uint64(head) < 1<<40
}
