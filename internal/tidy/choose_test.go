package tidy

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func reasonOf(t testing.TB, events []Event, name string) string {
	t.Helper()
	for _, e := range events {
		if filepath.Base(e.From) == name {
			return e.Reason
		}
	}
	t.Fatalf("nothing was told of %q: %+v", name, events)
	return ""
}

func TestOnlyWhatMatchesIsMoved(t *testing.T) {
	b := newBench(t)
	b.config += "keep = ['CHANGES*', 'keep.log/', 'kept.log']\n"
	b.write("train.log", "a")
	b.write("CHANGES.log", "b")
	b.write("README.md", "c")
	b.write(".hidden.log", "d")
	b.write("logs/version_0/metrics.csv", "e")
	b.write("below/deep.log", "f")
	b.write("dir.log/x", "g")   // a directory, and the pattern names files
	b.write("nohup.out/x", "h") // the same
	require.NoError(t, os.WriteFile(b.path("kept.log"), nil, 0o644))
	b.expect(b.pass(), "tidy_left CHANGES.log", "tidy_left kept.log", "tidied logs", "tidied train.log")
	require.Len(t, b.reports(), 1)
	to := strings.TrimPrefix(b.reports()[0], b.root+"/")
	require.Regexp(t, `^reports/\d{4}-\d\d-\d\dT\d{6}Z$`, to)
	require.Equal(t, map[string]string{
		to + "/train.log": "a", "CHANGES.log": "b", "README.md": "c", ".hidden.log": "d", to + "/logs/version_0/metrics.csv": "e",
		"below/deep.log": "f", "dir.log/x": "g", "nohup.out/x": "h", "kept.log": "",
	}, files(t, b.root))
	b.expect(b.pass(), "tidy_left CHANGES.log", "tidy_left kept.log")
}

func TestDotFilesAreNamed(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['.nfs*', '.git']\nmove_to = 'r'\n"
	b.write(".nfs01", "a")
	b.write(".git", "gitdir: nowhere")
	require.Equal(t, "it is git's", reasonOf(t, b.pass(), ".git"))
}

func TestYoungStraysWait(t *testing.T) {
	b := newBench(t)
	b.write("train.log", "a")
	b.clock = time.Now().Add(5 * time.Minute)
	c := b.load()
	b.tidier = New(c.Tidies[0], c, b.opts)
	due, err := b.tidier.Pass(t.Context())
	require.NoError(t, err)
	b.expect(b.events, "tidy_left train.log")
	require.Contains(t, b.events[0].Reason, "min_age is 10m")
	b.clock = due
	b.expect(b.again(), "tidied train.log")
}

// An old time of the last write does not hide that the file was changed a moment ago.
func TestAgeIsThatOfAnyChange(t *testing.T) {
	b := newBench(t)
	path := b.write("train.log", "a")
	old := time.Now().Add(-48 * time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	b.clock = time.Now()
	require.Regexp(t, `^it changed \d+s ago`, reasonOf(t, b.pass(), "train.log"))
	b.write("logs/a", "young")
	require.NoError(t, os.Chtimes(b.path("logs/a"), old, old))
	require.Regexp(t, `^it changed \d+s ago`, reasonOf(t, b.pass(), "logs"))
}

func TestTimesInTheFutureAreYoung(t *testing.T) {
	b := newBench(t)
	path := b.write("train.log", "a")
	require.NoError(t, os.Chtimes(path, time.Now(), time.Now().Add(1000*time.Hour)))
	b.expect(b.pass(), "tidy_left train.log")
}

func TestLargeStraysStay(t *testing.T) {
	b := newBench(t)
	b.config += "max_size = '4B'\n"
	b.write("a.log", "1234")
	b.write("b.log", "12345")
	b.write("logs/a", "123")
	b.write("logs/b", "45")
	b.expect(b.pass(), "tidy_left b.log", "tidy_left logs", "tidied a.log")
	require.Contains(t, reasonOf(t, b.pass(), "logs"), "5 bytes, and max_size is 4")
}

func TestOnlyFilesAndNamedDirectories(t *testing.T) {
	b := newBench(t)
	require.NoError(t, unix.Mkfifo(b.path("pipe.log"), 0o644))
	l, err := net.Listen("unix", b.path("socket.log"))
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, os.Symlink("/etc/passwd", b.path("link.log")))
	b.expect(b.pass(), "tidy_left link.log", "tidy_left pipe.log", "tidy_left socket.log")
	require.NoError(t, os.MkdirAll(b.path("logs"), 0o755))
	require.NoError(t, unix.Mkfifo(b.path("logs/pipe"), 0o644))
	require.Contains(t, reasonOf(t, b.pass(), "logs"), `"pipe" in it is a pipe`)
	require.NoError(t, os.Remove(b.path("logs/pipe")))
	require.NoError(t, os.Remove(b.path("logs")))
	require.NoError(t, os.Symlink(b.dir, b.path("logs"))) // a link to a directory is no directory
	b.expect(b.pass(), "tidy_left link.log", "tidy_left pipe.log", "tidy_left socket.log")
}

