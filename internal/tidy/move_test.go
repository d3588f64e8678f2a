package tidy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// look surveys a stray in the root.
func (b *bench) look(name string) *stray {
	b.Helper()
	root, err := tree.Open(b.root)
	require.NoError(b, err)
	b.Cleanup(func() { root.Close() })
	s, err := look(root, name)
	require.NoError(b, err)
	return s
}

func TestNamesThatAreTaken(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['*.log', 'moved.jsonl', 'MOVED.md', 'logs/']\nmove_to = 'attic'\n"
	for _, text := range []string{"1", "2", "3"} {
		b.write("a.log", text)
		b.write("logs/x", text)
		b.expect(b.pass(), "tidied a.log", "tidied logs")
	}
	b.write("moved.jsonl", "mine")
	b.write("MOVED.md", "mine too")
	b.expect(b.pass(), "tidied MOVED.md", "tidied moved.jsonl")
	require.Equal(t, map[string]string{
		"a.log": "1", "a.log-2": "2", "a.log-3": "3", "logs/x": "1", "logs-2/x": "2", "logs-3/x": "3",
		"moved.jsonl-2": "mine", "MOVED.md-2": "mine too",
	}, files(t, b.path("attic")))
}

func TestLongNamesThatAreTaken(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['*.log']\nmove_to = 'attic'\n"
	long := strings.Repeat("x", 251) + ".log"
	for range 2 {
		b.write(long, "x")
		b.expect(b.pass(), "tidied "+long)
	}
	require.Len(t, files(t, b.path("attic")), 2)
	b.expect(b.undo(b.path("attic")), "tidy_restored "+b.records(b.path("attic"))[1].base(), "undo_refused "+long)
}

func (r record) base() string { return filepath.Base(string(r.To)) }

// ways are the places that strays can go to: on the same file system and on another one.
func ways(t *testing.T, test func(*testing.T, *bench, string)) {
	t.Run("same file system", func(t *testing.T) {
		b := newBench(t)
		test(t, b, b.path("attic"))
	})
	t.Run("another file system", func(t *testing.T) {
		b := newBench(t)
		target := otherDisk(t, b.root)
		b.config = strings.Replace(b.config, "reports/{utc}", target, 1)
		test(t, b, target)
	})
}

func TestAttributesAreKept(t *testing.T) {
	ways(t, func(t *testing.T, b *bench, target string) {
		b.config = strings.Replace(b.config, "reports/{utc}", "attic", 1)
		path := b.write("train.log", "some text")
		require.NoError(t, unix.Setxattr(path, "user.origin", []byte("trainer\x00x"), 0))
		if os.Geteuid() == 0 {
			require.NoError(t, os.Chown(path, 12345, 54321))
		}
		require.NoError(t, unix.Chmod(path, 0o4750))
		times := []unix.Timespec{{Sec: 1_600_000_000, Nsec: 123_456_789}, {Sec: 1_500_000_000, Nsec: 987_654_321}}
		require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0))
		setACL(t, path)
		before := stateOf(t, path)

		b.expect(b.pass(), "tidied train.log")
		after := stateOf(t, filepath.Join(target, "train.log"))
		require.Equal(t, before, after)
		require.Equal(t, before.mode&0o7777, uint32(0o4750))
		b.expect(b.undo(target), "tidy_restored train.log")
		require.Equal(t, before, stateOf(t, path))
	})
}

// setACL sets a POSIX access control list as setfacl -m u:12345:r does: version 2, then tag, permissions and id.
func setACL(t *testing.T, path string) {
	t.Helper()
	acl := []byte("\x02\x00\x00\x00" +
		"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x39\x30\x00\x00" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x10\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")
	require.NoError(t, unix.Setxattr(path, "system.posix_acl_access", acl, 0))
}

type fileState struct {
	mode, uid, gid uint32
	access, modify unix.Timespec
	size           int64
	xattrs         map[string]string
}

func stateOf(t *testing.T, path string) fileState {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	s := fileState{mode: st.Mode, uid: st.Uid, gid: st.Gid, access: st.Atim, modify: st.Mtim, size: st.Size, xattrs: map[string]string{}}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOATIME, 0)
	require.NoError(t, err)
	defer f.Close()
	names, err := xattrNames(f)
	require.NoError(t, err)
	for _, name := range names {
		value, err := xattrValue(f, name)
		require.NoError(t, err)
		s.xattrs[name] = string(value)
	}
	return s
}

