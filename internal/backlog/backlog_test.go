package backlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a destination in memory, with an artifact directory before it.
type world struct {
	t     *testing.T
	dir   string
	shelf *shelf.Shelf
	begun time.Time
	b     *Backlog
	stop  func()

	mu       sync.Mutex
	has      map[string]string // archive digest by place
	order    []string          // of sendings
	asked    int
	running  int
	most     int
	takes    time.Duration
	fail     func(op string, b shelf.Bundle) error
	news     []string
	attempts []time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), begun: time.Now(), has: make(map[string]string)}
	var err error
	w.shelf, err = shelf.Open(w.dir)
	require.NoError(t, err)
	return w
}

func (w *world) Name() string    { return "lab" }
func (w *world) Kind() string    { return "memory" }
func (w *world) Address() string { return "memory://lab" }

func (w *world) Has(ctx context.Context, b shelf.Bundle) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if w.fail != nil {
		if err := w.fail("has", b); err != nil {
			w.attempts = append(w.attempts, time.Now())
			return false, err
		}
	}
	have, ok := w.has[b.Place]
	if ok && have != b.Archive.SHA256 {
		return false, fmt.Errorf("%s: %w", b.Place, ErrConflict)
	}
	return ok, nil
}

func (w *world) Send(ctx context.Context, b shelf.Bundle, progress func(int64)) error {
	w.mu.Lock()
	w.running++
	w.most = max(w.most, w.running)
	w.order = append(w.order, b.Key)
	w.mu.Unlock()
	defer func() { w.mu.Lock(); w.running--; w.mu.Unlock() }()
	progress(b.Archive.Bytes / 2)
	select {
	case <-time.After(w.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	progress(b.Archive.Bytes - b.Archive.Bytes/2)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		if err := w.fail("send", b); err != nil {
			w.attempts = append(w.attempts, time.Now())
			return err
		}
	}
	w.has[b.Place] = b.Archive.SHA256
	return nil
}

// publish writes what a shelf takes for a bundle.
func (w *world) publish(watch, key string, age time.Duration, size int) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, watch, key)
	require.NoError(w.t, os.MkdirAll(dir, 0o755))
	archive := []byte(strings.Repeat("x", size-len(key)) + key)
	sum := func(data []byte) string { s := sha256.Sum256(data); return hex.EncodeToString(s[:]) }
	m := bundle.Manifest{Schema: bundle.Schema, Watch: watch, Key: key, Version: 1,
		Archive: bundle.Digest{Name: bundle.ArchiveName, Bytes: int64(size), SHA256: sum(archive)}}
	m.Provenance.Published = w.begun.Add(-age)
	manifest, err := json.Marshal(m)
	require.NoError(w.t, err)
	sums := fmt.Sprintf("%s  %s\n%s  %s\n%s  %s\n", sum(archive), bundle.ArchiveName, sum(manifest), bundle.ManifestName, sum(nil), bundle.TreeName)
	for name, data := range map[string][]byte{bundle.ArchiveName: archive, bundle.ManifestName: manifest, bundle.TreeName: nil, bundle.SumsName: []byte(sums)} {
		require.NoError(w.t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	return watch + "/" + key
}

func (w *world) start(opts Options) {
	opts.Tell = func(news any) {
		w.b.Status() // whoever is told may ask
		w.mu.Lock()
		defer w.mu.Unlock()
		switch n := news.(type) {
		case Sent:
			w.news = append(w.news, "sent "+n.Bundle.Key)
		case Refused:
			w.news = append(w.news, "refused "+n.Bundle.Key)
		default:
			w.news = append(w.news, strings.TrimPrefix(fmt.Sprintf("%T", n), "backlog."))
		}
	}
	w.b = New(w, w.shelf, opts)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.b.Run(ctx) }()
	w.stop = func() { stop(); <-done }
}

// run is a test in a world whose clock stands still while anybody works.
func run(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		test(t, w)
		if w.stop != nil {
			w.stop()
		}
	})
}

