package watch

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestParseMountLine(t *testing.T) {
	for _, test := range []struct {
		line string
		want mountEntry
	}{
		{`25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw`, mountEntry{25, "/", "ext4", "/dev/vda", 0}},
		{`99 25 0:51 / /data\040of\040all rw shared:3 master:2 - nfs4 nas:/export\134x rw,vers=4.2,acregmin=10,acregmax=30,acdirmax=45`,
			mountEntry{99, "/data of all", "nfs4", `nas:/export\x`, 45 * time.Second}},
		{`100 25 0:52 / /nas rw - nfs nas:/x rw,vers=3,noac,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0`, mountEntry{100, "/nas", "nfs", "nas:/x", 0}},
		{`101 25 0:53 / /smb rw - cifs //srv/share rw,actimeo=1,vers=3.1.1`, mountEntry{101, "/smb", "cifs", "//srv/share", time.Second}},
		{`102 25 0:54 / /f rw - fuse.sshfs host: rw,user_id=0`, mountEntry{102, "/f", "fuse.sshfs", "host:", 0}},
	} {
		got, ok := parseMountLine(test.line)
		require.True(t, ok, test.line)
		require.Equal(t, test.want, got)
	}
	for _, line := range []string{"", "nonsense", "x 1 0:1 / / rw - ext4 d rw", "1 2 3 - a b"} {
		_, ok := parseMountLine(line)
		require.False(t, ok, line)
	}
	require.Len(t, parseMountInfo("25 1 254:0 / / rw - ext4 /dev/vda rw\n26 25 0:5 / /proc rw - proc proc rw\n"), 2)
}

func TestUnescapeMount(t *testing.T) {
	for escaped, want := range map[string]string{`a\040b`: "a b", `a\134`: `a\`, `\`: `\`, `\04`: `\04`, `\999x`: `\999x`, `\012\011`: "\n\t"} {
		require.Equal(t, want, unescapeMount(escaped))
	}
}

func TestMountOfTheRootIsShown(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "sub"), 0o755))
	r := start(t, options(root))
	r.fact(Listed, "")
	s := r.w.State()
	require.Len(t, s.Mounts, 1)
	m := s.Mounts[0]
	require.Equal(t, root, m.Path)
	require.Equal(t, s.FileSystem, m.FileSystem)
	require.NotEmpty(t, m.FileSystem)
	require.Equal(t, "inotify", m.Source)
	require.Equal(t, 2, m.Directories)
	require.Equal(t, 40*time.Millisecond, m.Settle)
	require.Equal(t, 1, s.Scans)
	require.Positive(t, s.ScanOps)
	require.Positive(t, s.ScanTook)
	require.False(t, s.ScanStarted.IsZero())
	require.GreaterOrEqual(t, s.Ops, s.ScanOps)
}

// A watcher keeps no file system from being unmounted, also when it is the root itself.
func TestMountsComeAndGo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	for _, source := range []Source{Inotify, Poll} {
		t.Run(source.String(), func(t *testing.T) {
			root := t.TempDir()
			point := filepath.Join(root, "runs", "mnt")
			write(t, filepath.Join(point, "hidden.ckpt"), "x")
			opts := options(root)
			opts.Source = source
			r := start(t, opts)
			r.fact(Settled, "runs/mnt/hidden.ckpt")

			mount := func(text string) {
				if err := unix.Mount("tmpfs", point, "tmpfs", 0, "size=1m"); err != nil {
					t.Skipf("cannot mount here: %v", err)
				}
				t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
				r.fact(Gone, "runs/mnt/hidden.ckpt")
				write(t, filepath.Join(point, "sub", "a.ckpt"), text)
				require.Equal(t, text, content(t, r.fact(Settled, "runs/mnt/sub/a.ckpt")))
			}
			unmount := func() {
				r.release()
				r.state("unmounted", func(State) bool { return unix.Unmount(point, 0) == nil })
				r.fact(Gone, "runs/mnt/sub/a.ckpt")
				r.fact(Settled, "runs/mnt/hidden.ckpt")
			}
			for _, text := range []string{"one", "two", "three"} {
				mount(text)
				s := r.w.State()
				require.Len(t, s.Mounts, 2)
				require.Equal(t, point, s.Mounts[1].Path)
				require.Equal(t, "tmpfs", s.Mounts[1].FileSystem)
				unmount()
			}
		})
	}
}

func TestRootIsAMountPoint(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	root := t.TempDir()
	write(t, filepath.Join(root, "below.ckpt"), "x")
	r := start(t, options(root))
	r.fact(Settled, "below.ckpt")
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	r.fact(RootGone, "")
	r.fact(RootBack, "")
	r.fact(Listed, "")
	write(t, filepath.Join(root, "sub", "a.ckpt"), "x")
	r.fact(Settled, "sub/a.ckpt")
	r.release()
	r.state("unmounted", func(State) bool { return unix.Unmount(root, 0) == nil })
	r.fact(RootBack, "")
	r.fact(Settled, "below.ckpt")
}

// A directory that is mounted at two places raises events for one of them only; the other is polled.
func TestDirectoryMountedTwice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	root := t.TempDir()
	one, two := filepath.Join(root, "one"), filepath.Join(root, "two")
	require.NoError(t, os.Mkdir(one, 0o755))
	require.NoError(t, os.Mkdir(two, 0o755))
	r := start(t, options(root))
	r.fact(Listed, "")
	if err := unix.Mount(one, two, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(two, unix.MNT_DETACH) })
	r.state("the second mount", func(s State) bool { return len(s.Mounts) == 2 })
	write(t, filepath.Join(one, "a.ckpt"), "x")
	pending := map[string]bool{"one/a.ckpt": true, "two/a.ckpt": true}
	r.until("both places", func(f Fact) bool {
		if f.Kind == Settled {
			delete(pending, f.Path)
		}
		return len(pending) == 0
	})
}

// The kernel gives the identifier of what was unmounted to the next mount: the table may say the same of
// two mounts between which it was not read.
func TestMountWithTheIdentifierOfTheLast(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	root := t.TempDir()
	point := filepath.Join(root, "runs", "mnt")
	write(t, filepath.Join(point, "hidden.ckpt"), "x")
	r := start(t, options(root))
	r.fact(Settled, "runs/mnt/hidden.ckpt")
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
	for _, name := range []string{"a.ckpt", "b.ckpt", "c.ckpt", "d.ckpt"} {
		from := t.TempDir()
		write(t, filepath.Join(from, "sub", name), "x")
		r.release()
		_ = unix.Unmount(point, unix.MNT_DETACH) // there is none at first
		if err := unix.Mount(from, point, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("cannot mount here: %v", err)
		}
		r.fact(Settled, "runs/mnt/sub/"+name)
		write(t, filepath.Join(from, "later", name), "x")
		r.fact(Settled, "runs/mnt/later/"+name)
	}
}
