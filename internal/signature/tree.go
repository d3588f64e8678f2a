package signature

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxProblems is after how many problems nobody reads on.
const maxProblems = 20

// Content is what a directory was found to hold.
type Content struct {
	Files    []File // regular files that were read, sorted by name
	Bytes    int64
	Problems []string // why it is not what was signed
}

func (c *Content) problem(format string, args ...any) {
	if len(c.Problems) < maxProblems {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
	}
}

// Check holds a directory against a statement: it has every file that is listed, with those bytes, and nothing
// else. besides are the names of regular files that may be there as well, such as that of the signature. The
// error is about what could not be read.
func (s *Statement) Check(ctx context.Context, dir string, besides ...string) (*Content, error) {
	listed := make(map[string]File, len(s.Files))
	above := make(map[string]bool)
	for _, f := range s.Files {
		listed[f.Name] = f
		for d := path.Dir(f.Name); d != "."; d = path.Dir(d) {
			above[d] = true
		}
	}
	w := &walk{ctx: ctx, besides: besides, wanted: func(name string, isDir bool) bool {
		_, ok := listed[name]
		return !isDir && ok || isDir && above[name]
	}}
	c, err := w.run(dir)
	if err != nil || w.root == nil || len(c.Problems) >= maxProblems {
		return c, err
	}
	for _, f := range c.Files {
		if f != listed[f.Name] {
			c.problem("%q is not the file that was signed: its SHA-256 is %x, not %x", f.Name, f.SHA256, listed[f.Name].SHA256)
		}
	}
	for _, f := range s.Files {
		if !w.met[f.Name] {
			c.problem("%q was signed and is missing", f.Name)
		}
	}
	return c, nil
}

// Look reads all files of a directory that is to be signed, but for besides, see [Statement.Check]. What cannot
// be signed is a problem.
func Look(ctx context.Context, dir string, besides ...string) (*Content, error) {
	w := &walk{ctx: ctx, besides: besides, wanted: func(string, bool) bool { return true }}
	return w.run(dir)
}

// walk goes through a directory, with names that are relative to it.
type walk struct {
	*Content
	ctx     context.Context
	root    *os.Root // nil when the directory is none
	besides []string
	wanted  func(name string, isDir bool) bool
	met     map[string]bool
}

func (w *walk) run(dir string) (*Content, error) {
	w.Content, w.met = &Content{Problems: []string{}}, make(map[string]bool)
	dir = filepath.Clean(dir) // with a slash at its end it would be followed
	before, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if before.Mode()&fs.ModeSymlink != 0 {
		w.problem("it is a symbolic link, which can be turned to something else at any time: name the directory itself, %s", target(dir))
		return w.Content, nil
	}
	if !before.IsDir() {
		w.problem("it is no directory")
		return w.Content, nil
	}
	if w.root, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	defer w.root.Close()
	if now, err := w.root.Stat("."); err != nil || !os.SameFile(before, now) {
		return nil, errors.Join(fmt.Errorf("open %q: it was replaced meanwhile", dir), err)
	}
	if _, err := w.directory("."); err != nil {
		return nil, err
	}
	slices.SortFunc(w.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return w.Content, nil
}

func target(link string) string {
	real, err := filepath.EvalSymlinks(link)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return "which it does not lead to"
	}
	return fmt.Sprintf("%q", real)
}

// directory looks at what is in a directory, and returns how many entries that is.
func (w *walk) directory(name string) (entries int, err error) {
	d, err := w.root.Open(name)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	const atOnce = 1000
	for {
		names, err := d.Readdirnames(atOnce)
		slices.Sort(names)
		for _, n := range names {
			if err := w.entry(path.Join(name, n)); err != nil {
				return 0, err
			}
		}
		entries += len(names)
		if errors.Is(err, io.EOF) || len(w.Problems) >= maxProblems {
			return entries, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func (w *walk) entry(name string) error {
	info, err := w.root.Lstat(name)
	if err != nil {
		return err
	}
	skipped := slices.Contains(w.besides, name)
	w.met[name] = !skipped
	switch {
	case info.IsDir() && w.wanted(name, true):
		n, err := w.directory(name)
		if n == 0 && err == nil {
			w.problem("%q is an empty directory, which no signature can list", name)
		}
		return err
	case info.IsDir():
		w.problem("%q is a directory that was not signed", name)
	case !info.Mode().IsRegular():
		w.problem("%q is %s, no regular file", name, kind(info.Mode()))
	case skipped:
	case w.wanted(name, false):
		return w.file(name, info)
	default:
		w.problem("%q was not signed", name)
	}
	return nil
}

// file reads a file that was seen.
func (w *walk) file(name string, seen fs.FileInfo) error {
	f, err := w.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(seen, now) {
		return errors.Join(fmt.Errorf("open %q: it was replaced meanwhile", name), err)
	}
	sum := sha256.New()
	const buffer = 1 << 20
	n, err := io.CopyBuffer(sum, untilDone{w.ctx, f}, make([]byte, buffer))
	if err != nil {
		return err
	}
	w.Files = append(w.Files, File{Name: name, SHA256: [sha256.Size]byte(sum.Sum(nil))})
	w.Bytes += n
	return nil
}

// kind names what is no regular file.
func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// untilDone stops reading when the context is done.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}
