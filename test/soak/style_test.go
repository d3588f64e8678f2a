package soak

import (
	"cmp"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// style is how a trainer saves a file, and what is there when it dies on the way.
type style struct {
	name string
	save func(t *trainer, path string, data []byte) error
	die  func(t *trainer, path string, data []byte) error
}

// styles are what trainers do.
var styles = []style{
	{"renamed within a file system", saveRenamed, dieRenamed},
	{"moved across file systems", saveMoved, dieMoved},
	{"written in place", writeInPieces, writeInPieces},
}

// saveRenamed is Lightning's save where its temporary directory and the run are on one file system: the
// temporary file of mode 0600 is renamed, and then gets its mode.
func saveRenamed(t *trainer, path string, data []byte) error {
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	t.pause(3)
	return os.Chmod(path, 0o644)
}

func dieRenamed(_ *trainer, path string, data []byte) error {
	return os.WriteFile(path+".tmp", data, 0o600)
}

// saveMoved is Lightning's save across file systems: the final name is created and grows by sendfile, is
// closed, gets the times and the mode of the temporary file back, and then its own mode.
func saveMoved(t *trainer, path string, data []byte) error {
	temporary := filepath.Join(t.scratch, t.name+".tmp")
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	defer os.Remove(temporary)
	info, err := os.Stat(temporary)
	if err != nil {
		return err
	}
	if err := t.send(temporary, path, int64(len(data))); err != nil {
		return err
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	if err := os.Remove(temporary); err != nil {
		return err
	}
	t.pause(3)
	return os.Chmod(path, 0o644)
}

func dieMoved(t *trainer, path string, data []byte) error {
	temporary := filepath.Join(t.scratch, t.name+".tmp")
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	return t.send(temporary, path, int64(len(data)))
}

// send copies so many bytes with sendfile(2), in pieces.
func (t *trainer) send(from, to string, size int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	for sent := int64(0); sent < size; {
		n, err := unix.Sendfile(int(out.Fd()), int(in.Fd()), nil, min(checkpointSize/3, int(size-sent)))
		if err != nil || n == 0 {
			out.Close()
			return cmp.Or(err, io.ErrUnexpectedEOF)
		}
		sent += int64(n)
		t.pause(20)
	}
	return out.Close()
}

// writeInPieces is torch.save into the final name, which may hold an older version.
func writeInPieces(t *trainer, path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(len(data), 1+t.random.IntN(checkpointSize/3))
		if _, err := f.Write(data[:n]); err != nil {
			f.Close()
			return err
		}
		data = data[n:]
		t.pause(60)
	}
	return f.Close()
}

// pause waits for up to so many milliseconds.
func (t *trainer) pause(most int) {
	time.Sleep(time.Duration(t.random.IntN(most)) * time.Millisecond)
}
