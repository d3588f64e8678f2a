package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pair"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// tree is what is known of a directory that can take a role: the last fact of each file in it.
type tree map[string]watch.Fact

// errRemoved is why a directory waits that is losing files: rotation deletes them one by one, and what is
// left can look like a smaller checkpoint.
var errRemoved = errors.New("files of it were removed")

// errUnproven is why a directory waits whose files have settled, and that was not opened since.
var errUnproven = errors.New("not looked into yet")

// hits returns the roles that a file can take, or that what it is a part of can: a directory, or the index of shards,
// which is carried as the tree of the index and its shards.
func (e *engine) hits(file string) []pair.Hit {
	hits := e.table.Hits(file)
	for i := range hits {
		hits[i].Tree = hits[i].Tree || checkpoint.IsShardIndex(file)
	}
	for _, index := range checkpoint.ShardIndexes(file) {
		for _, h := range e.table.Hits(index) {
			if h.Path == index { // else it is a directory, which has the shard already
				h.Tree = true
				hits = append(hits, h)
			}
		}
	}
	return hits
}

// wants tells whether a file is one that hits returns something for.
func (e *engine) wants(file string) bool { return len(e.hits(file)) > 0 }

// treeDir is the directory that a tree's files lie in, relative to the root, "." for the root. The path of a tree is
// that directory or, of an index of shards, the index.
func treeDir(tree string) string {
	if checkpoint.IsShardIndex(tree) {
		return path.Dir(tree)
	}
	return tree
}

// treeName is the name of a tree's directory.
func treeName(root, tree string) string {
	return path.Base(path.Join(filepath.ToSlash(root), treeDir(tree)))
}

// placeInTree learns a fact about a file of a directory that can take a role.
func (e *engine) placeInTree(h pair.Hit, f watch.Fact) *set {
	if f.Kind == watch.Unusable && f.Stat.Mode.IsDir() {
		return nil // its files are told one by one
	}
	t := e.trees[h.Path]
	if t == nil {
		t = make(tree)
		e.trees[h.Path] = t
	}
	f.File = nil
	t[f.Path] = f
	return e.putTree(h, t)
}

// goneFromTree learns that a file of a directory is gone.
func (e *engine) goneFromTree(h pair.Hit, path string) []*set {
	t := e.trees[h.Path]
	if delete(t, path); len(t) > 0 {
		s := e.putTree(h, t)
		m := s.Candidate(h.Role, h.Path)
		m.Wait, m.Refused, m.Value = errRemoved, false, nil
		return []*set{s}
	}
	delete(e.trees, h.Path)
	sets := e.table.Find(h.Path)
	e.remove(h.Path)
	return sets
}

// putTree makes a directory the candidate. It is proven later, when no more is told of it at the moment.
func (e *engine) putTree(h pair.Hit, t tree) *set {
	v := &file{path: h.Path, evidence: watch.Evidence{Closed: watch.ClosedYes}}
	m := &candidate{Path: h.Path, Wait: errUnproven, Value: v}
	for p, f := range t {
		m.ModTime = max(m.ModTime, f.Stat.ModTime)
		v.leaves = append(v.leaves, leaf{path: strings.TrimPrefix(p, treeDir(h.Path)+"/"), stat: f.Stat, crcs: new(checkpoint.Ranges)})
		v.evidence = weaker(v.evidence, f.Evidence)
		if f.Kind != watch.Settled {
			m.Wait, m.Refused, m.Value = &leafError{p, f.Reason}, f.Kind == watch.Unusable, nil
		}
	}
	slices.SortFunc(v.leaves, func(a, b leaf) int { return cmp.Compare(a.path, b.path) })
	s := e.table.Put(h, m, e.now())
	e.reopen(s)
	if m.Value != nil {
		s.State.pend().retry = e.now().Add(tick)
	}
	return s
}

// weaker is the evidence for several files: that of the least quiet one, closed when all are.
func weaker(a, b watch.Evidence) watch.Evidence {
	if a.Quiet == 0 || b.Quiet < a.Quiet {
		a.Quiet = b.Quiet
	}
	if b.Closed != watch.ClosedYes {
		a.Closed = b.Closed
	}
	a.ClosedWhy = cmp.Or(a.ClosedWhy, b.ClosedWhy)
	return a
}

// leafError says which file of a directory is not finished.
type leafError struct {
	path string
	err  error
}

func (e *leafError) Error() string { return path.Base(e.path) + ": " + e.err.Error() }

func (e *leafError) Unwrap() error { return e.err }

// proveTree opens a directory whose files have settled, unless it is known from a published bundle.
func (e *engine) proveTree(s *set, role string, m *candidate) {
	if err := checkKey(s.Key); err != nil {
		m.Wait, m.Refused, m.Value = err, true, nil
		return
	}
	if m.Wait = e.load(s); m.Wait != nil {
		return
	}
	for _, v := range s.State.versions {
		if fingerprint, ok := v.holdsTree(role, m.Value.leaves); ok {
			m.Value.fingerprint = fingerprint
			s.State.saved(role, fingerprint)
			return
		}
		if v.heldTree(role, m.Value.leaves) {
			m.Wait, m.Value = errRemoved, nil
			return
		}
	}
	c, opened, err := readTree(e.access(), m.Value, e.watch.Payload)
	closeAll(opened)
	var incomplete *checkpoint.Incomplete
	switch {
	case err == nil && c.format == checkpoint.Directory && !e.isQuiet(m.Value):
		m.Wait = errTooYoung
	case err == nil:
		m.Value.fingerprint = c.fingerprint()
		s.State.saved(role, m.Value.fingerprint)
		e.rememberConfig(s)
	case errors.As(err, &incomplete) && !e.mayCome(m.Path, incomplete):
		m.Wait, m.Refused, m.Value = fmt.Errorf("%w; shards with names like those are not looked for beside an index: "+
			"name the directory in the pattern of the member, with a slash at its end", err), true, nil
	case errors.As(err, &incomplete), errors.Is(err, errChanged): // the watcher tells when there is something new
		m.Wait, m.Value = err, nil
	default:
		m.Wait, m.Refused = err, isVerdict(err)
	}
}

