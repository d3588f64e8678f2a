package tidy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Git is what git says of a stray.
type Git string

// The answers.
const (
	GitNone      Git = "none"      // the root is in no work tree
	GitTracked   Git = "tracked"   // the index has it, or something in it
	GitIgnored   Git = "ignored"   // by a .gitignore, or .git/info/exclude
	GitUntracked Git = "untracked" // and not ignored
	GitUnknown   Git = "unknown"   // not tracked; nobody could say whether it is ignored
)

// repository is a work tree of git that a root lies in.
type repository struct {
	top    string // of the work tree, without symbolic links
	dir    string // the git directory; of a linked work tree or submodule its own
	uid    uint32 // the owner of all of them
	gid    uint32
	prefix string // of the root's names in the work tree: "" or "a/b/"
}

// errGitInside tells that a root is a git directory itself, or lies in one.
var errGitInside = errors.New("the root is a git directory or lies in one: nothing is moved there")

// findRepository returns the repository that root, a path without symbolic links, lies in; nil for none.
func findRepository(root string) (*repository, error) {
	for dir := root; ; dir = filepath.Dir(dir) {
		if isGitDir(dir) || filepath.Base(dir) == ".git" {
			return nil, errGitInside
		}
		_, err := os.Lstat(filepath.Join(dir, ".git"))
		if err == nil {
			return openRepository(dir, root)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for a repository: %w", err)
		}
		if dir == "/" {
			return nil, nil
		}
	}
}

// isGitDir tells whether a directory has what every git directory has.
func isGitDir(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

func openRepository(top, root string) (*repository, error) {
	gitDir, err := readGitFile(filepath.Join(top, ".git"))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", filepath.Join(top, ".git"), err)
	}
	r := &repository{top: top, dir: gitDir}
	if rel, err := filepath.Rel(top, root); err == nil && rel != "." {
		r.prefix = rel + "/"
	}
	return r, r.checkOwners()
}

// readGitFile returns the git directory that .git is, or that it names when it is a file.
func readGitFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return filepath.EvalSymlinks(path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, unix.PathMax))
	if err != nil {
		return "", err
	}
	target, ok := strings.CutPrefix(strings.TrimRight(string(text), "\r\n"), "gitdir: ")
	if !ok {
		return "", errors.New("it is neither a directory nor names one")
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(path), target)
	}
	return filepath.EvalSymlinks(target)
}

// checkOwners makes sure that one user owns work tree and repository, and that git can run as that user: what a
// .git of one user says of a repository of another is not believed.
func (r *repository) checkOwners() error {
	for i, path := range []string{r.top, filepath.Join(r.top, ".git"), r.dir} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("look at repository: %w", &fs.PathError{Op: "stat", Path: path, Err: err})
		}
		if i == 0 {
			r.uid, r.gid = st.Uid, st.Gid
		}
		if st.Uid != r.uid {
			return fmt.Errorf("%q belongs to user %d and %q to user %d: git is not asked, and nothing is moved", r.top, r.uid, path, st.Uid)
		}
	}
	return nil
}

// mayRun tells whether git can run as the owner of the repository.
func (r *repository) mayRun() error {
	if euid := os.Geteuid(); euid != 0 && uint32(euid) != r.uid {
		return fmt.Errorf("the repository %q belongs to user %d: only that user or root can run git there", r.top, r.uid)
	}
	return nil
}