// pass lets time pass, and everybody come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestNewestFirstAndEachOnce(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for i := range 9 {
			w.publish("w", fmt.Sprint("r/", i), time.Duration(9-i)*time.Hour, 100)
		}
		w.has["w/r/4"] = "x" // of other content
		w.publish("other", "r/1", 0, 100)
		w.takes = time.Second
		w.start(Options{Watches: []string{"w"}, Parallel: 2})
		synctest.Wait()
		s := w.b.Status()
		require.True(t, s.Listed)
		require.Equal(t, 8, s.Pending)
		require.EqualValues(t, 800, s.PendingBytes)
		require.Len(t, s.Sending, 2)
		require.Equal(t, 50, s.Sending[0].Percent())
		require.Equal(t, "r/0", s.Oldest.Key)
		require.Equal(t, 1, s.Conflicts)
		require.Equal(t, "r/4", s.Refusals[0].Key)
		require.True(t, s.Refusals[0].Conflict)
		pass(20 * time.Second)
		s = w.b.Status()
		require.Equal(t, []int{0, 0, 8}, []int{s.Unchecked, s.Pending, s.Sent})
		require.EqualValues(t, 800, s.SentBytes)
		require.EqualValues(t, 40, s.Rate) // in 20 s
	})
}

func TestNewBundlesGoFirst(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for i := range 4 {
			w.publish("w", fmt.Sprint("r/", i), time.Hour, 100)
		}
		w.takes = time.Minute
		w.start(Options{})
		synctest.Wait()
		w.b.Published(w.publish("w", "r/new", -time.Second, 100))
		pass(10 * time.Minute)
		require.Equal(t, "r/new", w.order[1])
		require.Len(t, w.order, 5)
		require.Equal(t, 1, w.most)
	})
}

// A restart asks, and sends only what is missing.
func TestRestart(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for i := range 20 {
			w.publish("w", fmt.Sprint("r/", i), time.Duration(i)*time.Hour, 100)
		}
		w.takes = time.Second
		w.start(Options{Parallel: 3})
		pass(3500 * time.Millisecond)
		w.stop()
		require.Len(t, w.has, 9)
		w.start(Options{Parallel: 3})
		pass(time.Minute)
		require.Len(t, w.has, 20)
		require.Len(t, w.order, 23) // the three that were under way are sent again
		require.Equal(t, 3, w.most)
	})
}

func TestStopIsPrompt(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.publish("w", "r/1", 0, 100)
		w.takes = time.Hour
		w.start(Options{})
		synctest.Wait()
		before := time.Now()
		w.stop()
		require.Zero(t, time.Since(before))
		require.Empty(t, w.news, "a stop is no failure")
	})
}

// A destination that is down is tried by one at a time, more and more seldom, told once, and used again at once.
func TestOutage(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		var up atomic.Bool
		w.fail = func(string, shelf.Bundle) error {
			if !up.Load() {
				return errors.New("connection refused")
			}
			return nil
		}
		for i := range 50 {
			w.publish("w", fmt.Sprint("r/", i), time.Hour, 100)
		}
		w.start(Options{Parallel: 4})
		pass(24 * time.Hour)
		s := w.b.Status()
		require.Equal(t, "connection refused", s.Error)
		require.Equal(t, 50, s.Unchecked+s.Pending)
		require.Less(t, len(w.attempts), 24*60)
		require.Greater(t, len(w.attempts), 24*12)
		require.Equal(t, []string{"Failing"}, w.news)
		up.Store(true)
		pass(2 * mostPause)
		require.Len(t, w.has, 50)
		require.Equal(t, "Healed", w.news[1])
		require.Empty(t, w.b.Status().Error)
	})
}