// mayCome tells whether what a tree waits for would be a part of it: of an index of shards, only files that are named
// after it are.
func (e *engine) mayCome(tree string, waits *checkpoint.Incomplete) bool {
	if !checkpoint.IsShardIndex(tree) {
		return true
	}
	return !slices.ContainsFunc(waits.Waits, func(name string) bool {
		file := path.Join(treeDir(tree), name)
		return file != tree && !slices.Contains(checkpoint.ShardIndexes(file), tree)
	})
}

// opened is a file that is open for reading.
type opened struct {
	path   string // relative to the root
	handle *os.File
	reader reader // of handle
	before watch.Stat
}

func newOpened(a access, path string, h *os.File, before watch.Stat, crcs *checkpoint.Ranges) *opened {
	r := newReader(h, filepath.Join(a.root, path), before.Size, a.pulse, a.wait, crcs)
	return &opened{path: path, handle: h, before: before, reader: r}
}

func closeAll(files []*opened) {
	for _, f := range files {
		f.reader.pages.Drop()
		f.handle.Close()
	}
}

// access is how work reads files below a root.
type access struct {
	root  string
	pulse *pulse
	wait  func(bytes int) error // see reader
}

func (a access) openUnchanged(path string, known watch.Stat) (*os.File, error) {
	defer a.pulse.call("open", filepath.Join(a.root, path))()
	return openUnchanged(a.root, path, known)
}

func (a access) open(f *file) (*os.File, error) {
	defer a.pulse.call("open", filepath.Join(a.root, f.path))()
	return f.open(a.root)
}

// readTree proves a directory by the rule of its format and lays its files out. The files stay open.
func readTree(a access, v *file, p config.Payload) (*content, []*opened, error) {
	files := make(map[string]*opened)
	var all []*opened
	var listed []checkpoint.TreeFile
	for _, l := range v.leaves {
		name := path.Join(treeDir(v.path), l.path)
		h, err := a.openUnchanged(name, l.stat)
		if err != nil {
			return nil, all, err
		}
		files[l.path] = newOpened(a, name, h, l.stat, l.crcs)
		all = append(all, files[l.path])
		listed = append(listed, checkpoint.TreeFile{Path: l.path, Size: l.stat.Size, ModTime: l.stat.ModTime})
	}
	t, err := checkpoint.LayOutTree(func(path string) (io.ReaderAt, int64, func() error, error) {
		f := files[path]
		if f == nil {
			return nil, 0, nil, os.ErrNotExist
		}
		return f.reader, f.before.Size, func() error { return nil }, nil
	}, listed, treeName(a.root, v.path))
	if err != nil {
		return nil, all, err
	}
	foreign := t.ForeignImports()
	if err := refuseForeign(checkpoint.Names(foreign), p); err != nil {
		return nil, all, err
	}
	out := &content{format: t.Format, tree: true, payload: bundle.PayloadVerbatim, whole: t.Whole, tensors: checkpoint.ListTensors(t.Tensors), foreign: checkpoint.NameList(foreign)}
	for _, l := range v.leaves {
		out.entries = append(out.entries, bundle.PartEntry{Name: bundle.EntryName(treeName(a.root, v.path) + "/" + l.path), Payload: t.Payloads[l.path]})
	}
	return out, all, nil
}

// treeSource describes a directory for the manifest.
func treeSource(absolute string, v *file) *bundle.Source {
	src := &bundle.Source{Path: absolute}
	for i, l := range v.leaves {
		f := bundle.SourceFile{Path: l.path, Size: l.stat.Size, ModTime: time.Unix(0, l.stat.ModTime).UTC(),
			ChTime: time.Unix(0, l.stat.ChangeTime).UTC(), Inode: l.stat.Ino}
		src.Files = append(src.Files, f)
		src.Size += f.Size
		if f.ModTime.After(src.ModTime) {
			src.ModTime = f.ModTime
		}
		if f.ChTime.After(src.ChTime) {
			src.ChTime = f.ChTime
		}
		if i == 0 {
			src.Device, src.Inode, src.UID = l.stat.Dev, l.stat.Ino, l.stat.UID
		}
	}
	return src
}

// holdsTree tells whether the member of that role was made of files in exactly these states.
func (v version) holdsTree(role string, leaves []leaf) (fingerprint string, ok bool) {
	m, ok := v.member(role)
	return m.Fingerprint, ok && len(leaves) == len(m.Source.Files) && holdsLeaves(m.Source, leaves)
}

// heldTree tells whether the member of that role was made of these files and of others that are gone.
func (v version) heldTree(role string, leaves []leaf) bool {
	m, ok := v.member(role)
	return ok && len(leaves) < len(m.Source.Files) && holdsLeaves(m.Source, leaves)
}

func holdsLeaves(s *bundle.Source, leaves []leaf) bool {
	for _, l := range leaves {
		i := slices.IndexFunc(s.Files, func(f bundle.SourceFile) bool { return f.Path == l.path })
		if i < 0 || !l.is(s.Files[i]) {
			return false
		}
	}
	return true
}

func (l leaf) is(f bundle.SourceFile) bool {
	return f.Size == l.stat.Size && f.ModTime.UnixNano() == l.stat.ModTime && f.ChTime.UnixNano() == l.stat.ChangeTime && f.Inode == l.stat.Ino
}