func TestDirectoriesAreMovedWhole(t *testing.T) {
	ways(t, func(t *testing.T, b *bench, target string) {
		b.config = strings.Replace(b.config, "reports/{utc}", "attic", 1)
		b.write("logs/version_0/metrics.csv", "1,2")
		b.write("logs/version_0/.hidden", "h")
		b.write("logs/a\nb\xff", "odd")
		require.NoError(t, os.Mkdir(b.path("logs/empty"), 0o700))
		require.NoError(t, os.Symlink("version_0", b.path("logs/latest")))
		require.NoError(t, os.Symlink("/etc", b.path("logs/outside")))
		require.NoError(t, os.Link(b.path("logs/version_0/metrics.csv"), b.path("logs/twin")))
		old := time.Unix(1_500_000_000, 5000)
		require.NoError(t, os.Chtimes(b.path("logs/version_0"), old, old))
		require.NoError(t, os.Chmod(b.path("logs/version_0"), 0o750))
		before, state := files(t, b.path("logs")), stateOf(t, b.path("logs/version_0"))

		b.expect(b.pass(), "tidied logs")
		require.NoFileExists(t, b.path("logs"))
		after := stateOf(t, filepath.Join(target, "logs/version_0"))
		after.size = state.size // a file system's own affair
		require.Equal(t, state, after)
		require.Equal(t, before, files(t, filepath.Join(target, "logs")))
		require.DirExists(t, filepath.Join(target, "logs/empty"))
		requireSameFile(t, filepath.Join(target, "logs/twin"), filepath.Join(target, "logs/version_0/metrics.csv"))

		b.expect(b.undo(target), "tidy_restored logs")
		require.Equal(t, before, files(t, b.path("logs")))
		requireSameFile(t, b.path("logs/twin"), b.path("logs/version_0/metrics.csv"))
		noLitter(t, b.root)
		noLitter(t, target)
	})
}

func requireSameFile(t *testing.T, a, b string) {
	t.Helper()
	first, err := os.Stat(a)
	require.NoError(t, err)
	second, err := os.Stat(b)
	require.NoError(t, err)
	require.True(t, os.SameFile(first, second))
}

// noLitter wants no name that this package gives for a moment.
func noLitter(t *testing.T, dir string) {
	t.Helper()
	for _, name := range names(t, dir) {
		require.NotContains(t, name, ownPrefix)
	}
}

func TestHolesStayHoles(t *testing.T) {
	b := newBench(t)
	target := otherDisk(t, b.root)
	b.config = strings.Replace(b.config, "reports/{utc}", target, 1)
	f, err := os.Create(b.path("core.1234"))
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("data"), 10<<20)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(64<<20))
	require.NoError(t, f.Close())
	b.expect(b.pass(), "tidied core.1234")
	var st unix.Stat_t
	require.NoError(t, unix.Stat(filepath.Join(target, "core.1234"), &st))
	require.EqualValues(t, 64<<20, st.Size)
	require.Less(t, st.Blocks*512, int64(1<<20))
	require.Equal(t, "copy", b.records(target)[0].Method)
}

func TestHardLinksAreNoted(t *testing.T) {
	b := newBench(t)
	b.write("train.log", "x")
	require.NoError(t, os.Link(b.path("train.log"), b.path("second name")))
	b.expect(b.pass(), "tidied train.log")
	r := b.records(b.reports()[0])[0]
	require.EqualValues(t, 2, r.Links)
	require.Contains(t, r.Note, "it has 2 names")
	require.FileExists(t, b.path("second name"))
}

func TestMoveToTemplates(t *testing.T) {
	b := newBench(t)
	b.clock = time.Date(2125, 10, 17, 10, 47, 0, 0, time.UTC)
	b.config = strings.Replace(b.config, "reports/{utc}", "r/{host}/{date}/x-{name}/{utc}", 1)
	b.write("a.log", "a")
	b.write("b.log", "b")
	b.expect(b.pass(), "tidied a.log", "tidied b.log")
	base := "r/" + hostname() + "/2125-10-17/x-"
	require.Equal(t, map[string]string{base + "a.log/2125-10-17T104700Z/a.log": "a", base + "b.log/2125-10-17T104700Z/b.log": "b"}, files(t, b.root))
}

