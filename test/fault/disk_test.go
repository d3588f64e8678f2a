package fault

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// disk is a small file system of its own, which nobody else sees, with the artifact directory on it. It
// belongs to this goroutine's thread, which ends with the test, and to the processes started from it.
type disk struct {
	*bench
	mount string
	image string // of an ext4
}

// disks are the kinds that are tested.
var disks = []struct {
	name string
	make func(*bench) *disk
}{{"tmpfs", (*bench).tmpfs}, {"ext4", (*bench).ext4}}

func (b *bench) ownMounts() *disk {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("mounting a small file system needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread cannot leave its mount namespace
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		b.Skipf("mounting a small file system needs a mount namespace of its own: %v", err)
	}
	require.NoError(b, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	d := &disk{bench: b, mount: filepath.Join(b.dir, "disk")}
	require.NoError(b, os.Mkdir(d.mount, 0o755))
	b.Cleanup(d.unmount)
	b.useArtifacts(filepath.Join(d.mount, "artifacts"))
	return d
}

func (d *disk) unmount() {
	d.Helper()
	if err := unix.Unmount(d.mount, unix.MNT_DETACH); !errors.Is(err, unix.EINVAL) { // not mounted
		require.NoError(d, err)
	}
}

// tmpfs is a disk of 8 MiB.
func (b *bench) tmpfs() *disk {
	b.Helper()
	d := b.ownMounts()
	require.NoError(b, unix.Mount("tmpfs", d.mount, "tmpfs", 0, "size=8m"))
	return d
}

// ext4 is a disk of 16 MiB in a file.
func (b *bench) ext4() *disk {
	b.Helper()
	for _, tool := range []string{"mkfs.ext4", "e2fsck", "losetup", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("a file system in a file needs %s: %v", tool, err)
		}
	}
	d := b.ownMounts()
	d.image = filepath.Join(b.dir, "ext4.img")
	require.NoError(b, os.WriteFile(d.image, nil, 0o600))
	require.NoError(b, os.Truncate(d.image, 16<<20))
	d.command("mkfs.ext4", "-q", "-m", "0", d.image)
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.mount).CombinedOutput(); err != nil {
		b.Skipf("loop devices do not work here: %s", out)
	}
	return d
}

func (d *disk) command(name string, args ...string) {
	d.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(d, err, "%s %v: %s", name, args, out)
}

// fill leaves so many bytes free, and returns the file that takes the rest.
func (d *disk) fill(leave int64) (ballast string) {
	d.Helper()
	ballast = filepath.Join(d.mount, "ballast")
	f, err := os.Create(ballast)
	require.NoError(d, err)
	defer f.Close()
	block := make([]byte, 64<<10)
	for err == nil && d.free() > leave {
		_, err = f.Write(block)
		require.NoError(d, errors.Join(f.Sync(), ignoreFull(err)))
	}
	for err == nil && leave == 0 { // what is left of the last block
		_, err = f.Write(block[:1])
		require.NoError(d, ignoreFull(err))
	}
	return ballast
}

func ignoreFull(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return nil
	}
	return err
}

func (d *disk) free() int64 {
	d.Helper()
	var s unix.Statfs_t
	require.NoError(d, unix.Statfs(d.mount, &s))
	return int64(s.Bavail) * s.Bsize
}

// nearlyFull is too little room for a bundle of 3 MiB.
const nearlyFull = 1 << 20

func TestPassOnAFullDisk(t *testing.T) {
	for _, kind := range disks {
		for _, leave := range []int64{nearlyFull, 0} {
			t.Run(kind.name, func(t *testing.T) { passOnAFullDisk(kind.make(newBench(t)), leave) })
		}
	}
}

func passOnAFullDisk(d *disk, leave int64) {
	small := d.addSet("1", 200_000, 1)
	d.mustOnce()
	ballast := d.fill(leave)
	big := d.addSet("2", memberSize, 11)

	r := d.once()
	require.Equal(d, 1, r.Code)
	require.Contains(d, r.Stderr, "no space left on device")
	require.Contains(d, r.Stderr, d.artifacts)
	d.requireNoStaging()
	d.requirePublished(map[string]checker.Set{"r1/1": small})

	require.NoError(d, os.Remove(ballast))
	d.mustOnce()
	d.requirePublished(map[string]checker.Set{"r1/1": small, "r1/2": big})
	d.mustVerify()
}

func TestDaemonOnAFullDisk(t *testing.T) {
	t.Parallel()
	for _, kind := range disks {
		for name, leave := range map[string]int64{kind.name: nearlyFull, kind.name + " to the brim": 0} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				daemonOnAFullDisk(kind.make(newBench(t)), leave)
			})
		}
	}
}

func daemonOnAFullDisk(b *disk, leave int64) {
	small := b.addSet("1", 200_000, 1)
	b.mustOnce()
	d := b.start()
	ballast := b.fill(leave)
	big := b.addSet("2", memberSize, 11)
	program.Eventually(b, "the cause is told", func() bool { return d.log.count("no space left on device") > 0 })
	time.Sleep(retryAfter + 2*time.Second) // it tries again in vain
	require.Equal(b, 1, d.log.count("no space left on device"), "the cause is told once:\n%s", d.log)
	b.requirePublished(map[string]checker.Set{"r1/1": small})

	require.NoError(b, os.Remove(ballast))
	want := map[string]checker.Set{"r1/1": small, "r1/2": big}
	program.Eventually(b, "the set is published when there is room", func() bool { return b.allVisible(want) })
	d.stop()
	b.requirePublished(want)
	b.mustVerify()
}

// retryAfter is how long the daemon waits before it tries again on a full disk.
const retryAfter = 10 * time.Second

// The disk turns read-only under the daemon, as ext4 does after an error. The cause is told once, and what
// was published stays. Once the disk is mended and mounted again, a new daemon bundles what is missing.
func TestDiskThatBecomesReadOnly(t *testing.T) {
	b := newBench(t).ext4()
	first := b.addSet("1", 200_000, 1)
	d := b.start()
	program.Eventually(t, "the first set is published", func() bool { return b.allVisible(map[string]checker.Set{"r1/1": first}) })
	b.command("mount", "-o", "remount,abort", b.mount)
	second := b.addSet("2", 200_000, 11)
	program.Eventually(t, "the cause is told", func() bool { return d.log.count(unix.EROFS.Error()) > 0 })
	b.requirePublished(map[string]checker.Set{"r1/1": first})
	d.end()
	require.LessOrEqual(t, d.log.count(unix.EROFS.Error()), 2, "the cause is told once, and what it left behind at the end:\n%s", d.log)

	b.unmount()
	// 1 is "errors corrected".
	if out, err := exec.Command("e2fsck", "-fy", b.image).CombinedOutput(); err != nil {
		require.Equal(t, 1, exitCode(err), "e2fsck: %s", out)
	}
	b.command("mount", "-o", "loop", b.image, b.mount)
	want := map[string]checker.Set{"r1/1": first, "r1/2": second}
	d = b.start()
	program.Eventually(t, "the second set is published", func() bool { return b.allVisible(want) })
	d.stop()
	b.requirePublished(want)
	b.mustVerify()
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
