package watch

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

const (
	// listBuffer is how many bytes of names are read from a directory before they are looked at.
	listBuffer = 64 << 10
	// listRoom is how many bytes must be free for another read: a name has 255 at most.
	listRoom = 4 << 10
)

// listing is a directory that is read.
type listing struct {
	dir *dir
	fd  int
	// names are entries that were read and not looked at, as struct linux_dirent64.
	names []byte
	// ended: there are no more; err is why there may be.
	ended bool
	err   error
	// calls counts those that were made.
	calls  int64
	buffer []byte
	// notifier is what fill asks for events of path, when it is to; unwatched is the error.
	notifier  *notifier
	path      string
	unwatched error
}

// begin starts with an open directory, which is read from where it is.
func (l *listing) begin(d *dir, fd int) {
	*l = listing{dir: d, fd: fd, buffer: l.buffer, names: l.buffer[:0]}
}

// more reads entries behind those in names.
func (l *listing) more() {
	free := l.buffer[len(l.names):]
	n, err := unix.ReadDirent(l.fd, free)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.ReadDirent(l.fd, free)
	}
	l.calls++
	switch {
	case err != nil:
		l.err = &fs.PathError{Op: "list", Path: l.dir.path(), Err: err}
	case n == 0:
		l.ended = true
	default:
		l.names = l.buffer[:len(l.names)+n]
	}
}

// fill asks for events and then reads all entries, or as many as there is room for. It does nothing more once ctx
// is done.
func (l *listing) fill(ctx context.Context) {
	if l.err = ctx.Err(); l.err != nil {
		l.notifier = nil
		return
	}
	if l.notifier != nil {
		l.unwatched = l.notifier.watch(l.path)
	}
	for !l.ended && l.err == nil && len(l.names)+listRoom <= len(l.buffer) {
		if l.err = ctx.Err(); l.err == nil {
			l.more()
		}
	}
}

// close closes the directory.
func (l *listing) close() { unix.Close(l.fd) }
