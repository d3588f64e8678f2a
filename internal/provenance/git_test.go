package provenance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// sandbox is a place for repositories that no setting of the host reaches.
type sandbox struct {
	*testing.T
	dir string
}

func newSandbox(t *testing.T) sandbox {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return sandbox{t, dir}
}

func (s sandbox) git(dir string, args ...string) string {
	s.Helper()
	run := exec.Command("git", args...)
	run.Dir = filepath.Join(s.dir, dir)
	run.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=protocol.file.allow", "GIT_CONFIG_VALUE_0=always"}
	out, err := run.CombinedOutput()
	require.NoError(s, err, "git %q: %s", args, out)
	return strings.TrimSpace(string(out))
}

func (s sandbox) write(name, text string) {
	s.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s, os.WriteFile(path, []byte(text), 0o644))
}

// repository makes one with a few files and two commits.
func (s sandbox) repository(name string, options ...string) {
	s.Helper()
	s.git(".", append([]string{"init", "-q", "-b", "main", name}, options...)...)
	for _, file := range []string{"train.py", "a.txt", "a/deep/model.py", "a-b/x", "a/b", "ü/ö.py"} {
		s.write(name+"/"+file, "content of "+file+"\n")
	}
	require.NoError(s, os.Symlink("train.py", filepath.Join(s.dir, name, "link")))
	s.git(name, "add", ".")
	s.git(name, "commit", "-q", "-m", "one")
	s.write(name+"/train.py", "content of another commit\n")
	s.git(name, "commit", "-q", "-a", "-m", "two")
}

// see finds the repository around a directory. Nothing that a test does may take longer than what is looked for.
func (s sandbox) see(dir string) (commit, branch, dirty string) {
	s.Helper()
	g, ok := find(filepath.Join(s.dir, dir))
	require.True(s, ok)
	defer g.close()
	commit, branch = g.head()
	b := newBudget()
	b.deadline = time.Now().Add(time.Minute)
	return commit, branch, g.dirty(commit, b)
}

