package fault

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of 4 MiB, which nobody else sees, as the parent of the artifact directory.
// It belongs to this goroutine's thread, which ends with the test, and to the processes started from it.
func (b *bench) smallDisk() (mount string) {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("mounting a small file system needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread cannot leave its mount namespace
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		b.Skipf("mounting a small file system needs a mount namespace of its own: %v", err)
	}
	require.NoError(b, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	mount = filepath.Join(b.dir, "disk")
	require.NoError(b, os.Mkdir(mount, 0o755))
	require.NoError(b, unix.Mount("tmpfs", mount, "tmpfs", 0, "size=4m"))
	b.Cleanup(func() { require.NoError(b, unix.Unmount(mount, unix.MNT_DETACH)) })
	b.useArtifacts(filepath.Join(mount, "artifacts"))
	return mount
}

// fill leaves too little room for a bundle of 3 MiB.
func (b *bench) fill(mount string) (ballast string) {
	b.Helper()
	ballast = filepath.Join(mount, "ballast")
	require.NoError(b, os.WriteFile(ballast, make([]byte, 2<<20), 0o644))
	return ballast
}

func TestPassOnAFullDisk(t *testing.T) {
	b := newBench(t)
	mount := b.smallDisk()
	small := b.addSet("1", 200_000, 1)
	b.mustOnce()
	ballast := b.fill(mount)
	big := b.addSet("2", memberSize, 11)

	r := b.once()
	require.Equal(t, 1, r.Code)
	require.Contains(t, r.Stderr, "no space left on device")
	require.Contains(t, r.Stderr, b.artifacts)
	b.requireNoStaging()
	b.requirePublished(map[string]set{"r1/1": small})

	require.NoError(t, os.Remove(ballast))
	b.mustOnce()
	b.requirePublished(map[string]set{"r1/1": small, "r1/2": big})
	b.mustVerify()
}

func TestDaemonOnAFullDisk(t *testing.T) {
	b := newBench(t)
	mount := b.smallDisk()
	small := b.addSet("1", 200_000, 1)
	b.mustOnce()
	ballast := b.fill(mount)
	d := b.start()
	attempts := b.watchStaging()
	big := b.addSet("2", memberSize, 11)
	for n := 0; n < 2; {
		e := <-attempts.Events
		if e.Has(fsnotify.Create) && !strings.HasSuffix(e.Name, ".lock") {
			n++
		}
	}
	require.Equal(t, 1, d.log.count("no space left on device"), "the cause is told once:\n%s", d.log)
	b.requirePublished(map[string]set{"r1/1": small})

	require.NoError(t, os.Remove(ballast))
	eventually(t, "the set is published when there is room", func() bool { return d.log.count("bundle published") == 1 })
	d.stop()
	b.requirePublished(map[string]set{"r1/1": small, "r1/2": big})
	b.mustVerify()
}

// watchStaging reports what appears in the staging directory.
func (b *bench) watchStaging() *fsnotify.Watcher {
	b.Helper()
	w, err := fsnotify.NewWatcher()
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, w.Close()) })
	require.NoError(b, w.Add(filepath.Join(b.artifacts, ".staging")))
	return w
}