// One bundle that always fails does not keep the others from being sent.
func TestOneBadBundle(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.fail = func(op string, b shelf.Bundle) error {
			if op == "send" && b.Key == "r/bad" {
				return errors.New("read: input/output error")
			}
			return nil
		}
		w.publish("w", "r/bad", 0, 100)
		for i := range 50 {
			w.publish("w", fmt.Sprint("r/", i), time.Hour, 100)
		}
		w.takes = 100 * time.Millisecond
		w.start(Options{})
		pass(time.Minute)
		require.Len(t, w.has, 50)
		require.Less(t, len(w.attempts), 40)
		require.Greater(t, len(w.attempts), 1)
		told := slices.DeleteFunc(slices.Clone(w.news), func(n string) bool { return strings.HasPrefix(n, "sent ") })
		require.Equal(t, []string{"Failing", "Healed"}, told, "once, though it fails again and again between others")
		s := w.b.Status()
		require.Equal(t, 1, s.Pending)
		require.Contains(t, s.Error, "input/output")
	})
}

// What the destination will not take is kept apart, told once, and tried again an hour later.
func TestRefused(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		var takes atomic.Bool
		w.fail = func(op string, b shelf.Bundle) error {
			if op == "send" && b.Key == "r/1" && !takes.Load() {
				return fmt.Errorf("%w: too large", ErrRefused)
			}
			return nil
		}
		w.publish("w", "r/1", 0, 100)
		w.publish("w", "r/2", 0, 100)
		w.start(Options{})
		pass(relist / 2)
		s := w.b.Status()
		require.Equal(t, []int{0, 1, 1, 0}, []int{s.Pending, s.Sent, s.Refused, s.Conflicts})
		require.Empty(t, s.Error)
		pass(2 * relist)
		require.ElementsMatch(t, []string{"refused r/1", "sent r/2"}, w.news, "told once")
		takes.Store(true)
		pass(relist)
		require.Zero(t, w.b.Status().Refused)
		require.Len(t, w.has, 2)
		require.Less(t, w.asked, 7, "what is held is not asked for again")
	})
}

// A local bundle that cannot be read, or is damaged, is told as that, and not as a failure of the destination. It counts
// also while it is looked at again.
func TestLocalDamage(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		places := make(map[string]string)
		for _, key := range []string{"denied", "broken", "altered", "gone", "busy", "elsewhere", "whole"} {
			places["r/"+key] = filepath.Join(w.dir, w.publish("w", "r/"+key, 0, 100))
		}
		reads := func(key string, of error) error {
			return fmt.Errorf("send: %w", &os.PathError{Op: "read", Path: filepath.Join(places[key], bundle.ArchiveName), Err: of})
		}
		w.fail = func(op string, b shelf.Bundle) error {
			switch {
			case b.Key == "r/denied":
				return reads(b.Key, syscall.EACCES)
			case op == "has":
				return nil
			}
			switch b.Key {
			case "r/altered":
				return fmt.Errorf("%w: %w: other bytes", ErrRefused, ErrDamaged)
			case "r/broken":
				return reads(b.Key, syscall.EIO)
			case "r/gone":
				return reads(b.Key, syscall.ENOENT)
			case "r/busy":
				return reads(b.Key, syscall.EMFILE)
			case "r/elsewhere":
				return reads("r/denied", syscall.EACCES)
			}
			return nil
		}
		w.start(Options{})
		pass(relist / 2)
		require.Equal(t, []string{"w/r/whole"}, slices.Sorted(maps.Keys(w.has)))
		s := w.b.Status()
		require.Equal(t, []int{3, 3, 0}, []int{s.Refused, s.Damaged, s.Conflicts})
		require.Equal(t, 3, s.Pending, "what may be over soon is tried again")
		for _, u := range s.Refusals {
			require.True(t, u.Damaged)
			require.Contains(t, []string{"r/denied", "r/broken", "r/altered"}, u.Key)
			require.Contains(t, u.Reason, "refused: the local bundle is damaged: ")
		}
		w.mu.Lock()
		w.fail, w.takes = nil, time.Minute
		w.mu.Unlock()
		pass(relist/2 + 30*time.Second)
		s = w.b.Status()
		require.Equal(t, []int{3, 3}, []int{s.Refused, s.Damaged}, "the next look has not come to an end")
		require.NotEmpty(t, s.Sending)
		pass(relist / 2)
		s = w.b.Status()
		require.Equal(t, []int{0, 0}, []int{s.Refused, s.Damaged})
		require.Len(t, w.has, 7)
	})
}