func TestRealRepositories(t *testing.T) {
	for _, tc := range []struct {
		name    string
		options []string
		change  func(s sandbox) // of the repository r
		dir     string          // where the run is; r when empty
		branch  string
		dirty   string
	}{
		{name: "clean", branch: "main", dirty: "no"},
		{name: "sha256", options: []string{"--object-format=sha256"}, branch: "main", dirty: "no"},
		{name: "untracked files do not count", change: func(s sandbox) { s.write("r/runs/r1/last.ckpt", "x") }, dir: "r/runs/r1", branch: "main", dirty: "no"},
		{name: "detached", change: func(s sandbox) { s.git("r", "checkout", "-q", "--detach", "HEAD~1") }, dirty: "no"},
		{name: "another branch, packed", change: func(s sandbox) {
			s.git("r", "checkout", "-q", "-b", "feature/x")
			s.git("r", "pack-refs", "--all")
			s.git("r", "gc", "-q")
		}, branch: "feature/x", dirty: "no"},
		{name: "modified", change: func(s sandbox) { s.write("r/a/deep/model.py", "content of a/deep/model.PY\n") }, branch: "main", dirty: "yes: a/deep/model.py"},
		{name: "touched", change: func(s sandbox) {
			later := time.Now().Add(time.Hour)
			require.NoError(s, os.Chtimes(filepath.Join(s.dir, "r/train.py"), later, later))
		}, branch: "main", dirty: "no"},
		{name: "copied", change: func(s sandbox) {
			require.NoError(s, os.CopyFS(filepath.Join(s.dir, "copy"), os.DirFS(filepath.Join(s.dir, "r"))))
		}, dir: "copy", branch: "main", dirty: "no"},
		{name: "deleted", change: func(s sandbox) { require.NoError(s, os.RemoveAll(filepath.Join(s.dir, "r/a"))) }, branch: "main", dirty: "yes: a/b, a/deep/model.py"},
		{name: "many", change: func(s sandbox) {
			for _, name := range []string{"train.py", "a.txt", "a-b/x", "a/b", "ü/ö.py"} {
				s.write("r/"+name, "changed")
			}
		}, branch: "main", dirty: "yes: a-b/x, a.txt, a/b and 2 more"},
		{name: "link changed", change: func(s sandbox) {
			require.NoError(s, os.Remove(filepath.Join(s.dir, "r/link")))
			require.NoError(s, os.Symlink("a.txt", filepath.Join(s.dir, "r/link")))
		}, branch: "main", dirty: "yes: link"},
		{name: "file became a pipe", change: func(s sandbox) {
			require.NoError(s, os.Remove(filepath.Join(s.dir, "r/train.py")))
			require.NoError(s, unix.Mkfifo(filepath.Join(s.dir, "r/train.py"), 0o644))
		}, branch: "main", dirty: "yes: train.py"},
		{name: "staged", change: func(s sandbox) {
			s.write("r/new.py", "new\n")
			s.git("r", "add", "new.py")
		}, branch: "main", dirty: "yes: (staged)"},
		{name: "staged and taken back", change: func(s sandbox) {
			s.write("r/train.py", "new\n")
			s.git("r", "add", "train.py")
			s.git("r", "reset", "-q", "--hard")
		}, branch: "main", dirty: "no"},
		{name: "to be added", change: func(s sandbox) {
			s.write("r/new.py", "new\n")
			s.git("r", "add", "--intent-to-add", "new.py")
		}, branch: "main", dirty: "yes: new.py"},
		{name: "conflict", change: func(s sandbox) {
			s.git("r", "checkout", "-q", "-b", "other", "HEAD~1")
			s.write("r/train.py", "mine\n")
			s.git("r", "commit", "-q", "-a", "-m", "three")
			require.Error(s, exec.Command("git", "-C", filepath.Join(s.dir, "r"), "-c", "user.name=a", "-c", "user.email=a@b", "merge", "-q", "main").Run())
		}, branch: "other", dirty: "yes: train.py"},
		{name: "index of version 4", change: func(s sandbox) { s.git("r", "update-index", "--index-version", "4") }, branch: "main", dirty: "no"},
		{name: "split index", change: func(s sandbox) { s.git("r", "update-index", "--split-index") }, branch: "main",
			dirty: "unknown: its index is split in two, which is not looked into"},
		{name: "sparse", change: func(s sandbox) { s.git("r", "sparse-checkout", "set", "--cone", "--sparse-index", "ü") }, branch: "main", dirty: "no"},
		{name: "linked worktree", change: func(s sandbox) { s.git("r", "worktree", "add", "-q", "-b", "tree", "../w") }, dir: "w", branch: "tree", dirty: "no"},
		{name: "changed in a linked worktree", change: func(s sandbox) {
			s.git("r", "worktree", "add", "-q", "--detach", "../w")
			s.write("w/a.txt", "changed")
		}, dir: "w/a", dirty: "yes: a.txt"},
		{name: "clone", change: func(s sandbox) { s.git(".", "clone", "-q", "file://"+s.dir+"/r", "c") }, dir: "c", branch: "main", dirty: "no"},
		{name: "shared clone", change: func(s sandbox) { s.git(".", "clone", "-q", "--shared", "r", "c") }, dir: "c", branch: "main",
			dirty: "unknown: its commit is neither a file of its own nor in a pack"},
		{name: "with a submodule", change: addModule, branch: "main", dirty: "no"},
		{name: "of a submodule", change: addModule, dir: "r/lib", branch: "main", dirty: "no"},
		{name: "changed in a submodule", change: func(s sandbox) {
			addModule(s)
			s.write("r/lib/a.txt", "changed")
		}, branch: "main", dirty: "yes: lib"},
		{name: "another commit of a submodule", change: func(s sandbox) {
			addModule(s)
			s.git("r/lib", "checkout", "-q", "HEAD~1")
		}, branch: "main", dirty: "yes: lib"},
		{name: "filtered", change: func(s sandbox) {
			filter(s)
			s.write("r/big.bin", "big2")
		}, branch: "main", dirty: "unknown: big.bin was touched, and git's filter for *.bin is not run"},
		{name: "filtered and not touched", change: filter, branch: "main", dirty: "no"},
		{name: "changed besides what is filtered", change: func(s sandbox) {
			filter(s)
			s.write("r/train.py", "changed")
		}, branch: "main", dirty: "yes: train.py"},
		{name: "ends of lines", change: func(s sandbox) {
			s.write("r/.gitattributes", "* text=auto\n")
			s.git("r", "add", ".")
			s.git("r", "commit", "-q", "-m", "three")
			s.write("r/a.txt", "content of a.txt\r\n")
		}, branch: "main", dirty: "unknown: a.txt was touched, and has carriage returns or keywords that git may convert"},
		{name: "no commit yet", change: func(s sandbox) { s.git(".", "init", "-q", "-b", "main", "n") }, dir: "n", branch: "main",
			dirty: "unknown: there is no commit to compare with"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSandbox(t)
			s.repository("r", tc.options...)
			if tc.change != nil {
				tc.change(s)
			}
			dir := tc.dir
			if dir == "" {
				dir = "r"
			}
			commit, branch, dirty := s.see(dir)
			if tc.name != "no commit yet" {
				require.Equal(t, s.git(dir, "rev-parse", "HEAD"), commit)
			}
			require.Equal(t, tc.branch, branch)
			require.Equal(t, tc.dirty, dirty)
		})
	}
}

