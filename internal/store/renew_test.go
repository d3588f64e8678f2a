package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestRenewAfterTheDirectoryWasRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "above", "artifacts")
	for name, damage := range map[string]func(){
		"removed":         func() { require.NoError(t, os.RemoveAll(dir)) },
		"removed above":   func() { require.NoError(t, os.RemoveAll(filepath.Dir(dir))) },
		"replaced":        func() { require.NoError(t, os.RemoveAll(dir)); require.NoError(t, os.Mkdir(dir, 0o755)) },
		"moved":           func() { require.NoError(t, os.Rename(dir, t.TempDir()+"/away")) },
		"staging removed": func() { require.NoError(t, os.RemoveAll(filepath.Join(dir, stagingName))) },
		"lock removed":    func() { require.NoError(t, os.Remove(filepath.Join(dir, lockName))) },
		"staging replaced": func() {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, stagingName)))
			require.NoError(t, os.Mkdir(filepath.Join(dir, stagingName), 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, dir)
			require.NoError(t, l.Lock())
			require.NoError(t, l.Check())
			damage()
			require.ErrorIs(t, l.Check(), ErrLost)
			require.NoError(t, l.Renew())
			require.NoError(t, l.Check())
			require.NoError(t, stage(t, l, "one").Publish(free(t, l, "k")))
			require.ErrorIs(t, open(t, dir).Lock(), ErrLocked)
			require.NoError(t, l.Close())
		})
	}
}

func TestRenewWhenAnotherWasFaster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "artifacts")
	l := open(t, dir)
	require.NoError(t, l.Lock())
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, open(t, dir).Lock())
	require.ErrorIs(t, l.Check(), ErrLost)
	require.ErrorIs(t, l.Renew(), ErrLocked)
}

// What is below a mount point is not taken for the artifact directory.
func TestUnmounted(t *testing.T) {
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	mounted := true
	t.Cleanup(func() {
		if mounted {
			_ = unix.Unmount(mount, unix.MNT_DETACH)
		}
	})
	inside, at := open(t, filepath.Join(mount, "a")), open(t, mount)
	require.NoError(t, inside.Check())
	require.NoError(t, at.Check())
	require.NoError(t, unix.Unmount(mount, unix.MNT_DETACH))
	mounted = false
	require.ErrorIs(t, inside.Check(), ErrUnmounted)
	require.ErrorIs(t, at.Check(), ErrUnmounted)

	require.NoError(t, unix.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"))
	mounted = true
	require.ErrorIs(t, at.Check(), ErrLost, "another file system is there")
	require.NoError(t, at.Renew())
	require.NoError(t, at.Check())
	require.NoError(t, at.Close())
}
