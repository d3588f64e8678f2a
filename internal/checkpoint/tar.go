package checkpoint

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

const (
	tarBlock   = 512
	maxTarTail = 20 << 10 // zeros behind the last member: writers end with two blocks, and pad to 10 KiB
	maxMembers = 1 << 16  // of a tar
)

// part is a member of a tar.
type part struct {
	name         string
	offset, size int64
}

// openTar proves the structure of a tar and, if it is torch's, what torch asks for.
func openTar(r io.ReaderAt, size int64) (*Checkpoint, error) {
	parts, err := readTar(r, size)
	if err != nil {
		return nil, err
	}
	if isTorchTar(parts) {
		return openLegacyTar(r, size, parts)
	}
	return &Checkpoint{
		Format: Tar, NoCRC: true, holds: fmt.Sprintf("a tar of %d members", len(parts)),
		whole: "tar: every member inside of the file, end blocks at its end; the format has no checksums of contents, " +
			"so their bytes cannot be proven, and what they are was not looked at",
	}, nil
}

// readTar lists the members and makes sure that nothing but zeros follows the last.
func readTar(r io.ReaderAt, size int64) ([]part, error) {
	if size%tarBlock != 0 {
		return nil, broken("a tar of %d bytes, which is no multiple of %d: it is cut off", size, tarBlock)
	}
	file := io.NewSectionReader(r, 0, size)
	t := tar.NewReader(file)
	var parts []part
	var end int64
	for {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			return parts, checkTarTail(r, end, size)
		}
		if err != nil {
			return nil, tarError(err)
		}
		at, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if end = at + (header.Size+tarBlock-1)/tarBlock*tarBlock; header.Size < 0 || end > size || end < at {
			return nil, broken("member %q of the tar is cut off: it has %d bytes, but only %d follow", header.Name, header.Size, size-at)
		}
		if err := checkTarHeader(header); err != nil {
			return nil, err
		}
		if len(parts) == maxMembers {
			return nil, broken("a tar of more than %d members", maxMembers)
		}
		parts = append(parts, part{header.Name, at, header.Size})
	}
}

// tarError tells a tar that is broken from one that cannot be read.
func tarError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrFieldTooLong) {
		return &Broken{Reason: fmt.Sprintf("the tar is cut off or damaged: %v", err), Err: err}
	}
	return fmt.Errorf("read the tar: %w", err)
}

// checkTarHeader refuses what cannot be extracted as what it seems.
func checkTarHeader(h *tar.Header) error {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return broken("member %q of the tar is sparse, which is not read", h.Name)
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
	default:
		return broken("member %q of the tar is of type %q: neither a file nor a folder", h.Name, h.Typeflag)
	}
	clean := path.Clean(h.Name)
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
		return broken("member %q of the tar would leave its folder", h.Name)
	}
	return nil
}

// checkTarTail makes sure that two zero blocks or more, and nothing else, end the tar.
func checkTarTail(r io.ReaderAt, end, size int64) error {
	if n := size - end; n < 2*tarBlock || n > maxTarTail {
		return broken("a tar whose last member ends at byte %d of %d, instead of being followed by its end blocks", end, size)
	}
	tail := make([]byte, size-end)
	if n, err := r.ReadAt(tail, end); n < len(tail) {
		return fmt.Errorf("read %d bytes at %d: %w", len(tail), end, err)
	}
	if len(bytes.Trim(tail, "\x00")) > 0 {
		return broken("other bytes follow the end of the tar")
	}
	return nil
}

// isTorchTar tells whether a tar has what torch's begins with, or any two of its members.
func isTorchTar(parts []part) bool {
	count := 0
	for i, p := range parts {
		switch p.name {
		case "sys_info", "pickle", "storages", "tensors":
			count++
		}
		if i == 0 && p.name == "sys_info" {
			return true
		}
	}
	return count > 1
}
