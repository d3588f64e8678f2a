package tidy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

func equalInside(a, b []entry) bool { return slices.EqualFunc(a, b, sameEntry) }

// copyTo copies the stray to a new name, with all that is in it, its mode, owner, times and extended attributes,
// and syncs it.
func (s *stray) copyTo(ctx context.Context, to *tree.Dir, name string) error {
	if err := copyOne(ctx, s.dir, s.name, s.stat, to, name); err != nil {
		return err
	}
	if s.shape != shapeDir {
		return to.Sync()
	}
	c := &treeCopy{ctx: ctx, stray: s, linked: make(map[tree.ID]string)}
	var err error
	if c.from, err = s.dir.Sub(s.name); err != nil {
		return err
	}
	defer c.from.Close()
	if c.to, err = to.Sub(name); err != nil {
		return err
	}
	defer c.to.Close()
	if err := c.run(); err != nil {
		return err
	}
	if err := keepAttributes(c.from.File(), s.stat, c.to.File()); err != nil {
		return err
	}
	return errors.Join(c.to.Sync(), to.Sync())
}

// treeCopy copies what is in a directory. Files that have several names in it have them in the copy.
type treeCopy struct {
	ctx      context.Context
	stray    *stray
	from, to *tree.Dir
	linked   map[tree.ID]string
}

func (c *treeCopy) run() error {
	for _, e := range c.stray.inside {
		if err := c.entry(e); err != nil {
			return err
		}
	}
	for _, e := range slices.Backward(c.stray.inside) { // writing into a directory changed its times
		if !e.stat.IsDir() {
			continue
		}
		if err := c.finishDir(e); err != nil {
			return err
		}
	}
	return nil
}

func (c *treeCopy) finishDir(e entry) error {
	from, err := c.from.Descend(e.path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := c.to.Descend(e.path)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := keepAttributes(from.File(), e.stat, to.File()); err != nil {
		return err
	}
	return to.Sync()
}

func (c *treeCopy) entry(e entry) error {
	if first, ok := c.linked[e.stat.ID()]; ok && !e.stat.IsDir() {
		return c.link(first, e.path)
	}
	if e.stat.Links > 1 {
		c.linked[e.stat.ID()] = e.path
	}
	return c.both(e.path, func(from, to *tree.Dir, name string) error {
		return copyOne(c.ctx, from, name, e.stat, to, name)
	})
}

func (c *treeCopy) link(first, second string) error {
	at, err := c.to.Descend(path.Dir(first))
	if err != nil {
		return err
	}
	defer at.Close()
	to, err := c.to.Descend(path.Dir(second))
	if err != nil {
		return err
	}
	defer to.Close()
	return at.Link(path.Base(first), to, path.Base(second))
}

// both opens the directories of a path on either side.
func (c *treeCopy) both(rel string, do func(from, to *tree.Dir, name string) error) error {
	from, err := c.from.Descend(path.Dir(rel))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := c.to.Descend(path.Dir(rel))
	if err != nil {
		return err
	}
	defer to.Close()
	return do(from, to, path.Base(rel))
}

// copyOne copies a file or link, or makes an empty directory.
func copyOne(ctx context.Context, from *tree.Dir, name string, st tree.Stat, to *tree.Dir, as string) error {
	switch shapeOf(st) {
	case shapeDir:
		return to.MakeDir(as, 0o700)
	case shapeSymlink:
		target, err := from.Readlink(name)
		if err == nil {
			err = to.Symlink(target, as)
		}
		if err != nil {
			return err
		}
		return keepLinkAttributes(st, to, as)
	}
	return copyFile(ctx, from, name, st, to, as)
}

func copyFile(ctx context.Context, from *tree.Dir, name string, st tree.Stat, to *tree.Dir, as string) error {
	in, now, err := from.OpenFile(name)
	if err != nil {
		return err
	}
	defer in.Close()
	if !now.Same(st) {
		return leave("it changed while it was copied")
	}
	out, err := to.CreateFile(as)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := copyData(ctx, in, out, st.Size); err != nil {
		return fmt.Errorf("copy %q to %q: %w", in.Name(), to.Path(), err)
	}
	if err := keepAttributes(in, st, out); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	_ = unix.Fadvise(int(out.Fd()), 0, 0, unix.FADV_DONTNEED) // what is compared is read from the disk
	return nil
}

// copyData copies what is not a hole.
func copyData(ctx context.Context, in, out *os.File, size int64) error {
	buffer := make([]byte, 1<<20)
	for at := int64(0); at < size; {
		begin, end, err := nextData(in, at, size)
		if err != nil {
			return err
		}
		for at = begin; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := in.ReadAt(buffer[:min(int64(len(buffer)), end-at)], at)
			if err != nil && (n == 0 || !errors.Is(err, io.EOF)) {
				return err
			}
			if _, err := out.WriteAt(buffer[:n], at); err != nil {
				return err
			}
			at += int64(n)
		}
	}
	return out.Truncate(size)
}

// nextData returns the next piece that is not a hole. File systems that know no holes have one piece.
func nextData(f *os.File, at, size int64) (begin, end int64, err error) {
	begin, err = f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return at, size, nil
	}
	if err != nil {
		return 0, 0, err
	}
	end, err = f.Seek(begin, unix.SEEK_HOLE)
	return begin, min(end, size), err
}
