package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestNewNamesTheWrongOption(t *testing.T) {
	for _, test := range []struct {
		name string
		opts Options
		want string
	}{
		{"no root", Options{Want: wantCheckpoints}, "no directory"},
		{"no want", Options{Root: "runs"}, "nothing says which files"},
		{"negative", Options{Root: "runs", Want: wantCheckpoints, Settle: -1}, "negative duration"},
		{"calls", Options{Root: "runs", Want: wantCheckpoints, PollOps: -1}, "negative number of calls per minute: -1"},
		{"source", Options{Root: "runs", Want: wantCheckpoints, Source: 7}, "no such source: 7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(test.opts)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestRunsOnce(t *testing.T) {
	r := start(t, options(t.TempDir()))
	r.fact(Listed, "")
	require.ErrorContains(t, r.w.Run(t.Context(), r.facts), "has been run before")
}

func TestWriterThatPausesWithTheFileOpen(t *testing.T) {
	root := t.TempDir()
	needLeases(t, root)
	r := start(t, options(root))
	r.fact(Listed, "")

	f, err := os.Create(filepath.Join(root, "a.ckpt"))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("first ")
	require.NoError(t, err)
	r.waiting("a.ckpt", ErrWriter)
	_, err = f.WriteString("second")
	require.NoError(t, err)
	require.NotContains(t, r.kinds("a.ckpt"), Settled)
	require.NoError(t, f.Close())

	fact := r.fact(Settled, "a.ckpt")
	require.Equal(t, "first second", content(t, fact))
	require.Equal(t, ClosedYes, fact.Evidence.Closed)
	require.Equal(t, leaseGranted, fact.Evidence.ClosedWhy)
	require.GreaterOrEqual(t, fact.Evidence.Quiet, 40*time.Millisecond)
	st, err := StatFile(fact.File)
	require.NoError(t, err)
	require.True(t, st.Same(fact.Stat))
}

func TestSharedMappingHeldAfterClose(t *testing.T) {
	root := t.TempDir()
	needLeases(t, root)
	r := start(t, options(root))
	f, err := os.Create(filepath.Join(root, "mapped.ckpt"))
	require.NoError(t, err)
	require.NoError(t, f.Truncate(4096))
	memory, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	r.waiting("mapped.ckpt", ErrWriter)
	copy(memory, "tensor")
	require.NotContains(t, r.kinds("mapped.ckpt"), Settled)
	require.NoError(t, unix.Munmap(memory))
	require.Equal(t, "tensor", content(t, r.fact(Settled, "mapped.ckpt"))[:6])
}

func TestRenameIntoPlace(t *testing.T) {
	root := t.TempDir()
	r := start(t, options(root))
	r.fact(Listed, "")
	write(t, filepath.Join(root, "sub", ".tmp1"), "whole")
	require.NoError(t, os.Rename(filepath.Join(root, "sub", ".tmp1"), filepath.Join(root, "sub", "m.ckpt")))
	require.Equal(t, "whole", content(t, r.fact(Settled, "sub/m.ckpt")))
	require.Empty(t, r.kinds("sub/.tmp1"))
}

func TestChangedAfterSettled(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "last.ckpt")
	r := start(t, options(root))
	write(t, path, "one")
	first := r.fact(Settled, "last.ckpt")
	write(t, path, "three")
	second := r.until("new content", func(f Fact) bool { return f.Kind == Settled && f.Stat.Size == 5 })
	require.Equal(t, "three", content(t, second))
	require.False(t, first.Stat.Same(second.Stat))

	write(t, filepath.Join(root, "new.tmp"), "replaced")
	require.NoError(t, os.Rename(filepath.Join(root, "new.tmp"), path))
	third := r.until("replaced file", func(f Fact) bool { return f.Kind == Settled && f.Stat.Size == 8 })
	require.NotEqual(t, second.Stat.Ino, third.Stat.Ino)
	require.Equal(t, "three", readAt(t, second.File), "the old file can still be read")

	require.NoError(t, os.Remove(path))
	r.fact(Gone, "last.ckpt")
}

func readAt(t *testing.T, f *os.File) string {
	t.Helper()
	buf := make([]byte, 100)
	n, _ := f.ReadAt(buf, 0)
	return string(buf[:n])
}

func TestUnlinkedWhileAWriterHasIt(t *testing.T) {
	root := t.TempDir()
	needLeases(t, root)
	r := start(t, options(root))
	f, err := os.Create(filepath.Join(root, "a.ckpt"))
	require.NoError(t, err)
	defer f.Close()
	r.waiting("a.ckpt", ErrWriter)
	require.NoError(t, os.Remove(f.Name()))
	r.fact(Gone, "a.ckpt")
}

func TestFreshDeepDirectories(t *testing.T) {
	root := t.TempDir()
	r := start(t, options(root))
	r.fact(Listed, "")
	const runs = 300
	for i := range runs {
		write(t, filepath.Join(root, strconv.Itoa(i), "a", "b", "c", "m.ckpt"), "x")
	}
	for settled := 0; settled < runs; settled++ {
		r.until(fmt.Sprintf("settled file %d of %d", settled, runs), func(f Fact) bool { return f.Kind == Settled })
	}
}

func TestOddNames(t *testing.T) {
	root := t.TempDir()
	names := []string{
		" .ckpt", "a b.ckpt", "line\nbreak.ckpt", "\xff\xfe.ckpt", "\x1b[31mred.ckpt", "...ckpt", "-rf.ckpt",
		"dir with blank/\xc3\x28/x.ckpt", ".../x.ckpt", "back\\slash.ckpt", "%00.ckpt",
	}
	r := start(t, options(root))
	r.fact(Listed, "")
	for _, name := range names {
		write(t, filepath.Join(root, name), name)
	}
	pending := map[string]bool{}
	for _, name := range names {
		pending[name] = true
	}
	r.until("all names", func(f Fact) bool {
		if f.Kind == Settled {
			require.Equal(t, f.Path, content(t, f))
			delete(pending, f.Path)
		}
		return len(pending) == 0
	})
}

func TestRenamedDirectories(t *testing.T) {
	root := t.TempDir()
	r := start(t, options(root))
	r.fact(Listed, "")
	for i := range 30 {
		tmp := fmt.Sprintf("%d.tmp", i)
		final := fmt.Sprintf("steps/%d", i)
		write(t, filepath.Join(root, tmp, "item", "a.ckpt"), "x")
		r.fact(Settled, tmp+"/item/a.ckpt")
		require.NoError(t, os.MkdirAll(filepath.Join(root, "steps"), 0o755))
		require.NoError(t, os.Rename(filepath.Join(root, tmp), filepath.Join(root, final)))
		pending := map[string]Kind{tmp + "/item/a.ckpt": Gone, final + "/item/a.ckpt": Settled}
		r.until("rename noticed", func(f Fact) bool {
			if pending[f.Path] == f.Kind {
				delete(pending, f.Path)
			}
			return len(pending) == 0
		})
		write(t, filepath.Join(root, final, "item", "b.ckpt"), "new file in a renamed directory")
		r.fact(Settled, final+"/item/b.ckpt")
	}
}

func TestDirectoryReplacedUnderItsName(t *testing.T) {
	root := t.TempDir()
	r := start(t, options(root))
	for i := range 30 {
		path := filepath.Join(root, "run", "sub", fmt.Sprintf("%d.ckpt", i))
		write(t, path, "x")
		r.fact(Settled, fmt.Sprintf("run/sub/%d.ckpt", i))
		require.NoError(t, os.RemoveAll(filepath.Join(root, "run")))
	}
	r.fact(Gone, "run/sub/29.ckpt")
}

// deaf lets add decide what is watched, and hands out the notifier.
func deaf(hidden **notifier, add func(string) error) func(*Watcher) {
	return func(w *Watcher) {
		w.newNotifier = func() (*notifier, error) {
			n, err := newNotifier()
			if err == nil {
				n.add = add
				*hidden = n
			}
			return n, err
		}
	}
}

func TestOverflowIsAListing(t *testing.T) {
	root := t.TempDir()
	var n *notifier
	opts := options(root)
	opts.Source = Inotify
	r := start(t, opts, deaf(&n, func(string) error { return nil }))
	r.fact(Listed, "")
	write(t, filepath.Join(root, "deep", "down", "a.ckpt"), "x")
	n.events.Errors <- fsnotify.ErrEventOverflow
	r.fact(Settled, "deep/down/a.ckpt")
	require.Equal(t, 1, r.w.State().Overflows)
}

func TestMarksAreBounded(t *testing.T) {
	n, err := newNotifier()
	require.NoError(t, err)
	defer n.close()
	for i := range maxDirty + 1 {
		n.mark(strconv.Itoa(i), true)
	}
	dirty, lost := n.take()
	require.Error(t, lost)
	require.Len(t, dirty, 1)
	dirty, lost = n.take()
	require.NoError(t, lost)
	require.Empty(t, dirty)
}

func TestWatchLimitDegradesToPolling(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "a", "b"), 0o755))
	var n *notifier
	allowed := make(chan struct{})
	opts := options(root)
	opts.Source = Inotify
	opts.Heal = 200 * time.Millisecond
	r := start(t, opts, deaf(&n, func(path string) error {
		select {
		case <-allowed:
			return n.events.Add(path)
		default:
			return unix.ENOSPC
		}
	}))
	r.fact(Listed, "")
	write(t, filepath.Join(root, "a", "b", "polled.ckpt"), "x")
	r.fact(Settled, "a/b/polled.ckpt")
	require.Contains(t, r.w.State().Degraded, "max_user_watches")
	require.Contains(t, r.w.State().Degraded, "no space left on device")

	close(allowed)
	r.until("healed", func(Fact) bool { return r.w.State().Degraded == "" && len(n.events.WatchList()) == 3 })
}

