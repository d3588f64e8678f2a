package provenance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Modes of entries of a git index or tree.
const (
	modeType   = 0o170000
	modeFile   = 0o100000
	modeLink   = 0o120000
	modeModule = 0o160000
)

// entry is a file that git tracks, as it was when git looked at it last (gitformat-index(5)).
type entry struct {
	name             string
	oid              []byte
	mode             uint32
	size             uint32 // modulo 2^32; 0 may mean that it is to be looked at again
	ctime, mtime     stamp
	inode            uint32 // modulo 2^32
	valid, skipped   bool   // git was told not to look at it, or that it is not there
	unmerged, intent bool   // a conflict, or git add --intent-to-add
}

type stamp struct{ seconds, nanoseconds uint32 }

var (
	errIndex = errors.New("the index is not what git writes")
	errSplit = errors.New("its index is split in two, which is not looked into")
)

// Bounds of an index: of the bytes of all names together, and of the directories of one.
const (
	maxNames = 16 << 20
	maxDepth = 100
)

// reader takes a git index apart.
type reader struct {
	data    []byte
	at      int
	hash    int // bytes of an object's name
	version uint32
	name    []byte
	names   int // bytes of the names so far
}

// parseIndex reads an index whose objects have names of so many bytes.
func parseIndex(data []byte, hash, limit int) ([]entry, error) {
	if len(data) < 12+hash || string(data[:4]) != "DIRC" {
		return nil, errIndex
	}
	r := &reader{data: data[:len(data)-hash], at: 12, hash: hash, version: binary.BigEndian.Uint32(data[4:])}
	count := binary.BigEndian.Uint32(data[8:])
	if r.version < 2 || r.version > 4 {
		return nil, fmt.Errorf("the index is of version %d, this program knows 2 to 4", r.version)
	}
	if uint64(count) > uint64(limit) {
		return nil, fmt.Errorf("it has %d files, more than the %d that are looked at", count, limit)
	}
	entries := make([]entry, 0, min(int(count), len(data)/62+1))
	for range count {
		e, err := r.next()
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, r.extensions()
}

// next reads an entry.
func (r *reader) next() (entry, error) {
	begin, fixed := r.at, 40+r.hash+2
	if len(r.data)-begin < fixed {
		return entry{}, errIndex
	}
	field := func(i int) uint32 { return binary.BigEndian.Uint32(r.data[begin+4*i:]) }
	e := entry{ctime: stamp{field(0), field(1)}, mtime: stamp{field(2), field(3)}, inode: field(5), mode: field(6), size: field(9),
		oid: r.data[begin+40 : begin+40+r.hash]}
	flags := binary.BigEndian.Uint16(r.data[begin+40+r.hash:])
	e.valid, e.unmerged = flags&0x8000 != 0, flags&0x3000 != 0
	r.at += fixed
	if flags&0x4000 != 0 {
		if r.version < 3 || len(r.data)-r.at < 2 {
			return entry{}, errIndex
		}
		more := binary.BigEndian.Uint16(r.data[r.at:])
		e.skipped, e.intent = more&0x4000 != 0, more&0x2000 != 0
		r.at += 2
	}
	if err := r.readName(begin); err != nil {
		return entry{}, err
	}
	e.name = string(r.name)
	if r.names += len(e.name); r.names > maxNames {
		return entry{}, errors.New("the names of its files are too long together")
	}
	switch {
	case e.name == "": // of a file in the other part
		return entry{}, errSplit
	case !isTrackable(e.name):
		return entry{}, errIndex
	}
	return e, nil
}

// readName reads the name of the entry that begins at begin.
func (r *reader) readName(begin int) error {
	if r.version == 4 {
		strip, n := offsetVarint(r.data[r.at:])
		if n == 0 || strip > uint64(len(r.name)) {
			return errIndex
		}
		r.at += n
		r.name = r.name[:len(r.name)-int(strip)]
	} else {
		r.name = r.name[:0]
	}
	end := bytes.IndexByte(r.data[r.at:], 0)
	if end < 0 || end+len(r.name) > 4096 {
		return errIndex
	}
	r.name = append(r.name, r.data[r.at:r.at+end]...)
	r.at += end + 1
	if r.version < 4 {
		r.at = begin + (r.at-1-begin)/8*8 + 8
	}
	if r.at > len(r.data) {
		return errIndex
	}
	return nil
}

// extensions refuses an index that says in an extension what entries do not.
func (r *reader) extensions() error {
	for len(r.data)-r.at >= 8 {
		name, size := string(r.data[r.at:r.at+4]), uint64(binary.BigEndian.Uint32(r.data[r.at+4:]))
		switch {
		case name == "link":
			return errSplit
		case name[0] >= 'a' && name != "sdir":
			return fmt.Errorf("its index needs the extension %q, which is not known", Clip(name))
		case size > uint64(len(r.data)-r.at-8):
			return errIndex
		}
		r.at += 8 + int(size)
	}
	return nil
}

// offsetVarint reads a number as packs write the offset of a delta; n is 0 when it is none.
func offsetVarint(data []byte) (v uint64, n int) {
	for n < len(data) && n < 9 {
		b := data[n]
		if n > 0 {
			v++
		}
		v = v<<7 | uint64(b&0x7f)
		n++
		if b < 0x80 {
			return v, n
		}
	}
	return 0, 0
}

// isTrackable tells whether git can track a file of this name: it never leads out of the working tree.
func isTrackable(name string) bool {
	return name != "" && strings.Count(name, "/") <= maxDepth && filepath.IsLocal(name) && filepath.Clean(name) == strings.TrimSuffix(name, "/") &&
		!slices.Contains(strings.Split(name, "/"), ".git")
}
