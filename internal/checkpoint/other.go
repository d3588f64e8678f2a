package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

const (
	pickleWhole = "pickle: every opcode read, STOP is the last byte; the format has no checksums, so its bytes cannot be proven"

	unknownWhole = "unknown format, the weakest evidence: the file is not empty and does not begin with zeros; whether it is whole cannot be told"

	opProto      = 0x80 // the opcode that pickles of protocol 2 and later begin with
	newestPickle = 5
	sureOfPickle = 16 // bytes that read as a pickle are one, and not the start of a text
)

// openOther reads a pickle, or takes the file as unknown. Bytes that a Python program would unpickle are
// never unknown, and neither are bytes that would import something before the pickle breaks off.
func openOther(r io.ReaderAt, size int64) (*Checkpoint, error) {
	c := &Checkpoint{Format: Pickle, NoCRC: true, whole: pickleWhole}
	p := &pickleReader{source: r, size: size}
	read, err := p.next("a pickle")
	c.Imports = p.imports.list
	var fault *Broken
	switch {
	case err == nil && p.pos == size:
		c.Root, c.Protocol = read.Value, read.Protocol
		return c, nil
	case err == nil && (read.Protocol > 0 || len(read.Imports) > 0 || p.pos >= sureOfPickle):
		return c, broken("%d bytes follow the end of the pickle%s", size-p.pos, describeImports(read.Imports))
	case err != nil && !errors.As(err, &fault):
		return nil, err
	}
	begins, readErr := beginsLikePickle(r, size)
	if readErr != nil {
		return nil, readErr
	}
	if err != nil && (begins || wouldImport(read.Imports)) {
		return c, err
	}
	if zipped, err := endsLikeZip(r, size); err != nil {
		return nil, err
	} else if zipped {
		return nil, broken("it ends like a zip and does not begin like one: other bytes are before it, and readers disagree on what the file is")
	}
	return &Checkpoint{Format: Unknown, NoCRC: true, whole: unknownWhole, holds: fmt.Sprintf("%d bytes of an unknown format", size)}, nil
}

// endsLikeZip tells whether Python's zipfile would look for a zip in the file: an end record whose comment is the rest
// of the file.
func endsLikeZip(r io.ReaderAt, size int64) (bool, error) {
	const record, longestComment = 22, 1<<16 - 1
	tail := make([]byte, min(size, record+longestComment))
	if n, err := r.ReadAt(tail, size-int64(len(tail))); n < len(tail) {
		return false, fmt.Errorf("read the last bytes: %w", err)
	}
	for at := len(tail) - record; at >= 0; at-- {
		if bytes.HasPrefix(tail[at:], emptyZipMagic) && int(binary.LittleEndian.Uint16(tail[at+record-2:])) == len(tail)-at-record {
			return true, nil
		}
	}
	return false, nil
}

// beginsLikePickle tells whether the file begins with the opcode and the number of a protocol. A file of one
// byte is taken for a pickle that is cut off.
func beginsLikePickle(r io.ReaderAt, size int64) (bool, error) {
	var head [2]byte
	n, err := r.ReadAt(head[:min(size, 2)], 0)
	if int64(n) < min(size, 2) {
		return false, fmt.Errorf("read the first bytes: %w", err)
	}
	return head[0] == opProto && (n == 1 || head[1] >= 2 && head[1] <= newestPickle), nil
}

// wouldImport tells whether imports have names that Python could import. Text that is no pickle can look as
// if it imported something.
func wouldImport(imports []pickle.Import) bool {
	for _, i := range imports {
		if isDottedName(i.Module) && isDottedName(i.Name) {
			return true
		}
	}
	return false
}

// isDottedName tells whether a text is made of what Python's names are made of.
func isDottedName(text string) bool {
	for _, c := range text {
		switch {
		case c == '_', c == '.', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c > 127:
		default:
			return false
		}
	}
	return text != ""
}