func addModule(s sandbox) {
	s.repository("module")
	s.git("r", "submodule", "--quiet", "add", "file://"+s.dir+"/module", "lib")
	s.git("r", "commit", "-q", "-m", "three")
}

// filter makes files *.bin be converted by a program. It fails in the tests' end when the program is run by anyone else.
func filter(s sandbox) {
	s.write("r/.gitattributes", "*.bin filter=f\n")
	s.write("r/big.bin", "big")
	s.git("r", "config", "filter.f.clean", "touch "+s.dir+"/ran; tr a-z A-Z")
	s.git("r", "add", ".")
	s.git("r", "commit", "-q", "-m", "three")
	require.NoError(s, os.Remove(filepath.Join(s.dir, "ran")))
	s.Cleanup(func() { require.NoFileExists(s, filepath.Join(s.dir, "ran")) })
}

// A change within the resolution of the clock is seen, as git sees it.
func TestChangesRightAfterTheIndexWasWritten(t *testing.T) {
	s := newSandbox(t)
	s.repository("r")
	path := filepath.Join(s.dir, "r/train.py")
	index, err := os.Stat(filepath.Join(s.dir, "r/.git/index"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("content of another COMMIT\n"), 0o644))
	require.NoError(t, os.Chtimes(path, index.ModTime(), index.ModTime()))
	_, _, dirty := s.see("r")
	require.Equal(t, "yes: train.py", dirty)
}

