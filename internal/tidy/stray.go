package tidy

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// stray is a file, link or directory at the top level of a root, as it was when it was looked at.
type stray struct {
	dir    *tree.Dir
	name   string
	shape  shape
	stat   tree.Stat
	inside []entry // of a directory, in the order of their paths
	bytes  int64
	newest time.Time // when it last changed, or anything in it
	digest string
	git    Git
	index  []indexItem // what the index of git says of it
}

// entry is something in a directory that is moved whole.
type entry struct {
	path   string // relative to the directory
	stat   tree.Stat
	target string // of a symbolic link
	digest string
}

const (
	maxInside = 200_000 // entries of a directory that is moved
	maxDepth  = 100     // levels of it
)

// look surveys what has a name in the root; the directories' contents too, but no file is read.
func look(root *tree.Dir, name string) (*stray, error) {
	st, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	s := &stray{dir: root, name: name, shape: shapeOf(st), stat: st, bytes: st.Size, newest: st.Changed(), git: GitNone}
	if s.shape != shapeDir {
		return s, nil
	}
	if s.inside, err = list(root, name); err != nil {
		return nil, err
	}
	s.bytes = 0
	for _, e := range s.inside {
		if e.stat.IsRegular() {
			s.bytes += e.stat.Size
		}
		if changed := e.stat.Changed(); changed.After(s.newest) {
			s.newest = changed
		}
	}
	return s, nil
}

func (s *stray) path() string { return s.dir.Join(s.name) }

// list walks a directory without following links.
func list(above *tree.Dir, name string) ([]entry, error) {
	var found []entry
	if err := walk(above, name, "", &found, maxDepth); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return found, nil
}

func walk(above *tree.Dir, name, prefix string, found *[]entry, depth int) error {
	if depth == 0 {
		return leave("its directories are nested more than %d levels deep", maxDepth)
	}
	dir, err := above.Sub(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := walkInto(dir, name, prefix, found, depth); err != nil {
			return err
		}
	}
	return nil
}

func walkInto(dir *tree.Dir, name, prefix string, found *[]entry, depth int) error {
	st, err := dir.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return leave("%q vanished while the directory was listed: it is in use", prefix+name)
	}
	if err != nil {
		return err
	}
	if len(*found) >= maxInside {
		return leave("more than %d files are in it", maxInside)
	}
	e := entry{path: prefix + name, stat: st}
	switch shapeOf(st) {
	case "":
		return leave("%q in it is a pipe, a socket or a device", e.path)
	case shapeSymlink:
		if e.target, err = dir.Readlink(name); err != nil {
			return err
		}
	}
	*found = append(*found, e)
	if st.IsDir() {
		return walk(dir, name, e.path+"/", found, depth-1)
	}
	return nil
}

// unchanged makes sure that the stray under its old name is what was looked at.
func (s *stray) unchanged() error {
	now, err := look(s.dir, s.name)
	if err != nil {
		return fmt.Errorf("look at %q again: %w", s.path(), err)
	}
	if !now.stat.Same(s.stat) || !slices.EqualFunc(now.inside, s.inside, sameEntry) {
		return leave("it changed while it was looked at")
	}
	return nil
}

func sameEntry(a, b entry) bool {
	return a.path == b.path && a.target == b.target && a.stat.Same(b.stat)
}

// leftError is the reason why a stray is left alone for now.
type leftError struct{ reason string }

func (e *leftError) Error() string { return e.reason }

func leave(format string, args ...any) error { return &leftError{fmt.Sprintf(format, args...)} }
