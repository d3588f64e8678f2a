package watch

import (
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSame(t *testing.T) {
	base := Stat{Size: 1, ModTime: 2, ChangeTime: 3, Dev: 4, Ino: 5, Nlink: 1, Mode: 0o644}
	require.True(t, base.Same(base))
	for name, change := range map[string]func(*Stat){
		"size":  func(s *Stat) { s.Size++ },
		"mtime": func(s *Stat) { s.ModTime-- },
		"ctime": func(s *Stat) { s.ChangeTime++ },
		"dev":   func(s *Stat) { s.Dev++ },
		"ino":   func(s *Stat) { s.Ino++ },
	} {
		other := base
		change(&other)
		require.False(t, base.Same(other), name)
	}
}

func TestStatAgreesWithOS(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "12345")
	require.NoError(t, os.Chmod(filepath.Join(dir, "file"), 0o640|fs.ModeSetuid))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(dir, "dir"), 0o755|fs.ModeSticky|fs.ModeSetgid))
	tr, err := openTree(dir)
	require.NoError(t, err)
	defer tr.close()
	for _, name := range []string{"file", "link", "fifo", "dir"} {
		want, err := os.Lstat(filepath.Join(dir, name))
		require.NoError(t, err)
		got, err := tr.lstat(name)
		require.NoError(t, err)
		require.Equal(t, want.Mode(), got.Mode, name)
		require.Equal(t, want.Size(), got.Size, name)
		require.Equal(t, want.ModTime().UnixNano(), got.ModTime, name)
	}
}

func TestStatOfAClosedFile(t *testing.T) {
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	f.Close()
	_, err = StatFile(f)
	require.ErrorIs(t, err, unix.EBADF)
}

func TestFilesystemOf(t *testing.T) {
	for magic, want := range map[uint32]filesystem{
		0x6969:     {"nfs", true},
		0xFE534D42: {"smb", true},
		0x65735546: {"fuse", true},
		0x0BD00BD0: {"lustre", true},
		0x01021997: {"9p", true},
		0xEF53:     {"ext4", false},
		0x12345:    {"file system 0x12345", false},
	} {
		require.Equal(t, want, filesystemOf(magic))
	}
	require.True(t, filesystemAt(-1).network)
}

func TestSettleIsRaisedOnTheNetwork(t *testing.T) {
	require.Equal(t, time.Second, effectiveSettle(time.Second, false, time.Hour))
	require.Equal(t, NetworkSettle, effectiveSettle(time.Second, true, 0))
	require.Equal(t, NetworkSettle, effectiveSettle(time.Second, true, 3*time.Second))
	require.Equal(t, 61*time.Second, effectiveSettle(time.Second, true, time.Minute))
	require.Equal(t, time.Hour, effectiveSettle(time.Hour, true, time.Minute))
}

func TestLeaseRefused(t *testing.T) {
	on := filesystem{name: "ext4"}
	_, _, err := leaseRefused(unix.EAGAIN, on)
	require.ErrorIs(t, err, ErrWriter)
	for errno, why := range map[unix.Errno]string{
		unix.EACCES: "CAP_LEASE", unix.EPERM: "CAP_LEASE", unix.EINVAL: "ext4 has no leases", unix.ENOTTY: "ext4 has no leases",
	} {
		closed, got, err := leaseRefused(errno, on)
		require.NoError(t, err)
		require.Equal(t, ClosedUnknown, closed)
		require.Contains(t, got, why)
	}
}

func TestNetworkFilesAreNotProbed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "x")
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer writer.Close()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	closed, why, err := probeWriters(f, filesystem{name: "nfs", network: true})
	require.NoError(t, err)
	require.Equal(t, ClosedUnknown, closed)
	require.Contains(t, why, "nfs")
}

// Writers that open the file during probes are neither refused nor signalled.
func TestProbeDoesNotDisturbWriters(t *testing.T) {
	dir := t.TempDir()
	needLeases(t, dir)
	path := filepath.Join(dir, "a.ckpt")
	write(t, path, "x")
	signals := make(chan os.Signal, 100)
	signal.Notify(signals, unix.SIGIO)
	defer signal.Stop(signals)

	stop, probed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { probed <- n }()
		f, err := os.Open(path)
		if err != nil {
			return
		}
		defer f.Close()
		for {
			select {
			case <-stop:
				return
			default:
				_, _, _ = probeWriters(f, filesystem{name: "test"})
				n++
			}
		}
	}()
	for range 20_000 {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	close(stop)
	require.Positive(t, <-probed)
	require.Empty(t, signals)
}

func TestLeaseIsNotKept(t *testing.T) {
	dir := t.TempDir()
	needLeases(t, dir)
	path := filepath.Join(dir, "a.ckpt")
	write(t, path, "x")
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	closed, _, err := probeWriters(f, filesystem{})
	require.NoError(t, err)
	require.Equal(t, ClosedYes, closed)
	held, err := unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0)
	require.NoError(t, err)
	require.Equal(t, unix.F_UNLCK, held)
}

func TestSourceText(t *testing.T) {
	for _, want := range []Source{Auto, Inotify, Poll} {
		var got Source
		require.NoError(t, got.UnmarshalText([]byte(want.String())))
		require.Equal(t, want, got)
	}
	var s Source
	require.EqualError(t, s.UnmarshalText([]byte("\x1b")), `parse source "\x1b": want auto, inotify or poll`)
}

func TestDirectoryIsSwappedForALink(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "a.ckpt"), "secret")
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "run")))
	tr, err := openTree(root)
	require.NoError(t, err)
	defer tr.close()
	_, _, err = tr.file("run/a.ckpt")
	require.True(t, vanished(err), "%v", err)
	c := &chain{tree: tr}
	defer c.drop()
	_, err = c.list(&dir{name: "run", parent: &dir{name: "."}})
	require.True(t, vanished(err), "%v", err)
}

func FuzzTreeStaysInside(f *testing.F) {
	for _, seed := range []string{"a", "in/a", "in", ".", "..", "../secret", "out/secret", "in/../../secret", "/etc/passwd", "in//a", "in/\x00", "self/a", "in/up"} {
		f.Add(seed)
	}
	base := f.TempDir()
	root := filepath.Join(base, "root")
	for _, path := range []string{"secret", "root/a", "root/in/a"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(base, path)), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(base, path), []byte(path), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	for name, target := range map[string]string{"out": "..", "self": ".", "in/up": "../../secret"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, rel string) {
		tr, err := openTree(root)
		require.NoError(t, err)
		defer tr.close()
		file, st, err := tr.file(rel)
		if err != nil {
			return
		}
		defer file.Close()
		require.Contains(t, []string{"a", "in/a"}, rel)
		require.Equal(t, int64(len("root/"+rel)), st.Size)
	})
}
