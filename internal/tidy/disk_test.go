package tidy

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inMountNamespace lets this test mount what nobody else sees. Its thread ends with the test.
func inMountNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread cannot leave its mount namespace
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skipf("mounting needs a mount namespace of its own: %v", err)
	}
	require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}

func mount(t *testing.T, what, at, kind string, flags uintptr) {
	t.Helper()
	options := ""
	if kind == "tmpfs" {
		options = "size=256k"
	}
	require.NoError(t, unix.Mount(what, at, kind, flags, options))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(at, unix.MNT_DETACH)) })
}

// On a full disk nothing is moved and nothing is lost; with room again, the pass goes on.
func TestFullDisk(t *testing.T) {
	b := newBench(t)
	inMountNamespace(t)
	disk := filepath.Join(b.dir, "disk")
	require.NoError(t, os.Mkdir(disk, 0o755))
	mount(t, "tmpfs", disk, "tmpfs", 0)
	b.config = strings.Replace(b.config, "reports", disk+"/reports", 1)
	b.write("train.log", strings.Repeat("x", 100_000))
	fill := filepath.Join(disk, "fill")
	require.NoError(t, os.WriteFile(fill, make([]byte, 200_000), 0o644))
	before := files(t, b.root)

	events := b.pass()
	b.expect(events, "tidy_failed train.log")
	require.Contains(t, events[0].Reason, "no space left on device")
	require.Equal(t, before, files(t, b.root))
	require.NotContains(t, strings.Join(names(t, disk+"/reports"), " "), ".part")
	for range 3 {
		b.expect(b.again(), "tidy_failed train.log")
	}
	reports, err := filepath.Glob(disk + "/reports/*")
	require.NoError(t, err)
	require.Len(t, reports, 1, "each attempt uses the same directory")

	require.NoError(t, os.Remove(fill))
	b.expect(b.again(), "tidied train.log")
	require.Empty(t, files(t, b.root))
	b.expect(b.undo(reports[0]), "tidy_restored train.log")
	require.Equal(t, before, files(t, b.root))
}

// names lists all names below a directory.
func names(t *testing.T, dir string) []string {
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		found = append(found, path)
		return err
	}))
	return found
}

func TestReadOnlyDisk(t *testing.T) {
	b := newBench(t)
	inMountNamespace(t)
	b.write("train.log", "x")
	mount(t, b.root, b.root, "", unix.MS_BIND)
	require.NoError(t, unix.Mount("", b.root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	events := b.pass()
	b.expect(events, "tidy_failed train.log")
	require.Contains(t, events[0].Reason, "read-only file system")

	// Where the strays are is read-only, where they go is not: the copy is taken back.
	target := filepath.Join(b.dir, "elsewhere")
	b.config = strings.Replace(b.config, "reports", target, 1)
	events = b.pass()
	b.expect(events, "tidy_failed train.log")
	require.Contains(t, events[0].Reason, "read-only file system")
	require.Equal(t, map[string]string{"train.log": "x"}, files(t, b.root))
	require.Empty(t, files(t, target))
}