func TestLinksAreMovedAsLinks(t *testing.T) {
	b := newBench(t)
	b.config += "symlinks = true\n"
	outside := filepath.Join(b.dir, "outside")
	require.NoError(t, os.WriteFile(outside, []byte("x"), 0o600))
	require.NoError(t, os.Symlink(outside, b.path("a.log")))
	require.NoError(t, os.Symlink("nowhere", b.path("b.log")))
	b.expect(b.pass(), "tidied a.log", "tidied b.log")
	target, err := os.Readlink(filepath.Join(b.reports()[0], "a.log"))
	require.NoError(t, err)
	require.Equal(t, outside, target)
	b.expect(b.undo(b.reports()[0]), "tidy_restored b.log", "tidy_restored a.log")
	require.Equal(t, map[string]string{"a.log": outside, "b.log": "nowhere"}, files(t, b.root))
}

// sleeper is a process that does something with a file for as long as the test runs.
func sleeper(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script+"; echo ready; read x")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 6))
	require.NoError(t, err)
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
}

func TestOpenFilesStay(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"read.log", "write.log", "logs/read", "free.log"} {
		b.write(name, "x")
	}
	require.NoError(t, os.Mkdir(b.path("core.d"), 0o755))
	sleeper(t, b.root, "exec 3<read.log 4>>write.log 5<logs/read")
	events := b.pass()
	b.expect(events, "tidied free.log", "tidy_left logs", "tidy_left read.log", "tidy_left write.log")
	for _, name := range []string{"read.log", "write.log", "logs"} {
		require.Regexp(t, `^it is open in process \d+ \(sh\)$`, reasonOf(t, events, name))
	}
}

func TestWorkingDirectoriesStay(t *testing.T) {
	b := newBench(t)
	b.write("logs/run/x", "x")
	sleeper(t, b.path("logs/run"), "true")
	require.Regexp(t, `^it is open in process \d+ \(sh\)$`, reasonOf(t, b.pass(), "logs"))
}

// A file that is mapped and not open any more is in use.
func TestMappedFilesStay(t *testing.T) {
	b := newBench(t)
	path := b.write("train.log", "mapped")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	memory, err := unix.Mmap(int(f.Fd()), 0, 6, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "a process has it open for writing", reasonOf(t, b.pass(), "train.log"))
	require.NoError(t, unix.Munmap(memory))
	b.expect(b.pass(), "tidied train.log")
}

// Where leases say nothing, /proc is asked, also for what is mapped.
func TestUsersAreFoundWithoutLeases(t *testing.T) {
	b := newBench(t)
	b.write("train.log", "x")
	b.write("other.log", "x")
	require.NoError(t, os.Link(b.path("other.log"), filepath.Join(b.dir, "second name")))
	sleeper(t, b.root, "exec 3<train.log 4<'../second name'")
	for _, name := range []string{"train.log", "other.log"} {
		s := b.look(name)
		require.Regexp(t, `^process \d+ \(sh\)$`, openBy(s), name)
	}
	b.write("logs/tool", "#!/bin/sh\n")
	require.Empty(t, openBy(b.look("logs")))
}

