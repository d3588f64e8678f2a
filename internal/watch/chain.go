package watch

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// chain holds the directories open that lead from the root to the one that was used last, so that many
// files of one directory, and the directories of one parent, are reached by one call each. The owner
// drops it whenever it goes to sleep: nothing is held open that would keep a file system from being
// unmounted, and nothing lasts that a rename has made wrong.
type chain struct {
	tree  *tree
	links []link
	// ops counts the calls into the file system. Closing is not counted: it costs a server nothing.
	ops int64
}

type link struct {
	dir *dir
	fd  int
}

// drop closes all directories.
func (c *chain) drop() { c.cut(0) }

// cut closes all directories but the first n.
func (c *chain) cut(n int) {
	for _, l := range c.links[n:] {
		unix.Close(l.fd)
	}
	c.links = c.links[:n]
}

// fd returns d, open for what openat(2) and statx(2) need. It is valid until the next call of fd or
// list for another directory.
func (c *chain) fd(d *dir) (int, error) {
	for i := len(c.links) - 1; i >= 0; i-- {
		if c.links[i].dir == d {
			c.cut(i + 1)
			return c.links[i].fd, nil
		}
	}
	return c.open(d, unix.O_PATH)
}

// list returns d, open for reading its names from the start.
func (c *chain) list(d *dir) (int, error) {
	for i := range c.links {
		if c.links[i].dir == d {
			c.cut(i)
			break
		}
	}
	return c.open(d, unix.O_RDONLY)
}

// release leaves the directory that was opened last to the caller, who closes it.
func (c *chain) release() { c.links = c.links[:len(c.links)-1] }

func (c *chain) open(d *dir, flags int) (fd int, err error) {
	if d.parent == nil {
		c.cut(0)
		c.ops++
		fd, err = c.tree.root(flags)
	} else {
		var parent int
		if parent, err = c.fd(d.parent); err != nil {
			return -1, err
		}
		c.ops++
		fd, err = openat(parent, d.name, flags|unix.O_DIRECTORY)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: d.path(), Err: err}
	}
	c.links = append(c.links, link{d, fd})
	return fd, nil
}

// stat returns the state of the entry of d of this name, by asking the server where there is one.
func (c *chain) stat(d *dir, name string) (Stat, place, error) {
	fd, err := c.fd(d)
	if err != nil {
		return Stat{}, 0, err
	}
	c.ops++
	st, at, err := statAt(fd, name, d.mount.statFlags())
	if err != nil {
		return Stat{}, 0, &fs.PathError{Op: "stat", Path: d.join(name), Err: err}
	}
	return st, at, nil
}

// file opens the regular file of this name in d for reading.
func (c *chain) file(d *dir, name string) (*os.File, Stat, error) {
	fd, err := c.fd(d)
	if err != nil {
		return nil, Stat{}, err
	}
	c.ops += 2
	rel := d.join(name)
	return openFile(fd, name, rel, filepath.Join(c.tree.path, rel))
}

// readlink returns the text of the symbolic link of this name in d.
func (c *chain) readlink(d *dir, name string) (string, error) {
	fd, err := c.fd(d)
	if err != nil {
		return "", err
	}
	c.ops++
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, buf)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: d.join(name), Err: err}
	}
	return string(buf[:n]), nil
}
