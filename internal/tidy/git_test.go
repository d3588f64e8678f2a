package tidy

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// git runs the real git as a user would.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	cmd := exec.Command("git", append([]string{"-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always", "-c", "safe.directory=*"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %v: %s", args, out)
	return string(out)
}

// repository makes the root a repository with one commit of a tracked log, a tracked directory and .gitignore.
func (b *bench) repository() {
	b.Helper()
	git(b, b.root, "init", "-q", "-b", "main")
	b.write("tracked.log", "tracked")
	b.write("logs/tracked", "in logs")
	b.write(".gitignore", "ignored.log\n")
	git(b, b.root, "add", "-A")
	git(b, b.root, "commit", "-q", "-m", "x")
	b.write("ignored.log", "ignored")
	b.write("untracked.log", "untracked")
	b.write("logs/untracked", "in logs")
}

func gitOf(events []Event) map[string]Git {
	answers := make(map[string]Git)
	for _, e := range events {
		answers[filepath.Base(e.From)] = e.Git
	}
	return answers
}

func TestTrackedFilesAreLeftAlone(t *testing.T) {
	b := newBench(t)
	b.repository()
	events := b.pass()
	b.expect(events, "tidy_left logs", "tidy_left tracked.log", "tidied ignored.log", "tidied untracked.log")
	require.Equal(t, map[string]Git{"tracked.log": GitTracked, "logs": GitTracked, "ignored.log": GitIgnored, "untracked.log": GitUntracked}, gitOf(events))
	require.Equal(t, "git tracks it", reasonOf(t, events, "tracked.log"))
	require.Equal(t, GitIgnored, b.records(b.reports()[0])[0].Git)
}

func TestTrackedFilesAreRemovedFromTheIndex(t *testing.T) {
	b := newBench(t)
	b.repository()
	b.config += "tracked = 'git-rm'\n"
	b.expect(b.pass(), "tidied ignored.log", "tidied logs", "tidied tracked.log", "tidied untracked.log")
	require.Equal(t, "D  logs/tracked\nD  tracked.log\n?? reports/\n", git(t, b.root, "status", "--porcelain"))
	page, err := os.ReadFile(filepath.Join(b.reports()[0], pageName))
	require.NoError(t, err)
	require.Regexp(t, "`tracked.log`: file from `.*/root/tracked.log`, 7 bytes, sha256:.*, tracked, removed from the index of git", string(page))
	r := b.records(b.reports()[0])[2]
	require.Equal(t, []indexItem{{Mode: "100644", Blob: strings.TrimSpace(git(t, b.root, "rev-parse", "HEAD:tracked.log")), Path: "tracked.log"}}, r.Index)

	b.expect(b.undo(b.reports()[0]), "tidy_restored untracked.log", "tidy_restored tracked.log", "tidy_restored logs", "tidy_restored ignored.log")
	require.Equal(t, "?? logs/untracked\n?? reports/\n?? untracked.log\n", git(t, b.root, "status", "--porcelain"))
}

// The root may be a directory in a work tree.
func TestRootInsideAWorkTree(t *testing.T) {
	b := newBench(t)
	b.config += "tracked = 'git-rm'\n"
	git(t, b.dir, "init", "-q")
	b.write("tracked.log", "x")
	b.write("other.log", "y")
	git(t, b.dir, "add", "root/tracked.log")
	git(t, b.dir, "commit", "-q", "-m", "x")
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, ".gitignore"), []byte("/root/other.log\n"), 0o644))
	b.pass()
	require.Equal(t, map[string]Git{"tracked.log": GitTracked, "other.log": GitIgnored}, gitOf(b.events))
	require.Contains(t, git(t, b.dir, "status", "--porcelain"), "D  root/tracked.log\n")
	b.expect(b.undo(b.reports()[0]), "tidy_restored tracked.log", "tidy_restored other.log")
	require.NotContains(t, git(t, b.dir, "status", "--porcelain"), "tracked.log")
}