func TestWhatBundlewatchUsesStays(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['*.ckpt', '*.json', 'DONE', 'runs/', 'reports/', 'r*/', 'x.log', 'cfg/']\nmove_to = 'reports/{utc}'\nkeep = []\ni_know = true\n" +
		"[artifacts]\ndir = 'artifacts'\n"
	b.watch = "[[watch]]\nname = 'w'\nroot = 'root'\nmarker = '{run...}/DONE'\n[watch.members]\na = '{run...}/{epoch}.ckpt'\n[watch.config]\nfiles = ['{run...}/*.json']\n"
	b.write("7.ckpt", "a")
	b.write("x.json", "c")
	b.write("DONE", "")
	b.write("runs/r1/8.ckpt", "b")
	b.write("reports/old/moved.jsonl", "")
	b.write("rest/x", "moved")
	b.write("x.log", "moved")
	events := b.pass()
	b.expect(events, "tidy_left 7.ckpt", "tidy_left DONE", "tidy_left reports", "tidy_left runs", "tidy_left x.json", "tidied rest", "tidied x.log")
	require.Equal(t, "it is a member of watch w", reasonOf(t, events, "7.ckpt"))
	require.Equal(t, `"r1/8.ckpt" in it: it is a member of watch w`, reasonOf(t, events, "runs"))
	require.Equal(t, "bundlewatch uses it: where strays are moved to", reasonOf(t, events, "reports"))
	require.Equal(t, "it is a config file or the marker of watch w", reasonOf(t, events, "DONE"))
}

func TestArtifactsStay(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['out/', 'x/']\nmove_to = 'reports/{utc}'\ni_know = true\n[artifacts]\ndir = 'root/out/artifacts'\n"
	b.write("out/x", "")
	b.write("x/x", "")
	events := b.pass()
	b.expect(events, "tidy_left out", "tidied x")
	require.Equal(t, "bundlewatch uses it: artifacts.dir", reasonOf(t, events, "out"))
}

func TestConfigOfBundlewatchStays(t *testing.T) {
	b := newBench(t)
	c := b.load()
	c.Path = b.write("bw.log", "the config")
	b.tidier = New(c.Tidies[0], c, b.opts)
	require.Equal(t, "bundlewatch uses it: the config of bundlewatch", reasonOf(t, b.again(), "bw.log"))
}

// A stray that a watch would take for a checkpoint at its new place stays.
func TestStraysDoNotBecomeMembers(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['*.h5']\nmove_to = 'runs/{utc}'\n[artifacts]\ndir = 'artifacts'\n"
	b.watch = "[[watch]]\nname = 'w'\nroot = 'root/runs'\n[watch.members]\na = '{run...}/{epoch}.h5'\n"
	b.write("7.h5", "a")
	require.Contains(t, reasonOf(t, b.pass(), "7.h5"), "a watch would take it: it is a member of watch w")
	require.Empty(t, b.events[0].To)
}

func TestRecordsOfEarlierMovesStay(t *testing.T) {
	b := newBench(t)
	b.write("logs/2025/moved.jsonl", "")
	require.Contains(t, reasonOf(t, b.pass(), "logs"), "record of earlier moves")
}

func TestMountPointsStay(t *testing.T) {
	b := newBench(t)
	inMountNamespace(t)
	b.write("train.log", "below the mount")
	other := filepath.Join(b.dir, "other")
	require.NoError(t, os.WriteFile(other, []byte("x"), 0o644))
	require.NoError(t, os.MkdirAll(b.path("logs/disk"), 0o755))
	mount(t, other, b.path("train.log"), "", unix.MS_BIND)
	mount(t, "tmpfs", b.path("logs/disk"), "tmpfs", 0)
	events := b.pass()
	b.expect(events, "tidy_left logs", "tidy_left train.log")
	require.Equal(t, "something is mounted there", reasonOf(t, events, "train.log"))
	require.Equal(t, `something is mounted in it, at "disk"`, reasonOf(t, events, "logs"))
}
