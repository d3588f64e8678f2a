package tidy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// scenery is a root with one stray, anew for every attempt.
type scenery struct {
	name  string
	match string
	git   bool // the root is a repository that tracks the stray
	far   bool // strays go to another file system
	// many calls: only those are tried that change something, because the state before the others is that before
	// the next one of these.
	many bool
	make func(t testing.TB, root string)
}

var sceneries = []scenery{
	{name: "file", match: "train.log", make: makeFile},
	{name: "file across file systems", match: "train.log", far: true, make: makeFile},
	{name: "directory", match: "logs/", many: true, make: makeDirectory},
	{name: "directory across file systems", match: "logs/", far: true, many: true, make: makeDirectory},
	{name: "file that git tracks", match: "train.log", git: true, make: makeFile},
	{name: "directory that git tracks, across file systems", match: "logs/", git: true, far: true, many: true, make: makeDirectory},
}

func makeFile(t testing.TB, root string) {
	write(t, filepath.Join(root, "train.log"), strings.Repeat("epoch 1 loss 0.5\n", 10))
}

func makeDirectory(t testing.TB, root string) {
	write(t, filepath.Join(root, "logs/version_0/metrics.csv"), "1,2,3\n")
	write(t, filepath.Join(root, "logs/version_0/hparams.yaml"), "lr: 0.1\n")
	write(t, filepath.Join(root, "logs/README"), "about\n")
	require.NoError(t, os.Symlink("version_0", filepath.Join(root, "logs/latest")))
}

func write(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// bench is one scenery on disk.
type bench struct {
	testing.TB
	scenery
	dir, root, reports string
}

func newBench(t testing.TB, s scenery) *bench {
	t.Helper()
	program.Slow(t)
	b := &bench{TB: t, scenery: s, dir: t.TempDir()}
	b.root, b.reports = filepath.Join(b.dir, "root"), filepath.Join(b.dir, "root", "reports")
	if s.far {
		b.reports = otherDisk(t, b.dir)
	}
	return b
}

func otherDisk(t testing.TB, than string) string {
	dir, err := os.MkdirTemp("/dev/shm", "bundlewatch-suite-")
	if err != nil {
		t.Skipf("needs a second file system at /dev/shm: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var a, b unix.Stat_t
	require.NoError(t, unix.Stat(dir, &a))
	require.NoError(t, unix.Stat(than, &b))
	if a.Dev == b.Dev {
		t.Skip("needs a second file system: /dev/shm is on that of the temporary directory")
	}
	return filepath.Join(dir, "reports")
}

// begin makes the scenery anew.
func (b *bench) begin() {
	b.Helper()
	require.NoError(b, os.RemoveAll(b.root))
	require.NoError(b, os.RemoveAll(b.reports))
	require.NoError(b, os.MkdirAll(b.root, 0o755))
	b.make(b, b.root)
	write(b, b.config(), "[[tidy]]\nroot = 'root'\nmatch = ['"+b.match+"']\nmove_to = '"+b.reports+"'\nmin_age = '1ms'\ntracked = 'git-rm'\n")
	if b.scenery.git {
		b.git("init", "-q")
		b.git("add", "-A")
		b.git("commit", "-q", "-m", "x")
	}
	time.Sleep(2 * time.Millisecond) // min_age
}

func (b *bench) config() string { return filepath.Join(b.dir, "bundlewatch.toml") }

func (b *bench) git(args ...string) string {
	b.Helper()
	cmd := exec.Command("git", append([]string{"-C", b.root, "-c", "user.name=x", "-c", "user.email=x@example.org"}, args...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, "git %v: %s", args, out)
	return string(out)
}

// index waits for a git that was left alone by a kill, and returns what the index says.
func (b *bench) index() string {
	b.Helper()
	if !b.scenery.git {
		return ""
	}
	lock := filepath.Join(b.root, ".git", "index.lock")
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Lstat(lock); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return b.git("ls-files", "--stage")
}

func (b *bench) stray() string { return filepath.Join(b.root, strings.TrimSuffix(b.match, "/")) }

// tree is the digest or target of everything below a directory, without records and repositories.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		switch {
		case err != nil || d.Name() == "moved.jsonl" || d.Name() == "MOVED.md":
			return err
		case d.IsDir() && path != dir && (d.Name() == ".git" || d.Name() == "reports"):
			return filepath.SkipDir
		case d.Type()&fs.ModeSymlink != 0:
			found[rel], err = os.Readlink(path)
			return err
		case d.Type().IsRegular():
			text, err := os.ReadFile(path)
			sum := sha256.Sum256(text)
			found[rel] = hex.EncodeToString(sum[:])
			return err
		}
		return nil
	})
	require.NoError(t, err)
	return found
}

// digests are those of everything on either side, once each.
func (b *bench) digests() []string {
	b.Helper()
	var all []string
	for _, dir := range []string{b.root, b.reports} {
		for _, digest := range tree(b, dir) {
			all = append(all, digest)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// names lists what is below a directory.
func names(t testing.TB, dir string) []string {
	var found []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		found = append(found, path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	require.NoError(t, err)
	return found
}

func (b *bench) requireNoLitter(about string) {
	b.Helper()
	for _, dir := range []string{b.root, b.reports} {
		for _, name := range names(b, dir) {
			if filepath.Dir(name) == filepath.Join(b.root, ".git") {
				continue // an empty directory that is swept after an hour
			}
			require.NotContains(b, filepath.Base(name), ".bundlewatch-", about)
		}
	}
}

// undo puts back what was moved, if anything was recorded.
func (b *bench) undo() program.Result {
	b.Helper()
	if _, err := os.Lstat(filepath.Join(b.reports, "moved.jsonl")); errors.Is(err, fs.ErrNotExist) {
		return program.Result{}
	}
	return program.Run(b, "tidy", "undo", b.reports)
}
