package watch

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestUnusable(t *testing.T) {
	notRegular := func(t *testing.T, reason error, what string) {
		t.Helper()
		require.ErrorIs(t, reason, ErrNotRegular)
		require.ErrorContains(t, reason, what)
	}
	link := func(target string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { require.NoError(t, os.Symlink(target, path)) }
	}
	isLink := func(want LinkError) func(*testing.T, error) {
		return func(t *testing.T, reason error) {
			var got *LinkError
			require.ErrorAs(t, reason, &got)
			require.Equal(t, want, *got)
			require.ErrorContains(t, reason, fmt.Sprintf("%q", want.Target))
		}
	}
	for _, test := range []struct {
		name  string
		make  func(t *testing.T, path string)
		check func(t *testing.T, reason error)
	}{
		{"fifo", func(t *testing.T, path string) { require.NoError(t, unix.Mkfifo(path, 0o644)) },
			func(t *testing.T, reason error) { notRegular(t, reason, "FIFO") }},
		{"socket", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			require.NoError(t, err)
			t.Cleanup(func() { l.Close() })
		}, func(t *testing.T, reason error) { notRegular(t, reason, "socket") }},
		{"device", func(t *testing.T, path string) {
			if err := unix.Mknod(path, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))); err != nil {
				t.Skipf("cannot make a device: %v", err)
			}
		}, func(t *testing.T, reason error) { notRegular(t, reason, "device") }},
		{"directory", func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o755)) },
			func(t *testing.T, reason error) { notRegular(t, reason, "directory") }},
		{"dangling link", link("nowhere"), isLink(LinkError{Target: "nowhere", Dangling: true})},
		{"link to a file", link("real.txt"), isLink(LinkError{Target: "real.txt"})},
		{"link to itself", link("x.ckpt"), isLink(LinkError{Target: "x.ckpt"})},
		{"absolute link", link("/etc/passwd"), isLink(LinkError{Target: "/etc/passwd", Outside: true})},
		{"link that leaves", link("../../etc"), isLink(LinkError{Target: "../../etc", Outside: true})},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Short, for the length of a socket's path.
			root, err := os.MkdirTemp("", "w")
			require.NoError(t, err)
			t.Cleanup(func() { os.RemoveAll(root) })
			path := filepath.Join(root, "x.ckpt")
			test.make(t, path)
			write(t, filepath.Join(root, "real.txt"), "x")
			r := start(t, options(root))
			fact := r.fact(Unusable, "x.ckpt")
			require.Nil(t, fact.File)
			test.check(t, fact.Reason)
			require.NoError(t, os.Remove(path))
			r.fact(Gone, "x.ckpt")
			write(t, path, "a file at last")
			r.fact(Settled, "x.ckpt")
		})
	}
}

func TestFIFOIsNeverOpened(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "x.ckpt")
	require.NoError(t, unix.Mkfifo(path, 0o644))
	r := start(t, options(root))
	r.fact(Unusable, "x.ckpt")
	_, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	require.ErrorIs(t, err, unix.ENXIO, "somebody reads the FIFO")
}

func TestTreeOpensNoFIFOThatTookAFilesPlace(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, unix.Mkfifo(filepath.Join(root, "x.ckpt"), 0o644))
	tr, err := openTree(root)
	require.NoError(t, err)
	defer tr.close()
	before := openFiles(t)
	_, _, err = tr.file("x.ckpt")
	require.ErrorIs(t, err, ErrNotRegular)
	require.Equal(t, before, openFiles(t))
}

func TestLinkedDirectoriesAreNotEntered(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "secret.ckpt"), "x")
	write(t, filepath.Join(root, "run1", "a.ckpt"), "x")
	require.NoError(t, os.Symlink("run1", filepath.Join(root, "latest")))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "out")))
	require.NoError(t, os.Symlink(".", filepath.Join(root, "loop")))
	facts, err := Once(t.Context(), options(root))
	require.NoError(t, err)
	require.Len(t, facts, 1)
	defer facts[0].File.Close()
	require.Equal(t, "run1/a.ckpt", facts[0].Path)
}

const unprivilegedEnv = "BUNDLEWATCH_TEST_UNPRIVILEGED"

const nobody = 65534

func dropPrivileges() {
	for _, drop := range []func() error{
		func() error { return syscall.Setgroups(nil) },
		func() error { return syscall.Setgid(nobody) },
		func() error { return syscall.Setuid(nobody) },
	} {
		if err := drop(); err != nil {
			panic(err)
		}
	}
}

// unprivileged runs the calling test again, over the same root, in a process without the powers of uid 0.
// It returns false in the process that started the other.
func unprivileged(t *testing.T, root string) bool {
	t.Helper()
	if os.Getenv(unprivilegedEnv) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("only root can test what another user may not read")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), unprivilegedEnv+"="+root)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

func TestUnreadableFile(t *testing.T) {
	root := os.Getenv(unprivilegedEnv)
	if root == "" {
		// t.TempDir's parent may be closed to others.
		dir, err := os.MkdirTemp("", "w")
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		require.NoError(t, os.Chmod(dir, 0o777))
		root = dir
		write(t, filepath.Join(root, "secret.ckpt"), "x")
		require.NoError(t, os.Chmod(filepath.Join(root, "secret.ckpt"), 0o600))
		write(t, filepath.Join(root, "public.ckpt"), "x")
		write(t, filepath.Join(root, "closed", "a.ckpt"), "x")
		require.NoError(t, os.Chmod(filepath.Join(root, "closed"), 0o700))
	}
	if !unprivileged(t, root) {
		return
	}
	r := start(t, options(root))
	pending := map[string]Kind{"secret.ckpt": Unusable, "public.ckpt": Settled}
	facts := map[string]Fact{}
	r.until("both files", func(f Fact) bool {
		facts[f.Path] = f
		if pending[f.Path] == f.Kind {
			delete(pending, f.Path)
		}
		return len(pending) == 0
	})
	require.ErrorIs(t, facts["secret.ckpt"].Reason, ErrUnreadable)
	require.ErrorIs(t, facts["secret.ckpt"].Reason, os.ErrPermission)
	require.ErrorContains(t, facts["secret.ckpt"].Reason, "owner uid 0, mode -rw-------")
	require.Equal(t, ClosedUnknown, facts["public.ckpt"].Evidence.Closed)
	require.Contains(t, facts["public.ckpt"].Evidence.ClosedWhy, "CAP_LEASE")

	mine := filepath.Join(root, "mine.ckpt")
	write(t, mine, "x")
	require.Equal(t, ClosedYes, r.fact(Settled, "mine.ckpt").Evidence.Closed)
	require.NoError(t, os.Chmod(mine, 0))
	r.fact(Unusable, "mine.ckpt")
	require.NoError(t, os.Chmod(mine, 0o644))
	r.fact(Settled, "mine.ckpt")
	require.Equal(t, 1, r.w.State().UnreadableDirs)

	dir := filepath.Join(root, "later")
	require.NoError(t, os.Mkdir(dir, 0o300))
	write(t, filepath.Join(dir, "b.ckpt"), "x")
	require.NoError(t, os.Chmod(dir, 0o755))
	r.fact(Settled, "later/b.ckpt")
}
