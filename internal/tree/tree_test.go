package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// eachWay runs a test with renameat2 and with what stands in for it on file systems that do not know it.
func eachWay(t *testing.T, test func(*testing.T)) {
	t.Run("renameat2", test)
	t.Run("link and unlink", func(t *testing.T) {
		renameat2 = func(int, string, int, string, uint) error { return unix.EINVAL }
		defer func() { renameat2 = unix.Renameat2 }()
		test(t)
	})
}

func TestRenameNewNeverReplaces(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "to"), 0o755))
		from, to := open(t, dir), open(t, filepath.Join(dir, "to"))
		write(t, filepath.Join(dir, "a"), "a")
		write(t, filepath.Join(dir, "to/a"), "taken")
		require.ErrorIs(t, from.RenameNew("a", to, "a"), ErrExists)
		require.Equal(t, "taken", read(t, filepath.Join(dir, "to/a")))
		require.NoError(t, from.RenameNew("a", to, "b"))
		require.Equal(t, "a", read(t, filepath.Join(dir, "to/b")))
		require.NoFileExists(t, filepath.Join(dir, "a"))

		require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
		require.NoError(t, from.RenameNew("link", to, "link"))
		target, err := to.Readlink("link")
		require.NoError(t, err)
		require.Equal(t, "nowhere", target)

		require.NoError(t, os.MkdirAll(filepath.Join(dir, "d/x"), 0o755))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "to/empty"), 0o755))
		require.ErrorIs(t, from.RenameNew("d", to, "empty"), ErrExists)
		require.ErrorIs(t, from.RenameNew("d", to, "a"), ErrExists)
		require.NoError(t, from.RenameNew("d", to, "d"))
		require.DirExists(t, filepath.Join(dir, "to/d/x"))
		require.ErrorIs(t, from.RenameNew("gone", to, "gone"), fs.ErrNotExist)
	})
}

func TestSetAsidePutsBackWhatIsNotMeant(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		dir := t.TempDir()
		d := open(t, dir)
		write(t, filepath.Join(dir, "a"), "a")
		before, err := d.Stat("a")
		require.NoError(t, err)
		write(t, filepath.Join(dir, "new"), "new")
		require.NoError(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "a")))
		require.ErrorIs(t, d.SetAside("a", ".aside", before.SameContent), ErrChanged)
		require.Equal(t, "new", read(t, filepath.Join(dir, "a")))
		require.NoFileExists(t, filepath.Join(dir, ".aside"))

		now, err := d.Stat("a")
		require.NoError(t, err)
		require.NoError(t, d.SetAside("a", ".aside", now.SameContent))
		write(t, filepath.Join(dir, "a"), "another")
		require.ErrorIs(t, d.SetAside("a", ".aside", now.SameContent), ErrExists)
		require.Equal(t, "new", read(t, filepath.Join(dir, ".aside")))
		require.Equal(t, "another", read(t, filepath.Join(dir, "a")))
	})
}

func TestNamesThatLeadOut(t *testing.T) {
	d := open(t, t.TempDir())
	for _, name := range []string{"", ".", "..", "a/b", "/etc", "../x", "a\x00"} {
		_, err := d.Stat(name)
		require.ErrorIs(t, err, fs.ErrInvalid, "%q", name)
		_, err = d.Sub(name)
		require.ErrorIs(t, err, fs.ErrInvalid)
		_, _, err = d.OpenFile(name)
		require.ErrorIs(t, err, fs.ErrInvalid)
		_, _, err = d.AppendFile(name)
		require.ErrorIs(t, err, fs.ErrInvalid)
		_, err = d.CreateFile(name)
		require.ErrorIs(t, err, fs.ErrInvalid)
		_, err = d.Readlink(name)
		require.ErrorIs(t, err, fs.ErrInvalid)
		for _, err := range []error{d.MakeDir(name, 0o755), d.Remove(name), d.RemoveDir(name), d.Symlink("x", name), d.Link("x", d, name),
			d.RenameNew("x", d, name), d.RenameNew(name, d, "x"), d.SetAside(name, "x", nil), d.SetAside("x", name, nil)} {
			require.ErrorIs(t, err, fs.ErrInvalid, "%q", name)
		}
	}
	_, err := d.MakeAll("a/../b")
	require.ErrorIs(t, err, fs.ErrInvalid)
}

func TestNothingIsFollowed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "root"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "outside"), 0o755))
	write(t, filepath.Join(dir, "outside/f"), "f")
	root := filepath.Join(dir, "root")
	require.NoError(t, os.Symlink("../outside", filepath.Join(root, "d")))
	require.NoError(t, os.Symlink("../outside/f", filepath.Join(root, "f")))
	require.NoError(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o644))
	d := open(t, root)
	_, err := d.Sub("d")
	require.Error(t, err)
	_, err = d.MakeAll("d/new")
	require.Error(t, err)
	_, _, err = d.OpenFile("f")
	require.ErrorIs(t, err, unix.ELOOP)
	_, _, err = d.AppendFile("f")
	require.ErrorIs(t, err, unix.ELOOP)
	_, _, err = d.OpenFile("pipe")
	require.ErrorContains(t, err, "not a regular file")
	_, _, err = d.AppendFile("pipe")
	require.Error(t, err)
	names, err := os.ReadDir(filepath.Join(dir, "outside"))
	require.NoError(t, err)
	require.Len(t, names, 1)
}

func TestOpenFollowsTrustedLinks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "real/sub"), 0o755))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink(filepath.Join(dir, "link"), filepath.Join(dir, "again")))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	write(t, filepath.Join(dir, "file"), "")
	real, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(real, "real/sub"), open(t, filepath.Join(dir, "again/sub")).Path())
	_, err = Open(filepath.Join(dir, "loop"))
	require.ErrorIs(t, err, unix.ELOOP)
	_, err = Open(filepath.Join(dir, "file/x"))
	require.ErrorIs(t, err, unix.ENOTDIR)
	_, err = Open(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestMakeAllGivesToTheOwnerAbove(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chown(dir, 12345, 54321))
	made, err := open(t, dir).MakeAll("a/b")
	require.NoError(t, err)
	defer made.Close()
	for _, path := range []string{"a", "a/b"} {
		var st unix.Stat_t
		require.NoError(t, unix.Stat(filepath.Join(dir, path), &st))
		require.EqualValues(t, 12345, st.Uid)
		require.EqualValues(t, 54321, st.Gid)
	}
	again, err := open(t, dir).MakeAll("a/b")
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestSame(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	write(t, filepath.Join(dir, "a"), "a")
	before, err := d.Stat("a")
	require.NoError(t, err)
	for _, change := range []func() error{
		func() error { return os.Chmod(filepath.Join(dir, "a"), 0o600) },
		func() error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")) },
	} {
		require.NoError(t, change())
		name := "a"
		if _, err := d.Stat("a"); errors.Is(err, fs.ErrNotExist) {
			name = "b"
		}
		now, err := d.Stat(name)
		require.NoError(t, err)
		require.True(t, now.SameContent(before))
		require.False(t, now.Same(before))
	}
	write(t, filepath.Join(dir, "b"), "longer")
	now, err := d.Stat("b")
	require.NoError(t, err)
	require.False(t, now.SameContent(before))
}
