package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// hang is a file system that does not answer: calls whose path holds a text block until it is let go.
type hang struct {
	text string
	gone chan struct{}
	once sync.Once
}

func newHang(text string) *hang { return &hang{text: text, gone: make(chan struct{})} }

func (h *hang) hook(_, path string) {
	if strings.Contains(path, h.text) {
		<-h.gone
	}
}

func (h *hang) letGo() { h.once.Do(func() { close(h.gone) }) }

// quickWatchdog makes systemd want to hear often, so that what hangs is noticed after two seconds.
func quickWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", fmt.Sprint((300 * time.Millisecond).Microseconds()))
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
}

// addWatch adds a watch like the first, with a root of its own.
func (s *site) addWatch(name string) (root string) {
	w := *s.watch()
	w.Name, w.Root = name, filepath.Join(filepath.Dir(s.root), name)
	require.NoError(s.t, os.Mkdir(w.Root, 0o755))
	s.config.Watches = append(s.config.Watches, w)
	return w.Root
}

func (v *service) snapshot() *status.Snapshot { return v.daemon.board.Last() }

// A root whose file system hangs is shown and counted out: the others work, the watchdog is fed, the daemon
// is ready. When it answers again, it goes on.
func TestHungRoot(t *testing.T) {
	quickWatchdog(t)
	s := newSite(t)
	s.addWatch("hung")
	s.write("../hung/r/a-1.ckpt", torchZip(t, 10, 1))
	s.write("../hung/r/b-1.ckpt", torchZip(t, 10, 2))
	h := newHang(filepath.Join(filepath.Dir(s.root), "hung", "r"))
	t.Cleanup(h.letGo)
	v := s.serveAs(nil, func(d *Daemon) { d.hook = h.hook })
	v.until("READY=1")
	v.eventOf(Hung, "hung")
	require.Contains(t, v.until("STATUS=root of hung hangs"), `in "read" of`)
	s.writePair("r")
	v.eventOf(Bundled, "w")
	v.until("WATCHDOG=1")
	v.until("WATCHDOG=1")
	snap := v.snapshot()
	require.True(t, snap.Ready)
	require.Nil(t, snap.Watches[0].Hung)
	require.Equal(t, "read", snap.Watches[1].Hung.Op)
	require.Contains(t, status.Readiness(snap)[0], `watch "hung": root`)
	require.Empty(t, status.Health(snap))

	h.letGo()
	v.eventOf(Answers, "hung")
	v.eventOf(Bundled, "hung")
	require.Eventually(t, func() bool { return len(status.Readiness(v.snapshot())) == 0 }, patience, 10*time.Millisecond)
	for _, kind := range []Kind{Hung, Answers} {
		require.Equal(t, 1, v.count(kind), "told once")
	}
}

// eventOf waits for an event of a watch.
func (v *service) eventOf(kind Kind, watch string) {
	v.t.Helper()
	require.Eventually(v.t, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, e := range v.events {
			if e.Kind == kind && e.Watch == watch {
				return true
			}
		}
		return false
	}, patience, 5*time.Millisecond, "never told: %s of %s", kind, watch)
}

func (v *service) count(kind Kind) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, e := range v.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// A daemon stops in time although a root hangs, with nothing left in the staging directory.
func TestStopWithAHungRoot(t *testing.T) {
	for name, text := range map[string]string{"while proving": "/hung/r/a-1", "while packing": "/hung/r/config"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			before := openFiles(t)
			s.addWatch("hung")
			h := newHang(text)
			hung := make(chan struct{}, 100)
			v := s.serveAs(nil, func(d *Daemon) {
				d.grace = 100 * time.Millisecond
				d.hook = func(op, path string) {
					if op == "freeze the config" && strings.HasSuffix(path, "/hung") {
						path += "/r/config"
					}
					if strings.Contains(path, text) {
						hung <- struct{}{}
					}
					h.hook(op, path)
				}
			})
			v.until("READY=1")
			s.write("../hung/r/a-1.ckpt", torchZip(t, 10, 1))
			s.write("../hung/r/b-1.ckpt", torchZip(t, 10, 2))
			<-hung
			v.stop()
			v.ended <- <-v.ended // has ended, while it hangs
			require.Contains(t, v.log.String(), "watch hangs; stopping without it")
			s.noLitter()
			h.letGo()
			require.Eventually(t, func() bool { return openFiles(t) <= before+1 }, patience, 10*time.Millisecond)
			require.Empty(t, s.bundles())
		})
	}
}

