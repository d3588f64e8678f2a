package provenance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// budget is how much may be done to see whether files were changed.
type budget struct {
	deadline time.Time
	entries  int   // files in an index
	bytes    int64 // to be hashed
	depth    int   // of submodules
}

// newBudget is what a bundle may cost.
func newBudget() *budget {
	return &budget{deadline: time.Now().Add(time.Second), entries: 50_000, bytes: 32 << 20, depth: 3}
}

// changes is what was found.
type changes struct {
	names   []string // the first ones that differ
	count   int
	unknown error // why it cannot be told whether there are more
}

func (c *changes) differs(name string) {
	if c.count++; len(c.names) < 3 {
		c.names = append(c.names, Clip(name))
	}
}

func (c *changes) doubt(err error) {
	if c.unknown == nil {
		c.unknown = err
	}
}

// String is what the manifest says.
func (c *changes) String() string {
	switch {
	case c.count > len(c.names):
		return fmt.Sprintf("yes: %s and %d more", strings.Join(c.names, ", "), c.count-len(c.names))
	case c.count > 0:
		return "yes: " + strings.Join(c.names, ", ")
	case c.unknown != nil:
		return "unknown: " + Clip(c.unknown.Error())
	}
	return "no"
}

// dirty tells whether tracked files differ from the commit. git itself would say so, but it would run filters and hooks that the
// repository names. What git noted of a file in its index tells most: it has not changed while size, times and inode are the
// same. Only the others are read.
func (g *git) dirty(commit string, b *budget) string {
	var c changes
	g.compare(commit, b, &c)
	return c.String()
}

const maxIndex = 64 << 20

func (g *git) compare(commit string, b *budget, c *changes) {
	if commit == "" {
		c.doubt(errors.New("there is no commit to compare with"))
		return
	}
	f, info, err := openRegular(g.dir, "index")
	if err != nil {
		c.doubt(fmt.Errorf("read the index: %w", bare(err)))
		return
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIndex))
	if err != nil {
		c.doubt(err)
		return
	}
	entries, err := parseIndex(data, len(commit)/2, b.entries)
	if err != nil {
		c.doubt(err)
		return
	}
	b.entries -= len(entries)
	g.compareTree(commit, entries, c)
	g.compareFiles(entries, info.ModTime(), b, c)
}

// compareTree holds the index against the commit.
func (g *git) compareTree(commit string, entries []entry, c *changes) {
	undecided := ""
	for _, e := range entries {
		if (e.unmerged || e.intent) && e.name != undecided {
			undecided = e.name
			c.differs(e.name)
		}
	}
	if undecided != "" {
		return
	}
	tree, err := g.treeOf(commit)
	if err != nil {
		c.doubt(bare(err))
		return
	}
	if !bytes.Equal(tree, treeName(entries, "", len(commit)/2)) {
		c.differs("(staged)")
	}
}

// treeName is the name of the tree that entries make, which all have the prefix: what git commit would write.
func treeName(entries []entry, prefix string, hash int) []byte {
	var body bytes.Buffer
	for len(entries) > 0 {
		name, _, isDir := strings.Cut(entries[0].name[len(prefix):], "/")
		if !isDir {
			fmt.Fprintf(&body, "%o %s\x00%s", entries[0].mode, name, entries[0].oid)
			entries = entries[1:]
			continue
		}
		below, n := prefix+name+"/", 1
		for n < len(entries) && strings.HasPrefix(entries[n].name, below) {
			n++
		}
		sum := entries[0].oid // of a directory as a whole, in a sparse index
		if entries[0].name != below {
			sum = treeName(entries[:n], below, hash)
		}
		fmt.Fprintf(&body, "40000 %s\x00%s", name, sum)
		entries = entries[n:]
	}
	h := newHash(hash)
	fmt.Fprintf(h, "tree %d\x00", body.Len())
	h.Write(body.Bytes())
	return h.Sum(nil)
}

// compareFiles holds the files against the index, which was written at the given time.
func (g *git) compareFiles(entries []entry, written time.Time, b *budget, c *changes) {
	top, err := os.OpenRoot(g.path)
	if err != nil {
		c.doubt(bare(err))
		return
	}
	defer top.Close()
	w := &walk{git: g, top: top, written: written, budget: b, changes: c}
	defer w.leave()
	for _, e := range entries {
		if e.skipped || e.valid || e.unmerged || e.intent || strings.HasSuffix(e.name, "/") {
			continue
		}
		if time.Now().After(b.deadline) {
			c.doubt(errors.New("looking at all files took too long"))
			return
		}
		w.look(e, entries)
	}
}