func TestLooseFilesOfARepository(t *testing.T) {
	sha1, other, sha256 := strings.Repeat("a1", 20), strings.Repeat("0f", 20), strings.Repeat("b2", 32)
	for _, tc := range []struct {
		name   string
		files  map[string]string
		commit string
		branch string
	}{
		{"loose ref", map[string]string{"HEAD": "ref: refs/heads/main\n", "refs/heads/main": sha1 + "\n", "packed-refs": other + " refs/heads/main\n"}, sha1, "main"},
		{"packed ref", map[string]string{"HEAD": "ref: refs/heads/x/y\n",
			"packed-refs": "# pack-refs with: peeled fully-peeled sorted\n" + other + " refs/heads/x\n^" + other + "\n" + sha1 + " refs/heads/x/y\n"}, sha1, "x/y"},
		{"detached", map[string]string{"HEAD": sha1 + "\n"}, sha1, ""},
		{"sha256", map[string]string{"HEAD": "ref: refs/heads/main", "refs/heads/main": sha256}, sha256, "main"},
		{"no branch", map[string]string{"HEAD": "ref: refs/bisect/good", "refs/bisect/good": sha1}, sha1, "refs/bisect/good"},
		{"no commit yet", map[string]string{"HEAD": "ref: refs/heads/main\n"}, "", "main"},
		{"reftable", map[string]string{"HEAD": "ref: refs/heads/.invalid\n"}, "", ""},
		{"no HEAD", map[string]string{"config": ""}, "", ""},
		{"out of the repository", map[string]string{"HEAD": "ref: refs/../../commit\n", "../commit": sha1}, "", ""},
		{"not below refs", map[string]string{"HEAD": "ref: config\n", "config": sha1}, "", ""},
		{"no commit but text", map[string]string{"HEAD": "\x1b[31m" + sha1}, "", ""},
		{"hostile branch", map[string]string{"HEAD": "ref: refs/heads/a\x1b[31m\xff\nb", "refs/heads/a\x1b[31m\xff\nb": sha1}, sha1, "a?[31m??b"},
		{"endless branch", map[string]string{"HEAD": "ref: refs/heads/" + strings.Repeat("x", 4000)}, "", strings.Repeat("x", maxText) + "…"},
		{"short", map[string]string{"HEAD": sha1[:39]}, "", ""},
		{"endless", map[string]string{"HEAD": strings.Repeat("ref: ", 1<<20)}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tc.files {
				path := filepath.Join(dir, ".git", name)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			}
			run := filepath.Join(dir, "runs", "r1")
			require.NoError(t, os.MkdirAll(run, 0o755))
			r, ok := Find(run)
			require.True(t, ok)
			require.Equal(t, tc.commit, r.Commit)
			require.Equal(t, tc.branch, r.Branch)
			require.True(t, strings.HasPrefix(r.Dirty, "unknown: "), r.Dirty)
		})
	}
}

// What stands in the place of the repository's files neither leads out of it nor blocks.
func TestFindIsNotLedAstray(t *testing.T) {
	commit := strings.Repeat("a1", 20)
	for name, plant := range map[string]func(dir string) error{
		"HEAD is a pipe": func(dir string) error { return unix.Mkfifo(filepath.Join(dir, ".git/HEAD"), 0o644) },
		"HEAD is a link": func(dir string) error { return os.Symlink("../../commit", filepath.Join(dir, ".git/HEAD")) },
		"HEAD is a directory": func(dir string) error {
			return os.Mkdir(filepath.Join(dir, ".git/HEAD"), 0o755)
		},
		".git is a link": func(dir string) error {
			if err := os.Rename(filepath.Join(dir, ".git"), filepath.Join(dir, "git")); err != nil {
				return err
			}
			return os.Symlink("../.git", filepath.Join(dir, ".git"))
		},
		".git is a pipe":                      func(dir string) error { return replaced(dir, "", unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644)) },
		".git names a repository around":      func(dir string) error { return replaced(dir, "gitdir: ../.git\n", nil) },
		".git names nothing":                  func(dir string) error { return replaced(dir, "gitdir: ../nothing\n", nil) },
		".git names itself":                   func(dir string) error { return replaced(dir, "gitdir: .git\n", nil) },
		".git names what is no submodule":     func(dir string) error { return replaced(dir, "gitdir: ../.git/modules/../../.git\n", nil) },
		".git is no text":                     func(dir string) error { return replaced(dir, strings.Repeat("\xff", 1<<16), nil) },
		".git names a worktree that is other": func(dir string) error { return replaced(dir, "gitdir: ../.git/worktrees/other\n", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "module")
			require.NoError(t, os.MkdirAll(filepath.Join(outer, ".git/worktrees/other"), 0o755))
			require.NoError(t, os.MkdirAll(filepath.Join(dir, ".git"), 0o755))
			for file, text := range map[string]string{"commit": commit, ".git/HEAD": commit, ".git/worktrees/other/HEAD": commit,
				".git/worktrees/other/commondir": "../..", ".git/worktrees/other/gitdir": outer + "/other/.git"} {
				require.NoError(t, os.WriteFile(filepath.Join(outer, file), []byte(text), 0o644))
			}
			r, ok := Find(outer)
			require.True(t, ok)
			require.Equal(t, commit, r.Commit)
			require.NoError(t, plant(dir))
			r, _ = Find(dir)
			require.Empty(t, r.Commit, "the repository around is not the one that the run lies in")
		})
	}
}