// What only the index holds would be lost; what the file holds too is not.
func TestStagedChangesStay(t *testing.T) {
	b := newBench(t)
	b.repository()
	b.config += "tracked = 'git-rm'\n"
	b.write("tracked.log", "staged")
	git(t, b.root, "add", "tracked.log")
	b.write("tracked.log", "and changed again")
	b.write("new.log", "new")
	b.write("logs/new", "new")
	git(t, b.root, "add", "new.log", "logs/new")
	events := b.pass()
	b.expect(events, "tidy_left tracked.log", "tidied ignored.log", "tidied logs", "tidied new.log", "tidied untracked.log")
	require.Contains(t, reasonOf(t, events, "tracked.log"), "in no commit")
	b.undo(b.reports()[0])
	require.Equal(t, "A  logs/new\nA  new.log\nMM tracked.log\n?? logs/untracked\n?? reports/\n?? untracked.log\n", git(t, b.root, "status", "--porcelain"))
}

func TestConflictsStay(t *testing.T) {
	b := newBench(t)
	b.repository()
	b.config += "tracked = 'git-rm'\n"
	git(t, b.root, "checkout", "-q", "-b", "other")
	b.write("tracked.log", "theirs")
	git(t, b.root, "commit", "-qam", "x")
	git(t, b.root, "checkout", "-q", "main")
	b.write("tracked.log", "ours")
	git(t, b.root, "commit", "-qam", "x")
	require.Error(t, exec.Command("git", "-C", b.root, "-c", "user.name=x", "-c", "user.email=x@y", "merge", "-q", "other").Run())
	require.Contains(t, reasonOf(t, b.pass(), "tracked.log"), "a merge left a conflict")
}

func TestSubmodulesStay(t *testing.T) {
	b := newBench(t)
	b.repository()
	b.config += "tracked = 'git-rm'\n"
	git(t, b.root, "submodule", "--quiet", "add", b.root, "core.sub")
	b.config = strings.Replace(b.config, "'logs/'", "'logs/', 'core.sub/'", 1)
	require.Contains(t, reasonOf(t, b.pass(), "core.sub"), `a repository of git is in it, at ".git"`)

	// One that is not checked out is an empty directory that git tracks.
	git(t, b.root, "submodule", "--quiet", "deinit", "-f", "core.sub")
	require.Contains(t, reasonOf(t, b.pass(), "core.sub"), `git tracks a submodule there`)
}

func TestSubmoduleAsTheRoot(t *testing.T) {
	b := newBench(t)
	b.repository()
	git(t, b.root, "submodule", "--quiet", "add", b.root, "sub")
	b.config += "tracked = 'git-rm'\n"
	b.root = b.path("sub")
	b.write("untracked.log", "x")
	c := b.load()
	c.Tidies[0].Root = b.root
	b.tidier = New(c.Tidies[0], c, b.opts)
	require.Equal(t, map[string]Git{"tracked.log": GitTracked, "untracked.log": GitUntracked, "logs": GitTracked}, gitOf(b.again()))
	require.Contains(t, git(t, b.root, "status", "--porcelain"), "D  tracked.log\n")
	require.Len(t, b.undo(b.reports()[0]), 3)
	require.Equal(t, "?? reports/\n?? untracked.log\n", git(t, b.root, "status", "--porcelain"))
}

func TestLinkedWorkTree(t *testing.T) {
	b := newBench(t)
	b.repository()
	tree := filepath.Join(b.dir, "tree")
	git(t, b.root, "worktree", "add", "-q", tree, "-b", "side")
	b.config += "tracked = 'git-rm'\n"
	main := b.root
	b.root = tree
	c := b.load()
	c.Tidies[0].Root = tree
	b.tidier = New(c.Tidies[0], c, b.opts)
	require.Equal(t, map[string]Git{"tracked.log": GitTracked, "logs": GitTracked}, gitOf(b.again()))
	require.Contains(t, git(t, tree, "status", "--porcelain"), "D  tracked.log\n")
	require.NotContains(t, git(t, main, "status", "--porcelain"), "D ")
	b.undo(b.reports()[0])
	require.Equal(t, "?? reports/\n", git(t, tree, "status", "--porcelain"))

	// As a stray it is left alone: the repository names it by its path.
	b.config = "match = ['w*/']\nmove_to = 'r'\n"
	b.root = main
	git(t, main, "worktree", "add", "-q", b.path("wt"), "-b", "side2")
	require.Contains(t, reasonOf(t, b.pass(), "wt"), "a repository of git is in it")
}