// Bundles that are pruned, damaged or gone.
func TestWhatCannotBeSent(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for _, key := range []string{"gone", "pruned", "damaged", "whole"} {
			w.publish("w", "r/"+key, 0, 100)
		}
		require.NoError(t, os.WriteFile(filepath.Join(w.dir, "w/r/damaged", bundle.ManifestName), []byte("{}"), 0o644))
		pruned, err := w.shelf.At("w/r/pruned")
		require.NoError(t, err)
		var up atomic.Bool
		w.fail = func(string, shelf.Bundle) error {
			if !up.Load() {
				return errors.New("down")
			}
			return nil
		}
		w.start(Options{})
		synctest.Wait()
		require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "w/r/gone")))
		_, err = w.shelf.Prune(pruned, "test", "test", time.Now())
		require.NoError(t, err)
		up.Store(true)
		pass(time.Minute)
		require.Len(t, w.has, 1)
		got := w.b.Status()
		require.Equal(t, []int{0, 0, 1}, []int{got.Unchecked, got.Pending, got.Refused})
		require.Contains(t, got.Refusals[0].Reason, "damaged")
		require.Equal(t, 1, got.Damaged)
	})
}

// A bundle that is made anew while it is sent is looked at again.
func TestMadeAnewMeanwhile(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		place := w.publish("w", "r/1", 0, 100)
		w.takes = time.Minute
		w.start(Options{})
		synctest.Wait()
		w.b.Published(w.publish("w", "r/1", 0, 200))
		pass(2 * time.Minute)
		got := w.b.Status()
		require.Equal(t, 1, got.Conflicts, "%+v", got)
		b, err := w.shelf.At(place)
		require.NoError(t, err)
		require.False(t, w.b.Holds(b))
	})
}

func TestHolds(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		place := w.publish("w", "r/1", 0, 100)
		w.takes = time.Minute
		w.start(Options{Watches: []string{"w"}})
		b, err := w.shelf.At(place)
		require.NoError(t, err)
		synctest.Wait()
		require.False(t, w.b.Holds(b))
		pass(2 * time.Minute)
		require.True(t, w.b.Holds(b))
		require.True(t, w.b.Wants("w"))
		require.False(t, w.b.Wants("v"))
	})
}

// What is published while the destination cannot be asked is the oldest that it has not; what it may well have is not.
func TestOldestOfAnOutage(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.publish("w", "r/1", 24*time.Hour, 100)
		w.fail = func(string, shelf.Bundle) error { return errors.New("no route to host") }
		w.start(Options{})
		pass(time.Second)
		s := w.b.Status()
		require.Equal(t, 1, s.Unchecked)
		require.Nil(t, s.Oldest)
		w.b.Published(w.publish("w", "r/2", 0, 100))
		pass(time.Hour)
		w.b.Published(w.publish("w", "r/3", 0, 100))
		pass(time.Second)
		s = w.b.Status()
		require.Equal(t, 3, s.Unchecked)
		require.Equal(t, "r/2", s.Oldest.Key)
		require.WithinDuration(t, w.begun.Add(time.Second), s.Oldest.Published, time.Second)
		w.mu.Lock()
		w.fail = nil
		w.mu.Unlock()
		pass(relist)
		require.Nil(t, w.b.Status().Oldest)
	})
}

// A destination that lost everything is told all again, and until then it holds nothing.
func TestLost(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		one, two := w.publish("w", "r/1", 0, 100), w.publish("w", "r/2", 0, 100)
		w.start(Options{})
		pass(time.Minute)
		require.Len(t, w.has, 2)
		at := func(place string) shelf.Bundle {
			b, err := w.shelf.At(place)
			require.NoError(t, err)
			return b
		}
		w.mu.Lock()
		clear(w.has)
		w.fail = func(string, shelf.Bundle) error { return fmt.Errorf("the bucket is gone: %w", ErrLost) }
		w.mu.Unlock()
		w.b.Published(w.publish("w", "r/3", 0, 100))
		pass(time.Second)
		require.False(t, w.b.Holds(at(one)))
		require.False(t, w.b.Holds(at(two)))
		s := w.b.Status()
		require.Equal(t, 3, s.Unchecked+s.Pending)
		w.mu.Lock()
		w.fail = nil
		w.mu.Unlock()
		pass(relist)
		require.Len(t, w.has, 3)
		require.True(t, w.b.Holds(at(one)))
	})
}

