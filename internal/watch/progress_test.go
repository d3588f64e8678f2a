package watch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hanging makes the call that asks for notifications of a path hang until it is released, as any call
// does on a file system whose server is gone.
func hanging(path string, released <-chan struct{}) func(*Watcher) {
	return func(w *Watcher) {
		w.newNotifier = func() (*notifier, error) {
			n, err := newNotifier()
			if err == nil {
				n.add = func(p string) error {
					if p == path {
						<-released
					}
					return n.events.Add(p)
				}
			}
			return n, err
		}
	}
}

func TestHungFileSystem(t *testing.T) {
	before := openFiles(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "stuck", "a.ckpt"), "x")
	opts := options(root)
	opts.Source = Inotify
	w, err := New(opts)
	require.NoError(t, err)
	released := make(chan struct{})
	hanging(filepath.Join(root, "stuck"), released)(w)
	ctx, cancel := context.WithCancel(t.Context())
	facts := make(chan Fact, 100)
	ended := make(chan error)
	go func() { ended <- w.Run(ctx, facts) }()

	require.Eventually(t, func() bool { return w.Progress().Blocked.Path == filepath.Join(root, "stuck") }, patience, time.Millisecond)
	blocked := w.Progress().Blocked
	require.Equal(t, "list", blocked.Op)
	require.WithinDuration(t, time.Now(), blocked.Since, patience)
	require.Equal(t, blocked, w.Progress().Blocked, "it is the same call")
	require.False(t, w.Progress().Beat.After(blocked.Since))

	t.Run("another root goes on", func(t *testing.T) {
		other := t.TempDir()
		r := start(t, options(other))
		write(t, filepath.Join(other, "b.ckpt"), "x")
		r.fact(Settled, "b.ckpt")
	})

	cancel()
	require.NoError(t, <-ended, "Run does not wait for what hangs")
	close(facts) // as the owner of the channel may, once Run has returned
	close(released)
	require.Eventually(t, func() bool { return openFiles(t) == before }, patience, time.Millisecond, "left open by what was left behind")
	for f := range facts {
		require.Nil(t, f.File)
	}
}

func TestNothingIsBlockedWhenIdle(t *testing.T) {
	root := t.TempDir()
	r := start(t, options(root))
	r.fact(Listed, "")
	write(t, filepath.Join(root, "a.ckpt"), "x")
	r.fact(Settled, "a.ckpt")
	beat := r.w.Progress().Beat
	r.state("a beat while nothing blocks", func(State) bool {
		p := r.w.Progress()
		return p.Blocked == Blocked{} && p.Beat.After(beat)
	})
}

// A watcher that waits for the receiver of its facts does not blame the file system.
func TestWaitForTheReceiverIsNotBlocked(t *testing.T) {
	root := t.TempDir()
	w, err := New(options(root))
	require.NoError(t, err)
	during := Blocked{Op: "nothing was told"}
	o := newOwner(w, func(Fact) { during = w.Progress().Blocked })
	o.enter("list", &dir{name: "."}, "")
	before := w.Progress().Blocked
	o.emit(Fact{})
	require.Equal(t, Blocked{}, during)
	after := w.Progress().Blocked
	require.Equal(t, "list", after.Op)
	require.Equal(t, root, after.Path)
	require.False(t, after.Since.Before(before.Since))
}

func TestRescanListsWhatNobodyTold(t *testing.T) {
	root := t.TempDir()
	var n *notifier
	opts := options(root)
	opts.Source = Inotify
	r := start(t, opts, deaf(&n, func(string) error { return nil }))
	r.fact(Listed, "")
	write(t, filepath.Join(root, "deep", "a.ckpt"), "x")
	for range 10 {
		r.w.Rescan()
	}
	r.fact(Settled, "deep/a.ckpt")
	require.NoError(t, os.RemoveAll(filepath.Join(root, "deep")))
	r.w.Rescan()
	r.fact(Gone, "deep/a.ckpt")
}
