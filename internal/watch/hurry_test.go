package watch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// In a hurry a file that nobody writes need not be quiet for long; one that somebody writes is not settled, and when
// the hurry is over files are waited for as before.
func TestHurry(t *testing.T) {
	for _, source := range []Source{Inotify, Poll} {
		t.Run(source.String(), func(t *testing.T) {
			root := t.TempDir()
			needLeases(t, root)
			opts := options(root)
			opts.Settle, opts.Source = time.Hour, source
			opts.Poll = 20 * time.Millisecond
			r := start(t, opts)
			r.fact(Listed, "")
			write(t, filepath.Join(root, "closed.ckpt"), "whole")
			open, err := os.Create(filepath.Join(root, "open.ckpt"))
			require.NoError(t, err)
			defer open.Close()
			told := func(path string, kind Kind, cause error) (fact Fact) {
				match := func(f Fact) bool { return f.Path == path && f.Kind == kind && errors.Is(f.Reason, cause) }
				if i := slices.IndexFunc(r.seen, match); i >= 0 {
					return r.seen[i]
				}
				return r.until(path, match)
			}
			told("closed.ckpt", Waiting, ErrChanging)
			told("open.ckpt", Waiting, ErrChanging)

			asked := time.Now()
			r.w.Hurry(true)
			settled := told("closed.ckpt", Settled, nil)
			require.Equal(t, ClosedYes, settled.Evidence.Closed)
			require.GreaterOrEqual(t, settled.Evidence.Quiet, HurriedSettle)
			told("open.ckpt", Waiting, ErrWriter)
			write(t, filepath.Join(root, "later.ckpt"), "whole")
			told("later.ckpt", Settled, nil)
			r.state("a listing that was asked for", func(s State) bool { return s.WholeFrom.After(asked) })

			r.w.Hurry(false)
			write(t, filepath.Join(root, "last.ckpt"), "whole")
			told("last.ckpt", Waiting, ErrChanging)
			require.NotContains(t, r.kinds("last.ckpt"), Settled)
			require.NotContains(t, r.kinds("open.ckpt"), Settled)
		})
	}
}

// Where the kernel cannot tell of writers a hurry changes nothing: quiet is all that there is.
func TestHurryWithoutLeases(t *testing.T) {
	root := t.TempDir()
	opts := options(root)
	opts.Settle = time.Hour
	r := start(t, opts)
	r.fact(Listed, "")
	r.w.Hurry(true)
	f := &file{path: "a.ckpt", dir: &dir{mount: &mount{filesystem: filesystem{name: "nfs", network: true}, settle: time.Hour}}}
	o := newOwner(r.w, func(Fact) {})
	require.Equal(t, time.Hour, o.settleOf(f))
	f.dir.mount.network = false
	require.Equal(t, HurriedSettle, o.settleOf(f))
	f.dir.mount.settle = 10 * time.Millisecond
	require.Equal(t, 10*time.Millisecond, o.settleOf(f))
}
