package tidy

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// indexItem is an entry of the index of git.
type indexItem struct {
	Mode  string    `json:"mode"` // octal, as git writes it
	Blob  string    `json:"blob"` // the object's name
	Path  bytesName `json:"path"` // in the work tree
	Stage int       `json:"-"`    // above 0 in a merge with conflicts
}

// maxIndex is the size in bytes up to which an index is read where there is no git to ask.
const maxIndex = 256 << 20

// errIndex tells that an index is none that this reader knows.
var errIndex = errors.New("not an index of version 2, 3 or 4 by itself: without git nobody can tell what is tracked")

// readIndex reads the entries that are wanted from an index of git (gitformat-index(5)), for hosts without git. A
// missing one is empty.
func readIndex(path string, wanted func(path string) bool) ([]indexItem, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the index of git: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err == nil && len(data) > maxIndex {
		err = fmt.Errorf("larger than %d bytes", maxIndex)
	}
	if err != nil {
		return nil, fmt.Errorf("read the index of git %q: %w", path, err)
	}
	items, err := parseIndex(data, wanted)
	if err != nil {
		return nil, fmt.Errorf("read the index of git %q: %w", path, err)
	}
	return items, nil
}

func parseIndex(data []byte, wanted func(path string) bool) ([]indexItem, error) {
	if len(data) < 12 || string(data[:4]) != "DIRC" {
		return nil, errIndex
	}
	width := hashWidth(data)
	version := binary.BigEndian.Uint32(data[4:])
	if width == 0 || version < 2 || version > 4 {
		return nil, errIndex
	}
	r := &indexReader{rest: data[12 : len(data)-width], width: width, version: version}
	var items []indexItem
	for range binary.BigEndian.Uint32(data[8:]) {
		item, ok := r.next()
		if !ok {
			return nil, errIndex
		}
		if wanted(string(item.Path)) {
			items = append(items, item)
		}
	}
	if !r.onlyOptional() {
		return nil, errIndex
	}
	return items, nil
}

// hashWidth tells which hash ends the index, and so which names its objects; 0 for none.
func hashWidth(data []byte) int {
	for _, h := range []hash.Hash{sha1.New(), sha256.New()} {
		if n := h.Size(); len(data) >= 12+n {
			h.Write(data[:len(data)-n])
			if bytes.Equal(h.Sum(nil), data[len(data)-n:]) {
				return n
			}
		}
	}
	if n := sha1.Size; len(data) >= 12+n && bytes.Equal(data[len(data)-n:], make([]byte, n)) {
		return n // index.skipHash
	}
	return 0
}

type indexReader struct {
	rest     []byte
	width    int
	version  uint32
	previous []byte
}

// next reads one entry: ten numbers about the file, the object's name, flags, the path.
func (r *indexReader) next() (indexItem, bool) {
	fixed := 40 + r.width + 2
	if len(r.rest) < fixed+2 {
		return indexItem{}, false
	}
	flags := binary.BigEndian.Uint16(r.rest[fixed-2:])
	item := indexItem{
		Mode: fmt.Sprintf("%06o", binary.BigEndian.Uint32(r.rest[24:])), Blob: hex.EncodeToString(r.rest[40 : 40+r.width]),
		Stage: int(flags>>12) & 3,
	}
	if flags&0x4000 != 0 {
		fixed += 2
	}
	path, used, ok := r.path(r.rest[fixed:])
	if !ok {
		return item, false
	}
	size := fixed + used
	if r.version < 4 {
		size = (size + 8) &^ 7 // ends with one to eight NUL characters
	}
	if size > len(r.rest) {
		return item, false
	}
	item.Path, r.rest, r.previous = bytesName(path), r.rest[size:], path
	return item, true
}

// path reads a path. In version 4 it begins with how many bytes of the one before fall away.
func (r *indexReader) path(data []byte) (path []byte, used int, ok bool) {
	var prefix []byte
	if r.version == 4 {
		drop, n := offsetNumber(data)
		if n == 0 || drop > len(r.previous) {
			return nil, 0, false
		}
		prefix, data, used = r.previous[:len(r.previous)-drop], data[n:], n
	}
	end := bytes.IndexByte(data, 0)
	if end < 0 {
		return nil, 0, false
	}
	path = append(bytes.Clone(prefix), data[:end]...)
	if used += end; r.version == 4 {
		used++
	}
	return path, used, len(path) > 0 && len(path) < unix.PathMax
}

// offsetNumber reads a number as packs write offsets; n is 0 when it is none.
func offsetNumber(data []byte) (value, n int) {
	for n < len(data) && n < 4 {
		c := data[n]
		n++
		value = value<<7 + int(c&0x7f)
		if c&0x80 == 0 {
			return value, n
		}
		value++
	}
	return 0, 0
}

// onlyOptional tells whether no extension follows without which the entries are not the whole index.
func (r *indexReader) onlyOptional() bool {
	for len(r.rest) >= 8 {
		size := uint64(binary.BigEndian.Uint32(r.rest[4:]))
		if r.rest[0] < 'A' || r.rest[0] > 'Z' || size > uint64(len(r.rest)-8) {
			return false
		}
		r.rest = r.rest[8+size:]
	}
	return len(r.rest) == 0
}