func TestNoInotifyAtAllDegradesToPolling(t *testing.T) {
	root := t.TempDir()
	opts := options(root)
	opts.Source = Inotify
	r := start(t, opts, func(w *Watcher) {
		w.newNotifier = func() (*notifier, error) { return nil, unix.EMFILE }
	})
	r.fact(Listed, "")
	write(t, filepath.Join(root, "a.ckpt"), "x")
	r.fact(Settled, "a.ckpt")
	require.NotEmpty(t, r.w.State().Degraded)
}

func TestRootRemovedAndRecreated(t *testing.T) {
	for _, source := range []Source{Inotify, Poll} {
		t.Run(source.String(), func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "runs")
			opts := options(root)
			opts.Source = source
			r := start(t, opts)
			gone := r.fact(RootGone, "")
			require.ErrorIs(t, gone.Reason, os.ErrNotExist)
			require.ErrorContains(t, gone.Reason, strconv.Quote(root))

			for range 3 {
				write(t, filepath.Join(root, "sub", "a.ckpt"), "x")
				r.fact(RootBack, "")
				r.fact(Settled, "sub/a.ckpt")
				require.Empty(t, r.w.State().RootGone)
				require.NoError(t, os.RemoveAll(root))
				pending := map[Kind]bool{Gone: true, RootGone: true}
				r.until("file and root gone", func(f Fact) bool {
					delete(pending, f.Kind)
					return len(pending) == 0
				})
			}
		})
	}
}