// What the destination does not hold any more is found out before the archive goes, and is sent again.
func TestConfirm(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		place := w.publish("w", "r/1", 0, 100)
		w.start(Options{})
		b, err := w.shelf.At(place)
		require.NoError(t, err)
		pass(time.Minute)
		held, err := w.b.Confirm(t.Context(), b)
		require.NoError(t, err)
		require.True(t, held)

		w.fail = func(string, shelf.Bundle) error { return errors.New("no route to host") }
		_, err = w.b.Confirm(t.Context(), b)
		require.ErrorContains(t, err, "no route to host")
		require.True(t, w.b.Holds(b), "nothing is known")
		w.fail = nil

		delete(w.has, place)
		held, err = w.b.Confirm(t.Context(), b)
		require.NoError(t, err)
		require.False(t, held)
		pass(time.Minute)
		require.Contains(t, w.has, place)
		require.True(t, w.b.Holds(b))

		asked := w.asked
		other := b
		other.Place = "w/r/2"
		held, err = w.b.Confirm(t.Context(), other)
		require.NoError(t, err)
		require.False(t, held)
		require.Equal(t, asked, w.asked)
	})
}

func TestDrain(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for i := range 5 {
			w.publish("w", fmt.Sprint("r/", i), time.Duration(i)*time.Hour, 100)
		}
		w.has["w/r/4"] = "x"
		w.takes = 10 * time.Second
		w.start(Options{})
		ctx, stop := context.WithTimeout(context.Background(), 25*time.Second)
		defer stop()
		left, err := w.b.Drain(ctx)
		synctest.Wait()
		require.NoError(t, err)
		require.Len(t, left, 3)
		require.Equal(t, []string{"r/2", "r/3", "r/4"}, []string{left[0].Key, left[1].Key, left[2].Key})
		require.NoError(t, left[0].Why)
		require.ErrorIs(t, left[2].Why, ErrConflict)
		before := time.Now()
		left, err = w.b.Drain(context.Background())
		require.NoError(t, err)
		require.Len(t, left, 1)
		require.Equal(t, 15*time.Second, time.Since(before))
	})
}

// A drain does not wait for the pauses of an outage.
func TestDrainAfterAnOutage(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.publish("w", "r/1", 0, 100)
		var up atomic.Bool
		w.fail = func(string, shelf.Bundle) error {
			if !up.Load() {
				return errors.New("down")
			}
			return nil
		}
		w.start(Options{})
		pass(time.Hour)
		ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
		defer stop()
		tries := len(w.attempts)
		left, err := w.b.Drain(ctx)
		synctest.Wait()
		require.NoError(t, err)
		require.EqualError(t, left[0].Why, "down")
		require.Greater(t, len(w.attempts), tries+5)
		up.Store(true)
		left, err = w.b.Drain(context.Background())
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestArtifactDirectoryThatCannotBeListed(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.publish("w", "r/1", 0, 100)
		away := w.dir + "-away"
		require.NoError(t, os.Rename(w.dir, away))
		w.start(Options{})
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		_, err := w.b.Drain(ctx)
		require.ErrorContains(t, err, "list bundles")
		require.Contains(t, w.b.Status().Error, "list the local bundles")
		require.NoError(t, os.Rename(away, w.dir))
		pass(2 * mostPause)
		require.Len(t, w.has, 1)
	})
}

func TestBackoffIsBounded(t *testing.T) {
	for fails := range 100 {
		for range 100 {
			d := Pause(fails)
			require.Positive(t, d)
			require.LessOrEqual(t, d, min(mostPause, firstPause<<min(max(0, fails-1), 10)))
		}
	}
}
