package snapshot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// MaxFileSize is the size in bytes above which a config file is refused.
const MaxFileSize = 16 << 20

const (
	readAttempts = 4
	readPause    = 10 * time.Millisecond
)

var (
	// ErrBusy tells that a file kept changing while it was read.
	ErrBusy = errors.New("the file is being written")
	// ErrNotRegular tells that a path names something other than a regular file.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge tells that a file is larger than [MaxFileSize].
	ErrTooLarge = errors.New("the file is too large for a config")
)

// File is a config file as it was at one moment.
type File struct {
	Path    string // relative to the watch root
	Name    string // in the archive, independent of the root
	Data    []byte
	SHA256  [sha256.Size]byte
	ModTime time.Time
}

// Read freezes the regular file at path below root. Symbolic links are refused as the last element
// of path, and followed nowhere out of root. When the file changes during the read, Read tries
// again a few times and then returns an error that wraps [ErrBusy]; other errors wrap
// [ErrNotRegular], [ErrTooLarge] or the error of the file system.
func Read(root *os.Root, path, name string) (File, error) {
	return read(root, path, name, func() {})
}

// read is Read with a function that runs between the reading of the bytes and their proof.
func read(root *os.Root, path, name string, midway func()) (File, error) {
	var err error
	for attempt := range readAttempts {
		if attempt > 0 {
			time.Sleep(readPause)
		}
		var file File
		if file, err = readOnce(root, path, name, midway); err == nil {
			return file, nil
		}
		if !errors.Is(err, ErrBusy) {
			break
		}
	}
	return File{}, fmt.Errorf("read config %q: %w", path, err)
}

func readOnce(root *os.Root, path, name string, midway func()) (File, error) {
	named, err := root.Lstat(path)
	if err != nil {
		return File{}, err
	}
	if !named.Mode().IsRegular() {
		return File{}, fmt.Errorf("%w but of mode %s", ErrNotRegular, named.Mode())
	}
	if named.Size() > MaxFileSize {
		return File{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, named.Size(), MaxFileSize)
	}
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	data, err := readUnchanged(root, path, f, named, midway)
	if err != nil {
		return File{}, err
	}
	return File{Path: path, Name: name, Data: data, SHA256: sha256.Sum256(data), ModTime: named.ModTime()}, nil
}

// readUnchanged reads f and proves that neither f nor what path names differs from named, before
// the first and after the last byte.
func readUnchanged(root *os.Root, path string, f *os.File, named os.FileInfo, midway func()) ([]byte, error) {
	opened, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !sameVersion(named, opened) {
		return nil, fmt.Errorf("%w: it was replaced when it was opened", ErrBusy)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, err
	}
	midway()
	closing, err := f.Stat()
	if err != nil {
		return nil, err
	}
	renamed, err := root.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !sameVersion(named, closing) || !sameVersion(named, renamed) || int64(len(data)) != named.Size() {
		return nil, fmt.Errorf("%w: size, time or inode changed during the read (%d bytes read, %d expected)",
			ErrBusy, len(data), named.Size())
	}
	return data, nil
}

// sameVersion compares what changes when a file is written or replaced.
func sameVersion(a, b os.FileInfo) bool {
	x, y := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	return x.Dev == y.Dev && x.Ino == y.Ino && x.Size == y.Size && x.Mtim == y.Mtim && x.Ctim == y.Ctim
}
