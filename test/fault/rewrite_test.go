package fault

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
)

// rewriter writes both members of one set in place, again and again, as trainers do with last.ckpt.
type rewriter struct {
	*bench
	mu        sync.Mutex
	completed map[string]map[string]bool // digests of the weights by role
}

// complete remembers a version before its last byte is written: nobody can see it whole earlier.
func (w *rewriter) complete(role, weights string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.completed[role] == nil {
		w.completed[role] = make(map[string]bool)
	}
	w.completed[role][weights] = true
}

// write rewrites one member in pieces.
func (w *rewriter) write(role string, c checkpoint, r *rand.Rand) error {
	flags := os.O_WRONLY | os.O_CREATE
	if r.IntN(2) == 0 {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(w.member(role, "last"), flags, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	w.complete(role, c.weights)
	for rest := c.data; len(rest) > 0; {
		n := min(len(rest), 1+r.IntN(len(c.data)/4))
		if _, err := f.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
		time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
	}
	return nil
}

// run rewrites until it is told to stop.
func (w *rewriter) run(stop <-chan struct{}, versions []checkpoint) error {
	r := rand.New(rand.NewPCG(7, 7))
	for i := 0; ; i++ {
		for _, role := range checker.Roles {
			if err := w.write(role, versions[i%len(versions)], r); err != nil {
				return err
			}
		}
		select {
		case <-stop:
			return nil
		case <-time.After(time.Duration(r.IntN(80)) * time.Millisecond):
		}
	}
}

// Passes are made while the members are rewritten in place at random times: every member of every bundle is
// a version that the writer completed.
func TestRewrittenInPlaceWhilePassesAreMade(t *testing.T) {
	b := newBench(t)
	w := &rewriter{bench: b, completed: make(map[string]map[string]bool)}
	var versions []checkpoint
	for i := range 40 {
		versions = append(versions, newCheckpoint(t, 1<<20, uint64(100*i)))
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- w.run(stop, versions) }()
	for range 100 {
		r := b.once()
		require.Contains(t, []int{0, 3}, r.Code, r.Stderr)
	}
	close(stop)
	require.NoError(t, <-done)

	got, err := checker.Published(b.artifacts)
	require.NoError(t, err)
	mixed := 0
	for key, s := range got {
		for role, weights := range s {
			require.True(t, w.completed[role][weights], "%s: %s is no version that was completed", key, role)
		}
		if s[checker.Roles[0]] != s[checker.Roles[1]] {
			mixed++
		}
	}
	require.NotEmpty(t, got, "no pass ever met a quiet moment: the test shows nothing")
	b.mustVerify()
	t.Logf("100 passes published %d bundles, %d of them pairs of two saves", len(got), mixed)
}
