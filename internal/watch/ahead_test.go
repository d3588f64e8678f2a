package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// needProcessors skips a test where nothing is read ahead.
func needProcessors(t *testing.T) {
	t.Helper()
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one processor: nothing is read ahead")
	}
}

// listingOf returns an owner that has begun to list a root and reads ahead, and what ends that.
func listingOf(t *testing.T, root string) (o *owner, end func()) {
	t.Helper()
	opts := options(root)
	opts.Source, opts.NoFiles = Inotify, true
	w, err := New(opts)
	require.NoError(t, err)
	o = newOwner(w, func(Fact) {})
	require.NoError(t, o.openRoot())
	t.Cleanup(o.closeRoot)
	o.start(true)
	end = o.startAhead(t.Context())
	return o, end
}

// A directory that is renamed while it is read ahead under its old path is watched under the new one, whether its
// watch was set before or could not be.
func TestRenamedWhileItIsReadAhead(t *testing.T) {
	needProcessors(t)
	for name, read := range map[string]bool{"before it was opened for its names": false, "after its watch was set": true} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			before, after := filepath.Join(root, "before"), filepath.Join(root, "after")
			write(t, filepath.Join(before, "a.ckpt"), "x")
			o, end := listingOf(t, root)
			o.list(t.Context(), o.top)
			o.learnNext(t.Context())
			o.listNext(t.Context())
			old := o.top.dirs.get("before")
			require.True(t, old.ahead)
			if read {
				o.ahead.send()
				require.Eventually(t, func() bool { return len(o.ahead.read) == 1 }, patience, time.Millisecond)
			}
			require.NoError(t, os.Rename(before, after))
			o.known(o.top, "after")
			o.listNext(t.Context())
			end()

			require.True(t, old.forgotten)
			require.False(t, old.watched)
			renamed := o.top.dirs.get("after")
			require.True(t, renamed.watched)
			require.NotNil(t, renamed.files.get("a.ckpt"))
			require.Equal(t, 2, o.watches)
			write(t, filepath.Join(after, "b.ckpt"), "x")
			told := map[string]bool{}
			require.Eventually(t, func() bool {
				dirty, _ := o.notifier.take()
				for path := range dirty {
					told[path] = true
				}
				return told[filepath.Join(after, "b.ckpt")]
			}, patience, time.Millisecond)
		})
	}
}

// What is forgotten while it is read ahead is not learnt, and has no watch afterwards.
func TestForgottenWhileItIsReadAhead(t *testing.T) {
	needProcessors(t)
	root := t.TempDir()
	for i := range 3 * aheadBatch {
		write(t, filepath.Join(root, "run", fmt.Sprint(i), "a.ckpt"), "x")
	}
	o, end := listingOf(t, root)
	o.list(t.Context(), o.top)
	o.learnNext(t.Context()) // the root
	o.listNext(t.Context())
	o.learnNext(t.Context()) // run
	for range 2 * aheadBatch {
		o.listNext(t.Context())
	}
	o.forget(o.top.dirs.get("run"))
	end()
	require.Equal(t, 1, o.dirs)
	require.Equal(t, 1, o.watches)
	require.Zero(t, o.files)
	require.Equal(t, []string{root}, o.notifier.events.WatchList())
}

func TestDirectoryWithMoreNamesThanAreReadAhead(t *testing.T) {
	needProcessors(t)
	root := t.TempDir()
	const files = 700
	for i := range files {
		write(t, filepath.Join(root, "run", fmt.Sprintf("%s-%d.ckpt", strings.Repeat("x", 100), i)), "x")
	}
	o, end := listingOf(t, root)
	for o.pass != nil {
		o.step(t.Context())
	}
	end()
	require.Equal(t, files, o.files)
}

// A watcher that ends while it reads ahead leaves nothing open.
func TestEndWhileReadingAhead(t *testing.T) {
	needProcessors(t)
	root := t.TempDir()
	for i := range 3 * aheadBatch {
		write(t, filepath.Join(root, fmt.Sprint(i), "a.ckpt"), "x")
	}
	before := openFiles(t)
	opts := options(root)
	opts.Source, opts.NoFiles = Inotify, true
	w, err := New(opts)
	require.NoError(t, err)
	o := newOwner(w, func(Fact) {})
	require.NoError(t, o.openRoot())
	o.start(true)
	ctx, cancel := context.WithCancel(t.Context())
	end := o.startAhead(ctx)
	o.list(ctx, o.top)
	o.learnNext(ctx)
	for range aheadBatch + 1 {
		o.listNext(ctx)
	}
	cancel()
	end()
	require.Empty(t, o.failed)
	o.closeRoot()
	require.Equal(t, before, openFiles(t))
}