func TestRootReplaced(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "runs")
	write(t, filepath.Join(root, "old.ckpt"), "x")
	write(t, filepath.Join(base, "other", "new.ckpt"), "x")
	r := start(t, options(root))
	r.fact(Settled, "old.ckpt")
	require.NoError(t, unix.Renameat2(unix.AT_FDCWD, root, unix.AT_FDCWD, filepath.Join(base, "other"), unix.RENAME_EXCHANGE))
	require.ErrorContains(t, r.fact(RootGone, "").Reason, "replaced")
	r.fact(Gone, "old.ckpt")
	r.fact(RootBack, "")
	r.fact(Settled, "new.ckpt")
	r.fact(Listed, "")
	require.Equal(t, 1, r.w.State().Files)
}

func TestRootIsNoDirectory(t *testing.T) {
	root := filepath.Join(t.TempDir(), "file")
	write(t, root, "x")
	r := start(t, options(root))
	require.ErrorIs(t, r.fact(RootGone, "").Reason, unix.ENOTDIR)
}

func TestRootIsASymbolicLink(t *testing.T) {
	base := t.TempDir()
	write(t, filepath.Join(base, "one", "a.ckpt"), "x")
	write(t, filepath.Join(base, "two", "b.ckpt"), "x")
	root := filepath.Join(base, "current")
	require.NoError(t, os.Symlink("one", root))
	r := start(t, options(root))
	r.fact(Settled, "a.ckpt")
	write(t, filepath.Join(base, "one", "sub", "later.ckpt"), "x")
	r.fact(Settled, "sub/later.ckpt")

	require.NoError(t, os.Symlink("two", root+".new"))
	require.NoError(t, os.Rename(root+".new", root))
	r.fact(RootBack, "")
	r.fact(Settled, "b.ckpt")
	require.Equal(t, filepath.Join(base, "two"), r.w.State().Path)
}