// replaced makes .git a file with this text.
func replaced(dir, text string, err error) error {
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, ".git")); err != nil {
		return err
	}
	if text == "" {
		return os.Rename(filepath.Join(dir, "pipe"), filepath.Join(dir, ".git"))
	}
	return os.WriteFile(filepath.Join(dir, ".git"), []byte(text), 0o644)
}

// A .git that somebody else put into a directory, such as /tmp, says nothing about what lies there.
func TestPlantedRepositories(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files to others")
	}
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".git"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".git/HEAD"), []byte(strings.Repeat("a1", 20)), 0o644))
	_, ok := Find(dir)
	require.True(t, ok)
	require.NoError(t, os.Chown(filepath.Join(dir, ".git"), 65534, 65534))
	_, ok = Find(dir)
	require.False(t, ok)
	require.NoError(t, os.Chown(dir, 65534, 65534))
	_, ok = Find(dir)
	require.True(t, ok)
}

// An index of others neither leads out of the working tree nor takes memory or time without end.
func TestHostileIndexes(t *testing.T) {
	s := newSandbox(t)
	s.repository("r")
	path := filepath.Join(s.dir, "r/.git/index")
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, index := range map[string]string{
		"empty":          "",
		"a name outside": strings.Replace(string(good), "a-b/x", "../bx", 1),
		"absolute":       strings.Replace(string(good), "a-b/x", "/tmp/", 1),
		"in .git":        strings.Replace(string(good), "a-b/x", ".git/", 1),
		"many":           string(good[:8]) + "\x00\xff\xff\xff" + string(good[12:]),
		"cut off":        string(good[:len(good)/2]),
		"no version":     string(good[:4]) + "\x00\x00\x00\x09" + string(good[8:]),
	} {
		require.NoError(t, os.WriteFile(path, []byte(index), 0o644))
		_, _, dirty := s.see("r")
		require.True(t, strings.HasPrefix(dirty, "unknown: "), "%s: %s", name, dirty)
	}
}

// A parent directory that became a link does not lead out.
func TestDirectoriesThatBecameLinks(t *testing.T) {
	s := newSandbox(t)
	s.repository("r")
	s.write("outside/deep/model.py", "content of a/deep/model.py\n")
	s.write("outside/b", "content of a/b\n")
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "r/a")))
	require.NoError(t, os.Symlink("../outside", filepath.Join(s.dir, "r/a")))
	_, _, dirty := s.see("r")
	require.NotEqual(t, "no", dirty)
}

func TestBudget(t *testing.T) {
	s := newSandbox(t)
	s.repository("r")
	later := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(s.dir, "r/train.py"), later, later))
	for want, b := range map[string]*budget{
		"unknown: it has 7 files, more than the 6 that are looked at": {deadline: later, entries: 6},
		"unknown: more files were touched than are read":              {deadline: later, entries: 7},
		"unknown: looking at all files took too long":                 {entries: 7, bytes: 1 << 20},
	} {
		g, ok := find(filepath.Join(s.dir, "r"))
		require.True(t, ok)
		commit, _ := g.head()
		require.Equal(t, want, g.dirty(commit, b))
		g.close()
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x00" + strings.Repeat("\x00", 20)))
	f.Add([]byte("DIRC\x00\x00\x00\x04\x00\x00\x00\x01" + strings.Repeat("\x00", 60) + "\x00\x01\x00a\x00" + strings.Repeat("\x00", 20)))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseIndex(data, 20, 1000)
		if err != nil {
			return
		}
		for _, e := range entries {
			require.True(t, isTrackable(e.name), "%q", e.name)
		}
		require.Len(t, treeName(entries, "", 20), 20)
	})
}