func TestBareRepositories(t *testing.T) {
	b := newBench(t)
	git(t, b.dir, "init", "-q", "--bare", b.path("bare.git"))
	b.config = "match = ['*.git/', 'nohup.out']\nmove_to = 'r'\n"
	require.Contains(t, reasonOf(t, b.pass(), "bare.git"), `a repository of git is in it, at "."`)

	git(t, b.dir, "init", "-q", "--bare", b.root)
	b.write("nohup.out", "x")
	events := b.pass()
	require.Equal(t, Refused, events[len(events)-1].Kind)
	require.Contains(t, events[len(events)-1].Reason, "the root is a git directory")
	require.FileExists(t, b.path("nohup.out"))
}

// Without git, what is tracked is read from the index, and nothing of it is moved.
func TestWithoutGit(t *testing.T) {
	for _, version := range []string{"2", "3", "4"} {
		t.Run("index version "+version, func(t *testing.T) {
			b := newBench(t)
			b.repository()
			b.write("intended.log", "x")
			git(t, b.root, "update-index", "--index-version", version)
			if version == "3" {
				git(t, b.root, "add", "-N", "intended.log") // only version 3 can say so
			}
			b.config += "tracked = 'git-rm'\n"
			t.Setenv("PATH", "/nowhere")
			events := b.pass()
			answers := gitOf(events)
			require.Equal(t, GitTracked, answers["tracked.log"])
			require.Equal(t, GitTracked, answers["logs"])
			require.Equal(t, GitUnknown, answers["untracked.log"])
			require.Contains(t, reasonOf(t, events, "tracked.log"), "no git in $PATH")
			require.FileExists(t, b.path("tracked.log"))
			require.NoFileExists(t, b.path("untracked.log"))
		})
	}
}

func TestWithoutGitASplitIndexStopsAll(t *testing.T) {
	b := newBench(t)
	b.repository()
	git(t, b.root, "update-index", "--split-index")
	t.Setenv("PATH", "/nowhere")
	events := b.pass()
	b.expect(events, "tidy_refused .")
	require.Contains(t, events[0].Reason, "without git nobody can tell what is tracked")
	require.FileExists(t, b.path("untracked.log"))
}

func TestSHA256Repository(t *testing.T) {
	b := newBench(t)
	git(t, b.root, "init", "-q", "--object-format=sha256")
	b.write("tracked.log", "x")
	git(t, b.root, "add", "-A")
	b.config += "tracked = 'git-rm'\n"
	items, err := readIndex(b.path(".git/index"), func(string) bool { return true })
	require.NoError(t, err)
	require.Len(t, items[0].Blob, 64)
	b.expect(b.pass(), "tidied tracked.log")
	require.Equal(t, "?? reports/\n", git(t, b.root, "status", "--porcelain"))
	b.undo(b.reports()[0])
	require.Equal(t, "A  tracked.log\n?? reports/\n", git(t, b.root, "status", "--porcelain"))
}

func TestIndexThatIsLocked(t *testing.T) {
	b := newBench(t)
	b.repository()
	b.config += "tracked = 'git-rm'\n"
	lock := b.write(".git/index.lock", "")
	events := b.pass()
	require.Contains(t, reasonOf(t, events, "tracked.log"), "it is still in the index of git")
	require.NoError(t, os.Remove(lock))
	require.Equal(t, Moved, events[2].Kind)
	require.Contains(t, b.records(b.reports()[0])[2].Note, "still in the index")
	require.Contains(t, git(t, b.root, "status", "--porcelain"), " D tracked.log\n")
	b.undo(b.reports()[0])
	require.NotContains(t, git(t, b.root, "status", "--porcelain"), " tracked.log")
}

