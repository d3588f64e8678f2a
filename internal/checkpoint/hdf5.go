package checkpoint

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const (
	hdf5Whole = "HDF5: superblock, its end-of-file address equal to the size of the file, not marked as open for writing, an object header " +
		"where the root group should be; nothing is known of the other bytes, since most files have no checksums of data"

	hdf5Open = 1 << 0 // consistency flag: open for writing
	hdf5SWMR = 1 << 2 // consistency flag: open for writing with readers
)

// superblock is what an HDF5 file begins with (HDF5 File Format Specification 3.0, section II.A).
type superblock struct {
	version   byte
	flags     uint32
	base, end uint64 // addresses of the file's start and end
	root      uint64 // address of the root group's object header
}

func openHDF5(r io.ReaderAt, size int64) (*Checkpoint, error) {
	s, err := proveHDF5(io.NewSectionReader(r, 0, size), size)
	if err != nil {
		return nil, err
	}
	return &Checkpoint{Format: HDF5, NoCRC: true, whole: hdf5Whole, holds: fmt.Sprintf("an HDF5 file with a superblock of version %d", s.version)}, nil
}

// proveHDF5 proves the HDF5 file that is the whole of r.
func proveHDF5(r io.ReaderAt, size int64) (*superblock, error) {
	head := make([]byte, min(size, hdf5HeadBytes))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("read the superblock: %w", err)
	}
	s, err := parseSuperblock(head)
	if err != nil {
		return nil, err
	}
	if err := s.check(size); err != nil {
		return nil, err
	}
	return s, s.checkRoot(r, size)
}

// hdf5HeadBytes are enough for a superblock of any version, with addresses of 8 bytes.
const hdf5HeadBytes = 128

// parseSuperblock reads the superblock at the start of a file.
func parseSuperblock(head []byte) (*superblock, error) {
	if len(head) < len(hdf5Magic)+4 {
		return nil, broken("the HDF5 file is cut off inside of its superblock")
	}
	if string(head[:len(hdf5Magic)]) != string(hdf5Magic) {
		return nil, broken("no HDF5 superblock where the file begins, but %q", head[:len(hdf5Magic)])
	}
	switch version := head[8]; version {
	case 0, 1:
		return parseOldSuperblock(head, version)
	case 2, 3:
		return parseNewSuperblock(head, version)
	default:
		return nil, broken("an HDF5 superblock of version %d; 0 to 3 are read", version)
	}
}

// addresses reads n addresses of the given width.
func addresses(b []byte, width, n int) ([]uint64, error) {
	if width != 4 && width != 8 {
		return nil, broken("an HDF5 superblock with addresses of %d bytes", width)
	}
	if len(b) < width*n {
		return nil, broken("the HDF5 file is cut off inside of its superblock")
	}
	list := make([]uint64, n)
	for i := range list {
		if width == 4 {
			list[i] = uint64(binary.LittleEndian.Uint32(b[4*i:]))
		} else {
			list[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
	}
	return list, nil
}

// parseOldSuperblock reads versions 0 and 1: at 13 the width of addresses, at 20 the flags, then the base, free
// space, end and driver addresses, and the root group's symbol table entry (name offset, object header).
func parseOldSuperblock(head []byte, version byte) (*superblock, error) {
	at := 24 + 4*int(version)
	if len(head) < at {
		return nil, broken("the HDF5 file is cut off inside of its superblock")
	}
	a, err := addresses(head[at:], int(head[13]), 6)
	if err != nil {
		return nil, err
	}
	return &superblock{version: version, flags: binary.LittleEndian.Uint32(head[20:]), base: a[0], end: a[2], root: a[5]}, nil
}

// parseNewSuperblock reads versions 2 and 3: at 9 the width of addresses, at 11 the flags, then the base, extension,
// end and root addresses, and a checksum of what is before it.
func parseNewSuperblock(head []byte, version byte) (*superblock, error) {
	const at = 12
	width := int(head[9])
	a, err := addresses(head[at:], width, 4)
	if err != nil {
		return nil, err
	}
	end := at + 4*width
	if len(head) < end+4 {
		return nil, broken("the HDF5 file is cut off inside of its superblock")
	}
	want, got := binary.LittleEndian.Uint32(head[end:]), lookup3(head[:end])
	if want != got {
		return nil, broken("the HDF5 superblock has checksum %08x, but %08x was saved with it: it is corrupt", got, want)
	}
	return &superblock{version: version, flags: uint32(head[11]), base: a[0], end: a[2], root: a[3]}, nil
}

func (s *superblock) check(size int64) error {
	switch {
	case s.flags&(hdf5Open|hdf5SWMR) != 0:
		return broken("the HDF5 file is marked as open for writing: its writer has not closed it, or died")
	case s.base != 0:
		return broken("the HDF5 file says that it begins at byte %d", s.base)
	case s.end > uint64(size):
		return broken("the HDF5 file is cut off: its superblock says that it has %d bytes, and it has %d", s.end, size)
	case s.end < uint64(size):
		return broken("the HDF5 superblock says that the file has %d bytes, but it has %d: it is still being written, or other bytes follow it", s.end, size)
	}
	return nil
}

// checkRoot makes sure that an object header lies where the root group should: metadata are written last.
func (s *superblock) checkRoot(r io.ReaderAt, size int64) error {
	var head [4]byte
	if s.root > math.MaxInt64 || int64(s.root) > size-int64(len(head)) {
		return broken("the root group of the HDF5 file is said to be at byte %d of %d", s.root, size)
	}
	if _, err := r.ReadAt(head[:], int64(s.root)); err != nil && err != io.EOF {
		return fmt.Errorf("read the root group: %w", err)
	}
	if string(head[:]) != "OHDR" && (head[0] != 1 || head[1] != 0) {
		return broken("no object header of a root group at byte %d of the HDF5 file, but %q", s.root, head)
	}
	return nil
}