func TestState(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "a", "b.ckpt"), "x")
	write(t, filepath.Join(root, "a", "unwanted.txt"), "x")
	opts := options(root)
	opts.Source = Inotify
	r := start(t, opts)
	r.fact(Settled, "a/b.ckpt")
	write(t, filepath.Join(root, "c.ckpt"), "x")
	r.fact(Settled, "c.ckpt")
	s := r.w.State()
	require.Equal(t, root, s.Root)
	require.Equal(t, root, s.Path)
	require.Equal(t, Inotify, s.Source)
	require.Equal(t, 2, s.Directories)
	require.GreaterOrEqual(t, s.Files, 1)
	require.False(t, s.Listed.IsZero())
	require.Empty(t, s.Degraded)
}

func TestMissedPathsOfAnEarlierListing(t *testing.T) {
	// Polling finds changes of every sort without a single event.
	root := t.TempDir()
	opts := options(root)
	opts.Source = Poll
	opts.Poll = 20 * time.Millisecond
	r := start(t, opts)
	write(t, filepath.Join(root, "x", "a.ckpt"), "1")
	r.fact(Settled, "x/a.ckpt")
	write(t, filepath.Join(root, "x", "a.ckpt"), "22")
	r.until("changed", func(f Fact) bool { return f.Kind == Settled && f.Stat.Size == 2 })
	require.NoError(t, os.Rename(filepath.Join(root, "x"), filepath.Join(root, "y")))
	pending := map[string]Kind{"x/a.ckpt": Gone, "y/a.ckpt": Settled}
	r.until("renamed", func(f Fact) bool {
		if pending[f.Path] == f.Kind {
			delete(pending, f.Path)
		}
		return len(pending) == 0
	})
	require.NoError(t, os.RemoveAll(filepath.Join(root, "y")))
	write(t, filepath.Join(root, "y"), "a file where a directory was")
	r.fact(Gone, "y/a.ckpt")
}

func TestErrorsNameWhatToDo(t *testing.T) {
	n := &notifier{add: func(string) error { return unix.ENOSPC }}
	err := n.watch("/runs/\x1b[0m")
	require.ErrorIs(t, err, unix.ENOSPC)
	require.ErrorContains(t, err, `"/runs/\x1b[0m"`)
	n.add = func(string) error { return unix.ENOENT }
	require.True(t, vanished(n.watch("/runs/vanished")))
	n.add = func(string) error { return errors.New("odd") }
	require.EqualError(t, n.watch("/runs"), `watch directory "/runs": odd`)
}