// walk goes through a working tree.
type walk struct {
	*git
	top     *os.Root
	dir     *os.Root // of the entry before; nil for none
	name    string   // of dir
	missing bool     // dir is not there
	written time.Time
	budget  *budget
	changes *changes
	rules   *attributes
}

func (w *walk) leave() {
	if w.dir != nil && w.dir != w.top {
		w.dir.Close()
	}
	w.dir = nil
}

// enter opens the directory of an entry.
func (w *walk) enter(name string) (*os.Root, error) {
	if w.dir != nil && w.name == name {
		return w.dir, nil
	}
	if w.missing && w.name == name {
		return nil, fs.ErrNotExist
	}
	w.leave()
	w.name, w.missing = name, false
	if name == "." {
		w.dir = w.top
		return w.dir, nil
	}
	var err error
	if w.dir, err = w.top.OpenRoot(name); err != nil {
		w.dir, w.missing = nil, true
	}
	return w.dir, err
}

// look decides about one entry.
func (w *walk) look(e entry, all []entry) {
	dir, err := w.enter(path.Dir(e.name))
	var info fs.FileInfo
	if err == nil {
		info, err = dir.Lstat(path.Base(e.name))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		if e.mode&modeType != modeModule {
			w.changes.differs(e.name)
		}
	case err != nil:
		w.changes.doubt(bare(err))
	case e.mode&modeType == modeModule:
		w.module(e)
	case (e.mode&modeType == modeLink) != (info.Mode()&fs.ModeSymlink != 0), e.mode&modeType == modeFile && !info.Mode().IsRegular():
		w.changes.differs(e.name)
	case !e.unchanged(info, w.written):
		w.compareContent(dir, e, info, all)
	}
}

// unchanged tells whether a file is certainly as it was when git looked at it. One that was changed after that within the
// resolution of the clock, or after the index was written, is not.
func (e entry) unchanged(info fs.FileInfo, written time.Time) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && e.size == uint32(st.Size) && (e.size > 0 || st.Size == 0) && e.inode == uint32(st.Ino) && //nolint:gosec // git cuts them off, too
		e.mtime == stampOf(st.Mtim) && e.ctime == stampOf(st.Ctim) && info.ModTime().Before(written)
}

func stampOf(t syscall.Timespec) stamp { return stamp{uint32(t.Sec), uint32(t.Nsec)} } //nolint:gosec // git cuts them off, too

// compareContent reads a file.
func (w *walk) compareContent(dir *os.Root, e entry, info fs.FileInfo, all []entry) {
	name := path.Base(e.name)
	if e.mode&modeType == modeLink {
		target, err := dir.Readlink(name)
		if err != nil {
			w.changes.doubt(bare(err))
		} else if !bytes.Equal(e.oid, blobName([]byte(target), len(e.oid))) {
			w.changes.differs(e.name)
		}
		return
	}
	if w.budget.bytes -= info.Size(); w.budget.bytes < 0 {
		w.changes.doubt(errors.New("more files were touched than are read"))
		return
	}
	data, err := readSmall(dir, name, info.Size()+1)
	if err != nil {
		w.changes.doubt(bare(err))
		return
	}
	if bytes.Equal(e.oid, blobName(data, len(e.oid))) {
		return
	}
	if w.rules == nil {
		w.rules = w.attributes(all)
	}
	if why := w.rules.convert(e.name, data); why != nil {
		w.changes.doubt(why)
		return
	}
	w.changes.differs(e.name)
}

func blobName(data []byte, hash int) []byte {
	h := newHash(hash)
	fmt.Fprintf(h, "blob %d\x00", len(data))
	h.Write(data)
	return h.Sum(nil)
}

// module looks into a submodule that is checked out.
func (w *walk) module(e entry) {
	dir := path.Join(w.path, e.name)
	info, err := os.Lstat(path.Join(dir, ".git"))
	if err != nil {
		return // it is not checked out
	}
	sub, ok := open(dir, info)
	if !ok || w.budget.depth == 0 {
		w.changes.doubt(fmt.Errorf("the submodule %s is not looked into", e.name))
		return
	}
	defer sub.close()
	commit, _ := sub.head()
	if commit != fmt.Sprintf("%x", e.oid) {
		w.changes.differs(e.name)
		return
	}
	w.budget.depth--
	defer func() { w.budget.depth++ }()
	var c changes
	sub.compare(commit, w.budget, &c)
	if c.count > 0 {
		w.changes.differs(e.name)
	}
	if c.unknown != nil {
		w.changes.doubt(c.unknown)
	}
}

// bare is an error without the path, which the manifest has.
func bare(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