func TestUndoLeavesANewIndexEntryAlone(t *testing.T) {
	b := newBench(t)
	b.repository()
	b.config += "tracked = 'git-rm'\n"
	b.pass()
	b.write("tracked.log", "another one")
	git(t, b.root, "add", "tracked.log")
	require.NoError(t, os.Remove(b.path("tracked.log")))
	events := b.undo(b.reports()[0])
	require.Contains(t, reasonOf(t, events, "tracked.log"), `it has entries for`)
	text, err := os.ReadFile(b.path("tracked.log"))
	require.NoError(t, err)
	require.Equal(t, "tracked", string(text))
}

// hostile makes the repository run a program wherever git runs one, as far as its own files can say so. The program
// leaves a file.
func (b *bench) hostile() (traces string) {
	b.Helper()
	traces = filepath.Join(b.dir, "traces")
	require.NoError(b, os.Mkdir(traces, 0o777))
	require.NoError(b, os.Chmod(traces, 0o777))
	script := func(name string) string {
		path := filepath.Join(b.dir, "evil-"+name)
		require.NoError(b, os.WriteFile(path, []byte(fmt.Sprintf("#!/bin/sh\ntouch '%s/%s'\ncat\n", traces, name)), 0o755))
		return path
	}
	hooks := filepath.Join(b.dir, "hooks")
	require.NoError(b, os.Mkdir(hooks, 0o755))
	for _, hook := range []string{"post-index-change", "pre-commit", "fsmonitor-watchman", "reference-transaction", "pre-auto-gc"} {
		require.NoError(b, os.Rename(script(hook), filepath.Join(hooks, hook)))
	}
	included := filepath.Join(b.dir, "included")
	keys := []string{"core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass", "core.gitProxy", "core.alternateRefsCommand",
		"diff.external", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.command", "diff.evil.textconv", "gpg.program",
		"credential.helper", "pager.ls-files", "pager.rm", "interactive.diffFilter", "merge.evil.driver", "trailer.x.command", "uploadpack.packObjectsHook"}
	for _, key := range keys {
		value := script(key)
		git(b, b.root, "config", key, value)
		git(b, b.root, "config", "-f", included, key, value)
	}
	git(b, b.root, "config", "include.path", included)
	git(b, b.root, "config", "core.hooksPath", hooks)
	for _, verb := range []string{"ls-files", "rm", "check-ignore", "ls-tree", "cat-file", "update-index"} {
		git(b, b.root, "config", "alias."+verb, "!"+script("alias-"+verb))
	}
	git(b, b.root, "config", "core.worktree", "/")
	git(b, b.root, "config", "core.untrackedCache", "true")
	git(b, b.root, "config", "extensions.partialClone", "origin")
	git(b, b.root, "config", "remote.origin.url", "ext::"+script("remote"))
	git(b, b.root, "config", "remote.origin.promisor", "true")
	git(b, b.root, "config", "protocol.ext.allow", "always")
	git(b, b.root, "config", "remote.origin.uploadpack", script("uploadpack"))
	require.NoError(b, os.WriteFile(b.path(".git/info/attributes"), []byte("* filter=evil diff=evil merge=evil\n"), 0o644))
	require.NoError(b, os.WriteFile(b.path(".gitattributes"), []byte("* filter=evil diff=evil merge=evil\n"), 0o644))
	return traces
}

func (b *bench) noTraces(traces string) {
	b.Helper()
	entries, err := os.ReadDir(traces)
	require.NoError(b, err)
	var ran []string
	for _, e := range entries {
		ran = append(ran, e.Name())
	}
	require.Empty(b, ran, "programs of the repository were run")
}

func TestNothingOfARepositoryIsRun(t *testing.T) {
	b := newBench(t)
	b.repository()
	traces := b.hostile()
	b.config += "tracked = 'git-rm'\n"
	b.write("again.log", "x")
	require.NotEmpty(t, b.pass())
	for _, e := range b.events {
		require.Equal(t, Moved, e.Kind, "%+v", e)
		require.Empty(t, e.Reason)
	}
	b.noTraces(traces)
	b.write("nohup.out", "re-created") // and stat data that does not match, which makes git look into files
	require.Len(t, b.undo(b.reports()[0]), 5)
	for _, e := range b.events {
		require.Equal(t, Restored, e.Kind, "%+v", e)
		require.Empty(t, e.Reason)
	}
	b.noTraces(traces)

	// The traps do work: a git that is not careful runs into them.
	_ = exec.Command("git", "-c", "safe.directory=*", "--git-dir", b.path(".git"), "--work-tree", b.root, "status").Run()
	entries, err := os.ReadDir(traces)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
}