// A reload does not wait for a root that hangs and is not wanted any more.
func TestReloadWithAHungRoot(t *testing.T) {
	s := newSite(t)
	s.addWatch("hung")
	h := newHang("/hung/r/")
	t.Cleanup(h.letGo)
	hung := make(chan struct{}, 100)
	fewer := *s.config
	fewer.Watches = s.config.Watches[:1]
	v := s.serveAs(func() (*config.Config, error) { return &fewer, nil }, func(d *Daemon) {
		d.grace = 100 * time.Millisecond
		d.hook = func(op, path string) {
			if strings.Contains(path, "/hung/r/") {
				hung <- struct{}{}
			}
			h.hook(op, path)
		}
	})
	v.until("READY=1")
	s.write("../hung/r/a-1.ckpt", torchZip(t, 10, 1))
	<-hung
	v.reload <- struct{}{}
	v.until("RELOADING")
	v.until("READY=1")
	s.writePair("r")
	v.eventOf(Bundled, "w")
	require.Contains(t, strings.Join(v.snapshot().Problems, ";"), "the former root")
	h.letGo()
}

// Reading the config can hang, too: the old one stays in force, and systemd is told that all is well.
func TestReloadThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		l := load(func() (*config.Config, error) { <-hang; return &config.Config{}, nil })
		require.ErrorContains(t, l.err, "takes longer than 20s")
		close(hang)
	})
	l := load(func() (*config.Config, error) { return nil, errors.New("bad") })
	require.EqualError(t, l.err, "bad")
}

// A pack that hangs gives its place to other watches, and its own watch begins no more of them.
func TestStalledPack(t *testing.T) {
	s := newSite(t)
	synctest.Test(t, func(t *testing.T) {
		s.t = t
		h := newHang("/hung/")
		defer h.letGo()
		var mu sync.Mutex
		var events []Event
		opts := s.options()
		opts.Now = nil
		opts.hook = h.hook
		opts.Emit = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == PackStalled || e.Kind == PackMoves {
				events = append(events, e)
			}
		}
		b := s.bench()
		opts.common = b.opts.common
		b.packer.opts, b.opts = opts, opts
		pool, stop := newPool(b.packer, opts, 1), make(chan struct{})
		go pool.run(stop)
		defer func() { close(stop); <-pool.done }()
		replies := make(chan reply, 10)
		order := func(watch, run string) {
			j := b.jobFor(run)
			j.watch.Name = watch
			pool.orders <- order{ctx: t.Context(), job: j, replies: replies}
		}
		s.writePair("hung")
		s.writePair("well")
		order("w", "hung")
		order("other", "well") // waits until the other gives its place up
		require.True(t, (<-replies).began)
		require.True(t, (<-replies).began)
		r := <-replies
		require.Equal(t, "well/1", r.job.key)
		require.NoError(t, r.outcome.err)
		require.Equal(t, PackStalled, events[0].Kind)
		require.Contains(t, events[0].Reason, `it is in "open" of`)

		l := &loop{engine: b.engine, queue: []*set{{}}, packing: map[*job]*set{b.jobFor("hung"): nil}}
		for j := range l.packing {
			j.work = newWork(j, opts)
			j.work.stalled.Store(true)
		}
		require.Nil(t, l.next(), "its watch begins no more")
		h.letGo()
		require.NoError(t, (<-replies).outcome.err)
		s.told()
	})
	s.t = t
}

// The vigil lets off what hangs in a file system, and nothing else.
func TestVigil(t *testing.T) {
	s := newSite(t)
	v := newVigil(s.options(), time.Minute)
	p := newPulse(s.options())
	look := func() (bool, bool) {
		idle, in := p.idle()
		return v.look(ward{name: "w", watch: "w", path: "/w", idle: idle, in: in})
	}
	alive := func() bool { a, _ := look(); return a }
	require.True(t, alive())
	s.advance(time.Minute + time.Second)
	stands, newly := look()
	require.False(t, stands, "stuck in no call: the watchdog is to bite")
	require.True(t, newly)
	_, newly = look()
	require.False(t, newly, "told once")
	s.expect()
	p.turned()
	require.True(t, alive())

	over := p.call("read", "/w/x")
	s.advance(time.Minute)
	require.True(t, alive())
	s.expect()
	s.advance(time.Second)
	require.True(t, alive())
	require.Contains(t, s.expect(Hung)[0].Reason, `"read" of "/w/x" has not come back for 1m1s`)
	require.True(t, alive())
	require.InDelta(t, 61, v.callOf("w").Seconds, 0.1)
	over()
	require.True(t, alive())
	require.Contains(t, s.expect(Answers)[0].Reason, "came back after 1m1s")
	require.Nil(t, v.callOf("w"))
}

