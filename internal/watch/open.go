package watch

import (
	"io/fs"
	"os"
)

// Open opens the regular file at rel below root for reading, as the Settled facts do: without
// following a link below the root and without waiting for anyone.
func Open(root, rel string) (*os.File, Stat, error) {
	t, err := openTree(root)
	if err != nil {
		return nil, Stat{}, err
	}
	defer t.close()
	return t.file(rel)
}

// Lstat returns the state of what is at rel below root, a link itself and not its target. The error is
// [fs.ErrNotExist] when nothing is there.
func Lstat(root, rel string) (Stat, error) {
	t, err := openTree(root)
	if err != nil {
		return Stat{}, err
	}
	defer t.close()
	st, err := t.lstat(rel)
	if err != nil && vanished(err) {
		return Stat{}, &fs.PathError{Op: "stat", Path: rel, Err: fs.ErrNotExist}
	}
	return st, err
}
