package tidy

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// running is a runner in the background with what it told.
type running struct {
	*bench
	mu   sync.Mutex
	list []Event
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func (b *bench) run() *running {
	b.Helper()
	r := &running{bench: b}
	b.opts.Now = nil
	b.opts.Emit = func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.list = append(r.list, e)
	}
	c := b.load()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		New(c.Tidies[0], c, b.opts).Run(ctx)
	}()
	b.Cleanup(func() {
		stop()
		<-done
	})
	return r
}

// waitFor waits until an event of a kind, of a name, was told.
func (r *running) waitFor(kind Kind, name string) {
	r.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		for _, e := range r.list {
			if e.Kind == kind && filepath.Base(e.From) == name {
				r.mu.Unlock()
				return
			}
		}
		r.mu.Unlock()
	}
	r.Fatalf("waited in vain for %s %s: %+v", kind, name, r.list)
}

// A runner moves what is there, what comes by an event, and what grows old enough, without a rescan.
func TestRun(t *testing.T) {
	b := newBench(t)
	b.config = strings.Replace(b.config, "10m", "100ms", 1) + "rescan = '1h'\n"
	b.write("first.log", "x")
	r := b.run()
	r.waitFor(Moved, "first.log")
	b.write("second.log", "x")
	r.waitFor(Moved, "second.log")
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "third.log"), nil, 0o644))
	require.NoError(t, os.Rename(filepath.Join(b.dir, "third.log"), b.path("third.log")))
	r.waitFor(Moved, "third.log")
}

// A root that is not there is told once and waited for.
func TestRunWaitsForTheRoot(t *testing.T) {
	b := newBench(t)
	b.config = strings.Replace(b.config, "10m", "1ms", 1) + "rescan = '10ms'\n"
	require.NoError(t, os.Rename(b.root, b.root+".away"))
	r := b.run()
	r.waitFor(RootGone, ".")
	require.NoError(t, os.Rename(b.root+".away", b.root))
	r.waitFor(RootBack, ".")
	b.write("a.log", "x")
	r.waitFor(Moved, "a.log")
	gone := 0
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.list {
		if e.Kind == RootGone {
			gone++
		}
	}
	require.Equal(t, 1, gone)
}

func TestOnce(t *testing.T) {
	var got []Event
	emit := once(func(e Event) { got = append(got, e) })
	say := func(kind Kind, from, reason string) { emit(Event{Kind: kind, From: from, Reason: reason}) }
	say(Left, "a", "young")
	say(Refused, "a", "x")
	say(Refused, "a", "x")
	say(Refused, "b", "x")
	say(Refused, "a", "y")
	say(Failed, "", "full")
	say(Failed, "", "full")
	say(Moved, "c", "")
	say(Failed, "", "full")
	say(RootGone, "", "x")
	say(RootGone, "", "x")
	say(RootBack, "", "")
	say(RootGone, "", "x")
	require.Equal(t, []string{"tidy_refused a", "tidy_refused b", "tidy_refused a", "tidy_failed .", "tidied c", "tidy_failed .", "tidy_gone .", "tidy_back .", "tidy_gone ."}, told(got))
}