func TestCallsInsideCalls(t *testing.T) {
	p := newPulse(Options{})
	outer := p.call("write", "/a")
	inner := p.call("read", "/b")
	_, in := p.idle()
	require.Equal(t, "/b", in.path)
	inner()
	_, in = p.idle()
	require.Equal(t, "/a", in.path)
	outer()
	_, in = p.idle()
	require.Nil(t, in)
}

// A watcher that waits for its loop is not stuck.
func TestWatcherThatWaitsToBeHeard(t *testing.T) {
	b := newBench(t)
	b.turned()
	require.Positive(t, b.punctual())
	b.advance(longTurn + time.Second)
	require.Zero(t, b.punctual(), "the loop is busy")
	b.turned()
	require.Zero(t, b.punctual())
	b.advance(time.Second)
	b.turned()
	require.Equal(t, time.Second, b.punctual())
}

// No decision depends on the wall clock: times that are waited for carry the monotonic one.
func TestDeadlinesAreMonotonic(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	b.write("r/a-1.ckpt", torchZip(t, 100, 5))
	b.settle("r/a-1.ckpt")
	b.writePair("q")
	b.settle("q/a-1.ckpt")
	b.again(b.table.Sets()[0], errors.New("x"))
	b.failed(b.table.Sets()[0], &artifactError{errors.New("x")})
	times := map[string]time.Time{"resume": b.resume, "fault": b.opts.common.faults.since, "moved": b.pulse.last()}
	for _, s := range b.table.Sets() {
		times["since "+s.Key], times["retry "+s.Key], times["regroup "+s.Key] = s.Since, s.State.pending().retry, s.State.pending().regroupAt
		times["failing "+s.Key], times["complete "+s.Key], times["due "+s.Key] = s.State.pending().failing, s.State.pending().complete, b.due[s]
	}
	checked := 0
	for name, at := range times {
		if !at.IsZero() {
			checked++
			require.Contains(t, at.String(), " m=", name)
		}
	}
	require.Greater(t, checked, 7)
	b.told()
}

// After the machine was suspended every root is listed; nothing expires at once.
func TestSuspend(t *testing.T) {
	asleep := 5 * time.Second
	c := clocks{asleep: func() time.Duration { return asleep }, before: asleep}
	require.Zero(t, c.slept())
	asleep += time.Second
	require.Zero(t, c.slept(), "clocks are not read at the same moment")
	asleep += 2 * time.Hour
	require.Equal(t, 2*time.Hour, c.slept())
	require.Zero(t, c.slept())
	real := newClocks()
	require.Less(t, real.slept(), time.Second)

	s := newSite(t)
	var mu sync.Mutex
	v := s.serve(nil)
	v.until("READY=1")
	v.stop()
	v.ended <- <-v.ended
	v.daemon.clocks.asleep = func() time.Duration { mu.Lock(); defer mu.Unlock(); return asleep + 3*time.Hour }
	v.daemon.clocks.before = asleep
	v.daemon.turn()
	require.Contains(t, v.log.String(), `"suspended":"3h0m0s"`)
}

func TestArtifactDirectoryThatIsRemoved(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	s.writePair("q")
	v := s.serve(nil)
	v.event(Bundled, "r/1")
	v.event(Bundled, "q/1")
	require.NoError(t, os.RemoveAll(s.config.Artifacts.Dir))
	v.daemon.keeper.lookSoon()
	v.event(Renewed, "")
	require.Eventually(t, func() bool {
		found, err := filepath.Glob(filepath.Join(s.config.Artifacts.Dir, "w", "*", "1", "bundle_manifest.json"))
		return err == nil && len(found) == 2
	}, patience, 10*time.Millisecond)
	other := &Daemon{Options: s.options(), Log: zerolog.Nop()}
	require.Error(t, other.Run(context.Background(), s.config), "the lock was taken anew")
	require.Len(t, s.bundles(), 2)
}
