package store

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

const marker = "bundle_manifest.json"

func open(t *testing.T, dir string) *Local {
	t.Helper()
	l, err := Open(dir, marker)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func stage(t *testing.T, l *Local, content string) *Stage {
	t.Helper()
	s, err := l.Stage()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.Path, marker), []byte(content), 0o644))
	return s
}

func free(t *testing.T, l *Local, key string) Slot {
	t.Helper()
	slots, err := l.Slots("w", key)
	require.NoError(t, err)
	return slots[len(slots)-1]
}

func TestPublishThenNextVersion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	l := open(t, dir)
	require.NoError(t, stage(t, l, "one").Publish(free(t, l, "run a/ключ/1")))
	require.FileExists(t, filepath.Join(dir, "w/run a/ключ/1", marker))
	slot := free(t, l, "run a/ключ/1")
	require.Equal(t, 2, slot.Version)
	require.NoError(t, stage(t, l, "two").Publish(slot))
	require.FileExists(t, filepath.Join(dir, "w/run a/ключ/1~2", marker))
	got, err := os.ReadFile(filepath.Join(dir, "w/run a/ключ/1", marker))
	require.NoError(t, err)
	require.Equal(t, "one", string(got))
}

func TestPublishNeverReplaces(t *testing.T) {
	l := open(t, t.TempDir())
	slot := free(t, l, "k")
	require.NoError(t, stage(t, l, "one").Publish(slot))
	s := stage(t, l, "two")
	require.ErrorIs(t, s.Publish(slot), ErrExists)
	require.NoError(t, s.Discard())
	require.NoError(t, os.WriteFile(filepath.Join(l.dir, "w", "file"), nil, 0o644))
	require.ErrorIs(t, stage(t, l, "three").Publish(Slot{Path: filepath.Join(l.dir, "w", "file")}), ErrExists)
}

func TestRacersPublishOnce(t *testing.T) {
	dir := t.TempDir()
	slot := free(t, open(t, dir), "k")
	var won atomic.Int32
	var wait sync.WaitGroup
	for i := range 8 {
		l := open(t, dir)
		s := stage(t, l, fmt.Sprint(i))
		wait.Go(func() {
			if s.Publish(slot) == nil {
				won.Add(1)
			}
		})
	}
	wait.Wait()
	require.EqualValues(t, 1, won.Load())
}

func TestKeysInsideKeys(t *testing.T) {
	l := open(t, t.TempDir())
	require.NoError(t, stage(t, l, "").Publish(free(t, l, "a")))
	inner := free(t, l, "a/b")
	require.Equal(t, filepath.Join(l.dir, "w/a~2/b"), inner.Path)
	require.NoError(t, stage(t, l, "").Publish(inner))
	require.Equal(t, filepath.Join(l.dir, "w/a~3"), free(t, l, "a").Path)
	require.Equal(t, filepath.Join(l.dir, "w/a~2/b~2"), free(t, l, "a/b").Path)

	require.NoError(t, stage(t, l, "").Publish(free(t, l, "c/d")))
	require.Equal(t, filepath.Join(l.dir, "w/c~2"), free(t, l, "c").Path, "a directory of bundles is no bundle, but it is in the way")
}

func TestSweepRemovesOnlyWhatIsDead(t *testing.T) {
	dir := t.TempDir()
	alive := open(t, dir)
	living := stage(t, alive, "")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, stagingName, "12-dead.1"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, stagingName, "12-dead.lock"), nil, 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, stagingName, "13-nolock.7/sub"), 0o755))

	open(t, dir)
	require.DirExists(t, living.Path)
	require.NoDirExists(t, filepath.Join(dir, stagingName, "12-dead.1"))
	require.NoFileExists(t, filepath.Join(dir, stagingName, "12-dead.lock"))
	require.NoDirExists(t, filepath.Join(dir, stagingName, "13-nolock.7"))
}

func TestCloseLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, marker)
	require.NoError(t, err)
	stage(t, l, "")
	require.NoError(t, l.Close())
	entries, err := os.ReadDir(filepath.Join(dir, stagingName))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestOneDaemonPerDirectory(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	require.NoError(t, first.Lock())
	second := open(t, dir)
	err := second.Lock()
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, fmt.Sprint(os.Getpid()))
	require.NoError(t, first.Close())
	require.NoError(t, second.Lock())
}

func TestOpenWhereAFileIsInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	_, err := Open(path, marker)
	require.ErrorContains(t, err, "not a directory")
}

// The kernel says that nothing is there, before and after the directory above was made.
func TestOpenWhereNoDirectoryCanBe(t *testing.T) {
	_, err := Open("/proc/artifacts/deep", marker)
	require.ErrorIs(t, err, os.ErrNotExist)
}
