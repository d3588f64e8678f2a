package provenance

import (
	"bytes"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Repository is what the files of a git repository say (gitrepository-layout(5)).
type Repository struct {
	Of     string `json:"of" doc:"how it was found: \"code\" (the watch's key), \"run\" (the run lies in it), \"writer\" (the working directory of a process in writers)"`
	Path   string `json:"path" doc:"top of the working tree"`
	Commit string `json:"commit,omitempty" doc:"commit that was checked out when the bundle was written; absent before the first one"`
	Branch string `json:"branch,omitempty" doc:"branch that was checked out; absent for a detached HEAD"`
	Dirty  string `json:"dirty" doc:"whether tracked files differ from the commit in content: \"no\", \"yes\" with the first of them, or \"unknown\" with the reason; files that git does not track do not count"`
}

// Find returns the repository around dir, false when there is none or it cannot be read.
//
// A .git that is a link is not followed. One that is a file, of a linked worktree or a submodule, is followed when the
// other side agrees: the repository names this worktree, or keeps the submodule of a directory above. Who plants a .git into
// somebody else's directory is not believed either.
func Find(dir string) (Repository, bool) {
	g, ok := find(dir)
	if !ok {
		return Repository{}, false
	}
	defer g.close()
	commit, branch := g.head()
	r := Repository{Path: Clip(g.path), Commit: commit, Branch: Clip(branch)}
	r.Dirty = g.dirty(commit, newBudget())
	return r, true
}

// git is an open repository.
type git struct {
	path   string   // of the working tree
	dir    *os.Root // HEAD and index
	common *os.Root // refs and objects; the same as dir but for a linked worktree
}

func (g *git) close() {
	g.dir.Close()
	if g.common != g.dir {
		g.common.Close()
	}
}

func find(dir string) (*git, bool) {
	for {
		if info, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return open(dir, info)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil, false
		}
		dir = parent
	}
}

// open opens the repository whose working tree begins at dir, where .git is what info says.
func open(dir string, info fs.FileInfo) (*git, bool) {
	around, err := os.Stat(dir)
	if err != nil || !trusts(around, info) {
		return nil, false
	}
	switch {
	case info.IsDir():
		root, err := os.OpenRoot(filepath.Join(dir, ".git"))
		return &git{path: dir, dir: root, common: root}, err == nil
	case info.Mode().IsRegular():
		return openLinked(dir, info)
	}
	return nil, false
}

// trusts tells whether what info describes was made by the owner of the directory around it, or by root.
func trusts(around, info fs.FileInfo) bool {
	a, aOK := around.Sys().(*syscall.Stat_t)
	b, bOK := info.Sys().(*syscall.Stat_t)
	return aOK && bOK && (b.Uid == a.Uid || b.Uid == 0)
}

// openLinked opens the repository that a file .git names.
func openLinked(dir string, link fs.FileInfo) (*git, bool) {
	top, err := os.OpenRoot(dir)
	if err != nil {
		return nil, false
	}
	defer top.Close()
	target, ok := strings.CutPrefix(readLine(top, ".git"), "gitdir: ")
	if !ok {
		return nil, false
	}
	target = absolute(dir, target)
	root, err := os.OpenRoot(target)
	if err != nil {
		return nil, false
	}
	if isModule(dir, target) {
		return &git{path: dir, dir: root, common: root}, true
	}
	back, err := os.Lstat(absolute(target, readLine(root, "gitdir")))
	shared := readLine(root, "commondir")
	if err != nil || !os.SameFile(back, link) || shared == "" {
		root.Close()
		return nil, false
	}
	common, err := os.OpenRoot(absolute(target, shared))
	if err != nil {
		root.Close()
		return nil, false
	}
	return &git{path: dir, dir: root, common: common}, true
}

// isModule tells whether target is where a repository around dir keeps a submodule.
func isModule(dir, target string) bool {
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		if strings.HasPrefix(target, filepath.Join(above, ".git", "modules")+"/") {
			return true
		}
		if above == filepath.Dir(above) {
			return false
		}
	}
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// head returns what is checked out.
func (g *git) head() (commit, branch string) {
	head := readLine(g.dir, "HEAD")
	ref, symbolic := strings.CutPrefix(head, "ref: ")
	if !symbolic {
		return objectName(head), ""
	}
	if !strings.HasPrefix(ref, "refs/") || !filepath.IsLocal(ref) || strings.HasSuffix(ref, "/.invalid") { // the last one: reftables
		return "", ""
	}
	branch = strings.TrimPrefix(ref, "refs/heads/")
	if commit := objectName(readLine(g.common, ref)); commit != "" {
		return commit, branch
	}
	packed, err := readSmall(g.common, "packed-refs", 8<<20)
	if err != nil {
		return "", branch
	}
	for line := range bytes.Lines(packed) {
		if commit, name, ok := strings.Cut(strings.TrimSpace(string(line)), " "); ok && name == ref {
			return objectName(commit), branch
		}
	}
	return "", branch
}

// objectName returns s when it is a SHA-1 or SHA-256 in hex, else "".
func objectName(s string) string {
	if raw, err := hex.DecodeString(s); err != nil || (len(raw) != 20 && len(raw) != 32) {
		return ""
	}
	return s
}

func readLine(root *os.Root, name string) string {
	data, err := readSmall(root, name, 4096)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// readSmall reads the beginning of a regular file.
func readSmall(root *os.Root, name string, limit int64) ([]byte, error) {
	f, _, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// openRegular opens a regular file; a pipe in its place does not block.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = os.ErrInvalid
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