// A missing object of a partial clone is not fetched: that would run what the repository names as the remote.
func TestNothingIsFetched(t *testing.T) {
	b := newBench(t)
	b.repository()
	traces := b.hostile()
	b.config += "tracked = 'git-rm'\n"
	require.NoError(t, filepath.WalkDir(b.path(".git/objects"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			return os.Remove(path)
		}
		return err
	}))
	b.pass()
	b.noTraces(traces)
	events := b.undo(b.reports()[0])
	require.Contains(t, reasonOf(t, events, "logs"), "no longer has what the index held")
	b.noTraces(traces)
	require.FileExists(t, b.path("logs/tracked"))
}

// As root, git runs as the owner of the repository, who may run what that user pleases and still runs nothing.
func TestRepositoryOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to be another user")
	}
	b := newBench(t)
	b.repository()
	traces := b.hostile()
	b.config += "tracked = 'git-rm'\n"
	openToAll(t, b.dir)
	giveAll(t, b.root, 12345)
	defer unix.Umask(unix.Umask(0o077))
	b.pass()
	for _, e := range b.events {
		require.Equal(t, Moved, e.Kind, "%+v", e)
		require.Empty(t, e.Reason)
	}
	b.noTraces(traces)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(b.path(".git/index"), &st))
	require.EqualValues(t, 12345, st.Uid, "git ran as root")
	for _, path := range []string{"reports", b.reports()[0], b.reports()[0] + "/moved.jsonl", b.reports()[0] + "/MOVED.md"} {
		require.NoError(t, unix.Stat(absolutePath(b.root, path), &st))
		require.EqualValues(t, 12345, st.Uid, path)
	}
	b.undo(b.reports()[0])
	for _, e := range b.events {
		require.Equal(t, Restored, e.Kind, "%+v", e)
		require.Empty(t, e.Reason)
	}
	b.noTraces(traces)
}

func absolutePath(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// openToAll lets every user pass through the directories of a test.
func openToAll(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
}

func giveAll(t *testing.T, dir string, uid int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	}))
}

// A .git file of one user that names the repository of another is not believed.
func TestGitFileThatPointsElsewhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to be another user")
	}
	b := newBench(t)
	b.repository()
	victim := filepath.Join(b.dir, "victim")
	require.NoError(t, os.Rename(b.path(".git"), victim))
	b.write(".git", "gitdir: "+victim+"\n")
	b.config += "tracked = 'git-rm'\n"
	giveAll(t, b.root, 12345)
	before, err := os.ReadFile(filepath.Join(victim, "index"))
	require.NoError(t, err)
	events := b.pass()
	b.expect(events, "tidy_refused .")
	require.Contains(t, events[0].Reason, "git is not asked, and nothing is moved")
	after, err := os.ReadFile(filepath.Join(victim, "index"))
	require.NoError(t, err)
	require.Equal(t, before, after)

	b.write(".git", "gitdir: /nowhere\n")
	b.expect(b.pass(), "tidy_refused .")
	b.write(".git", "no repository\n")
	require.Contains(t, b.pass()[0].Reason, "neither a directory nor names one")
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x00" + strings.Repeat("\x00", 20)))
	f.Add([]byte("DIRC\x00\x00\x00\x04\x00\x00\x00\x01" + strings.Repeat("\x00", 62) + "\x00a\x00" + strings.Repeat("\x00", 20)))
	f.Fuzz(func(t *testing.T, data []byte) {
		items, err := parseIndex(data, func(string) bool { return true })
		require.True(t, err == nil || items == nil)
		for _, item := range items {
			require.NotEmpty(t, item.Path)
		}
	})
}
