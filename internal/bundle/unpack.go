package bundle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	gopath "path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// Unpacked is what [Unpack] wrote.
type Unpacked struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Unpack extracts the archive at a location, or that of the bundle there, into dir, which must not
// exist or be an empty directory. It appears whole or not at all: everything is written into a hidden
// directory beside it, with every CRC and size checked, and renamed at the end. Whatever an entry says, it
// becomes a regular file below dir, never a link or anything outside.
func Unpack(ctx context.Context, at Location, dir string) (*Unpacked, error) {
	u, err := unpack(ctx, at, dir)
	if err != nil {
		return nil, fmt.Errorf("unpack %q into %q: %w", at.String(), dir, err)
	}
	return u, nil
}

func unpack(ctx context.Context, at Location, dir string) (*Unpacked, error) {
	a, closeArchive, err := openForReading(at)
	if err != nil {
		return nil, err
	}
	defer closeArchive()
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := checkFree(dir); err != nil {
		return nil, err
	}
	if err := a.checkRoom(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	stage := filepath.Join(filepath.Dir(dir), ".bundlewatch-unpack-"+rand.Text())
	if err := os.Mkdir(stage, 0o777); err != nil {
		return nil, err
	}
	u, err := a.extract(ctx, stage)
	if err == nil {
		err = unix.Rename(stage, dir) // unlike os.Rename it replaces a directory, if that is empty
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(stage))
	}
	return u, syncDir(filepath.Dir(dir))
}

// openForReading opens the archive at a location.
func openForReading(at Location) (*archive, func(), error) {
	o, err := at.open()
	if err != nil {
		return nil, nil, err
	}
	a, err := openArchive(o, o.size)
	if err != nil {
		o.close()
		return nil, nil, err
	}
	return a, o.close, nil
}

// checkFree makes sure that a directory can appear under a name.
func checkFree(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("it is there, and no directory")
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.Readdirnames(1); err == nil {
		return errors.New("the directory is not empty: name one that is, or that does not exist")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// checkRoom makes sure that the contents fit on the file system, whatever a small archive says it unpacks to.
func (a *archive) checkRoom(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	free := st.Bavail * uint64(st.Bsize)
	var need uint64
	for i := range a.directory.Entries {
		e := &a.directory.Entries[i]
		if need += uint64(e.Size); need > free {
			return fmt.Errorf("it unpacks to more than the %d bytes that are free", free)
		}
	}
	return nil
}

// extract writes all entries below dir.
func (a *archive) extract(ctx context.Context, dir string) (*Unpacked, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := &Unpacked{}
	for i := range a.directory.Entries {
		e := &a.directory.Entries[i]
		if err := a.extractEntry(ctx, root, e); err != nil {
			return nil, fmt.Errorf("entry %.200q: %w", e.Name, err)
		}
		if !strings.HasSuffix(e.Name, "/") {
			u.Files, u.Bytes = u.Files+1, u.Bytes+e.Size
		}
	}
	return u, nil
}

func (a *archive) extractEntry(ctx context.Context, root *os.Root, e *zipfile.Entry) error {
	name := strings.TrimSuffix(e.Name, "/")
	if !fs.ValidPath(name) || name == "." {
		return errors.New("its name is no path below a directory")
	}
	if name != e.Name {
		return root.MkdirAll(name, 0o777)
	}
	if err := root.MkdirAll(gopath.Dir(name), 0o777); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = a.copyEntry(ctx, f, e)
	return errors.Join(err, finish(f, err))
}

// copyEntry writes the content of an entry, and fails when it has not the size and the CRC that the archive says.
func (a *archive) copyEntry(ctx context.Context, w io.Writer, e *zipfile.Entry) error {
	crc := crc32.NewIEEE()
	n, err := io.CopyBuffer(io.MultiWriter(w, crc), contextReader{ctx, a.content(e)}, make([]byte, 1<<20))
	if err != nil {
		return err
	}
	return checkContent(e, n, crc.Sum32())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Entry is one entry of an archive, open for reading.
type Entry struct {
	Name string
	Size int64 // in bytes, unpacked

	archive *archive
	entry   *zipfile.Entry
	close   func()
}

// OpenEntry opens an entry of the archive at a location, or of that of the bundle there. The error
// names the entries that there are when there is none of that name.
func OpenEntry(at Location, name string) (*Entry, error) {
	a, closeArchive, err := openForReading(at)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", at.String(), err)
	}
	e := a.directory.Find(name)
	if e == nil || strings.HasSuffix(name, "/") {
		closeArchive()
		return nil, fmt.Errorf("open %q: there is no entry %q; it has %s", at.String(), name, a.entryNames())
	}
	return &Entry{Name: e.Name, Size: e.Size, archive: a, entry: e, close: closeArchive}, nil
}

func (a *archive) entryNames() string {
	const most = 40
	var names []string
	for i := range a.directory.Entries {
		if len(names) == most {
			names = append(names, fmt.Sprintf("and %d more", len(a.directory.Entries)-most))
			break
		}
		names = append(names, fmt.Sprintf("%.200q", a.directory.Entries[i].Name))
	}
	return strings.Join(names, ", ")
}

// Copy writes the content. A CRC or a size that does not match is an error, after the bytes were written.
func (e *Entry) Copy(ctx context.Context, w io.Writer) error {
	if err := e.archive.copyEntry(ctx, w, e.entry); err != nil {
		return fmt.Errorf("read entry %q: %w", e.Name, err)
	}
	return nil
}

// Close closes the archive.
func (e *Entry) Close() { e.close() }
