package checkpoint

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// Broken says why a file is no whole checkpoint.
type Broken struct {
	Record string // the record of the file in question, if any
	Reason string
	Err    error // what it follows from, if anything
}

func (b *Broken) Error() string {
	if b.Record != "" {
		return fmt.Sprintf("record %q: %s", b.Record, b.Reason)
	}
	return b.Reason
}

func (b *Broken) Unwrap() error { return b.Err }

func broken(format string, args ...any) error { return &Broken{Reason: fmt.Sprintf(format, args...)} }

func brokenRecord(record, format string, args ...any) error {
	return faultOf(record, fmt.Sprintf(format, args...), nil)
}

// faultOf is the fault of a record, with a copy of its name: names lie together in memory, and an error may be kept for long.
func faultOf(record, reason string, err error) error {
	return &Broken{Record: strings.Clone(record), Reason: reason, Err: err}
}

// wrapZip makes a fault of the zip a fault of the checkpoint.
func wrapZip(err error) error {
	if ze := (*zipfile.Error)(nil); errors.As(err, &ze) {
		return &Broken{Reason: ze.Error(), Err: ze}
	}
	return err
}

// ErrCRC returns the error for a record whose bytes do not have the CRC-32 that was saved with them.
func ErrCRC(record string, want, got uint32) error {
	return faultOf(record, fmt.Sprintf("its bytes have CRC-32 %08x, but %08x was saved with them: the content is corrupt", got, want), errCorrupt)
}

var errCorrupt = errors.New("corrupt content")

// IsCorrupt tells whether err is about content that does not have its saved CRC-32.
func IsCorrupt(err error) bool { return errors.Is(err, errCorrupt) }
