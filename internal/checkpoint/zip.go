package checkpoint

import (
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// openZip proves the structure of a zip, and then what the format that is inside asks for.
func openZip(r io.ReaderAt, size int64) (*Checkpoint, error) {
	directory, err := zipfile.Read(r, size)
	if err != nil {
		return nil, wrapZip(err)
	}
	if len(directory.Entries) == 0 {
		return nil, broken("a zip without a file in it")
	}
	c := &Checkpoint{source: r, Size: size, directory: directory}
	switch {
	case findPrefix(directory.Entries) != "" || isTorchWithoutPickle(directory):
		return c.openTorchZip()
	case isNPZ(directory.Entries):
		return c.openNPZ()
	case isKeras(directory):
		return c.openKeras()
	}
	c.Format = Zip
	c.holds = fmt.Sprintf("a zip of %d files", len(directory.Entries))
	c.whole = "zip: end record, every local header and entry, no byte that belongs to nothing; " +
		"CRC-32 of every file checked while it was read. What the files are was not looked at"
	return c, nil
}

// isTorchWithoutPickle tells whether a zip has what torch writes beside the pickle. A .pt2 archive
// (torch.export) has that too, but is marked as such and holds no checkpoint's pickle.
func isTorchWithoutPickle(d *zipfile.Directory) bool {
	for _, e := range d.Entries {
		folder, name := path.Split(e.Name)
		if name == "version" && strings.Count(folder, "/") == 1 {
			return d.Find(folder+"archive_format") == nil
		}
	}
	return false
}

// checkEntry reads a record of a zip and holds its content against its CRC.
func checkEntry(r io.ReaderAt, e *zipfile.Entry) error {
	content := contentOf(r, e)
	sum := crc32.NewIEEE()
	n, err := io.CopyBuffer(sum, io.LimitReader(content, e.Size+1), make([]byte, min(e.Size+1, 1<<20)))
	if err != nil {
		return inflateError(e, err)
	}
	if n != e.Size {
		return faultOf(e.Name, fmt.Sprintf("its content has not the %d bytes that the zip says", e.Size), errCorrupt)
	}
	if sum.Sum32() != e.CRC32 {
		return ErrCRC(e.Name, e.CRC32, sum.Sum32())
	}
	return nil
}

// blame returns the fault that was found in the content of a record; when its CRC tells that the content is not what
// was saved, that is the fault.
func blame(r io.ReaderAt, e *zipfile.Entry, err error) error {
	if err == nil {
		return nil
	}
	if corrupt := checkEntry(r, e); corrupt != nil {
		return corrupt
	}
	return inRecord(e.Name, err)
}

// inRecord says in which record of a zip a fault is.
func inRecord(name string, err error) error {
	if err == nil {
		return nil
	}
	return faultOf(name, err.Error(), err)
}

// contentOf returns a reader of the content of a record.
func contentOf(r io.ReaderAt, e *zipfile.Entry) io.Reader {
	packed := io.NewSectionReader(r, e.Data, e.Packed)
	if e.Method == zipfile.Stored {
		return packed
	}
	return flate.NewReader(packed)
}

// inflateError tells bad compressed data, which is the file's fault, from errors of reading.
func inflateError(e *zipfile.Entry, err error) error {
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) || errors.Is(err, io.ErrUnexpectedEOF) {
		return faultOf(e.Name, fmt.Sprintf("its compressed data cannot be inflated: %v", err), errCorrupt)
	}
	return fmt.Errorf("read record %q: %w", e.Name, err)
}