// Strays land in the report directory of the run whose member was written last.
func TestStraysLandInTheActiveRun(t *testing.T) {
	b := newBench(t)
	runs := filepath.Join(b.dir, "runs")
	b.config = "match = ['*.log']\nwatch = 'w'\nmove_to = '" + runs + "/{run}/reports'\n[artifacts]\ndir = 'artifacts'\n"
	b.watch = "[[watch]]\nname = 'w'\nroot = 'runs'\n[watch.members]\na = '{run...}/ckpt/{epoch}.ckpt'\nb = '{run...}/b-{epoch}.ckpt'\n"
	b.write("train.log", "x")
	require.NoError(t, os.Mkdir(runs, 0o755))
	events := b.pass()
	b.expect(events, "tidy_left train.log")
	require.Contains(t, events[0].Reason, `move_to needs {run}: no run of the watch has a member yet "w"`)

	for i, run := range []string{"exp/new", "exp/old"} {
		path := filepath.Join(runs, run, "ckpt", "1.ckpt")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		at := time.Now().Add(-time.Duration(i) * time.Hour)
		require.NoError(t, os.Chtimes(path, at, at))
	}
	b.expect(b.pass(), "tidied train.log")
	require.FileExists(t, filepath.Join(runs, "exp/new/reports/train.log"))
	require.Equal(t, 1, len(b.history()))

	// A member of the other role makes its run the active one.
	require.NoError(t, os.WriteFile(filepath.Join(runs, "exp/old/b-2.ckpt"), nil, 0o644))
	b.write("more.log", "y")
	b.expect(b.pass(), "tidied more.log")
	require.FileExists(t, filepath.Join(runs, "exp/old/reports/more.log"))
	require.Equal(t, 2, len(b.history()))
}

// A root inside the root of the watch is tidied into its own run.
func TestRunDirectoriesAreTidiedIntoThemselves(t *testing.T) {
	b := newBench(t)
	b.root = filepath.Join(b.dir, "runs", "r1")
	b.config = "match = ['*.log']\nwatch = 'w'\nmove_to = '" + b.dir + "/reports/{run}'\n[artifacts]\ndir = 'artifacts'\n"
	b.watch = "[[watch]]\nname = 'w'\nroot = 'runs'\n[watch.members]\na = '{run}/{epoch}.ckpt'\n"
	b.write("1.ckpt", "")
	b.write("train.log", "x")
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(b.path("1.ckpt"), old, old))
	b.write("../r2/1.ckpt", "")
	c := b.load()
	c.Tidies[0].Root = b.root
	b.tidier = New(c.Tidies[0], c, b.opts)
	b.expect(b.again(), "tidied train.log")
	require.FileExists(t, filepath.Join(b.dir, "reports/r1/train.log"))
}

func (b *bench) history() history {
	b.Helper()
	root, err := tree.Open(b.root)
	require.NoError(b, err)
	defer root.Close()
	h, err := b.tidier.readHistory(b.Context(), root)
	require.NoError(b, err)
	return h
}

func TestDryRunChangesNothing(t *testing.T) {
	b := newBench(t)
	b.write("train.log", "x")
	b.opts.DryRun = true
	events := b.pass()
	b.expect(events, "tidy_ready train.log")
	require.Regexp(t, `/root/reports/.*Z/train.log$`, events[0].To)
	require.NoDirExists(t, b.path("reports"))
}

func TestHostileNames(t *testing.T) {
	ways(t, func(t *testing.T, b *bench, target string) {
		b.config = strings.NewReplacer("reports/{utc}", "attic", "'*.log'", "'*.log', '..log*'").Replace(b.config)
		hostile := []string{"new\nline.log", "\x1b[31mred.log", "..log.log", "-rf.log", "a`b``c.log", "<pre>|[x](y).log", "\xff\xfe.log",
			"\u202egol.log", "{utc}.log", ":(glob)x.log", `"quoted".log`, "a b.log", "\\.log", "$(x).log"}
		var want []string
		for i, name := range hostile {
			b.write(name, string(rune('a'+i)))
			want = append(want, string(rune('a'+i)))
		}
		if _, err := exec.LookPath("git"); err == nil {
			git(t, b.root, "init", "-q")
		}
		require.Len(t, b.pass(), len(hostile))
		for _, e := range b.events {
			require.Equal(t, Moved, e.Kind, "%+v", e)
		}
		moved := files(t, target)
		require.Len(t, moved, len(hostile))
		for i, name := range hostile {
			require.Equal(t, want[i], moved[name], "%q", name)
		}
		page, err := os.ReadFile(filepath.Join(target, pageName))
		require.NoError(t, err)
		require.Equal(t, len(hostile)+4, strings.Count(string(page), "\n"), "one line for each")
		require.NotContains(t, string(page), "\x1b")
		require.NotContains(t, string(page), "\u202e")
		journal, err := os.ReadFile(filepath.Join(target, journalName))
		require.NoError(t, err)
		require.NotContains(t, string(journal), "\x1b")
		require.NotContains(t, string(journal), "\u202e")
		require.Equal(t, 2*len(hostile), strings.Count(string(journal), "\n"))
		require.Len(t, b.undo(target), len(hostile))
		for i, name := range hostile {
			text, err := os.ReadFile(b.path(name))
			require.NoError(t, err)
			require.Equal(t, want[i], string(text))
		}
	})
}
