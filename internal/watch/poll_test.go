package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// bubble runs a polling watcher over a tree of runs, each a directory with a checkpoint, under a clock
// that only moves when all is quiet.
func bubble(t *testing.T, runs int, change func(*Options), test func(t *testing.T, p *polled)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &polled{t: t, root: t.TempDir()}
		for i := range runs {
			write(t, filepath.Join(p.root, fmt.Sprint("run", i), "a.ckpt"), "x")
		}
		opts := options(p.root)
		opts.Source, opts.Settle, opts.Poll = Poll, time.Second, time.Second
		change(&opts)
		p.out = start(t, opts)
		test(t, p)
	})
}

// spend lets time pass and returns how many calls it cost.
func (p *polled) spend(d time.Duration) int64 {
	before := p.out.w.State().Ops
	p.pass(d)
	return p.out.w.State().Ops - before
}

func TestPollReadsOnlyWhatChanged(t *testing.T) {
	const runs = 100
	bubble(t, runs, func(*Options) {}, func(t *testing.T, p *polled) {
		p.pass(time.Minute)
		scans, ops := p.out.w.State().Scans, p.spend(time.Minute)
		scans = p.out.w.State().Scans - scans
		require.InDelta(t, 60, scans, 10)
		// For each directory the times, and for each file that has settled an open of its directory and a
		// look; no directory is read. The root is looked at as well, every second.
		require.Less(t, ops, int64(scans*(3*runs+10)+200))
		require.Greater(t, ops, int64(scans*3*runs))

		write(t, filepath.Join(p.root, "run7", "b.ckpt"), "x")
		require.Equal(t, []Kind{Waiting, Settled}, kindsOf(p.pass(5*time.Second)))
		require.NoError(t, os.Remove(filepath.Join(p.root, "run7", "b.ckpt")))
		write(t, filepath.Join(p.root, "run8", "new", "c.ckpt"), "x")
		require.ElementsMatch(t, []Kind{Gone, Waiting, Settled}, kindsOf(p.pass(5*time.Second)))
	})
}

// A write into a file changes no time of its directory.
func TestPollFindsRewritesInPlace(t *testing.T) {
	bubble(t, 3, func(*Options) {}, func(t *testing.T, p *polled) {
		p.pass(time.Minute)
		write(t, filepath.Join(p.root, "run1", "a.ckpt"), "rewritten")
		require.Equal(t, []Kind{Waiting, Settled}, kindsOf(p.pass(5*time.Second)))
	})
}

// Two changes within the granule of a directory's times cannot be told apart by these.
func TestPollReadsYoungDirectoriesAgain(t *testing.T) {
	o := &owner{began: time.Unix(1000, 0)}
	on := func(network bool) *dir { return &dir{mount: &mount{filesystem: filesystem{network: network}}} }
	seconds := func(sec int64) Stat { return Stat{ModTime: sec * 1e9, ChangeTime: sec * 1e9} }
	now := time.Now().Unix()
	for _, test := range []struct {
		name    string
		network bool
		changed int64
		stable  bool
	}{
		{"local, long ago", false, now - 3600, true},
		{"local, just now", false, now, false},
		{"local, in the future", false, now + 3600, false},
		{"server's, an hour ago by a clock that may be late", true, now - 3600, false},
		{"server's, days ago", true, now - 3*86400, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := on(test.network)
			o.timed(d, seconds(test.changed))
			require.Equal(t, test.stable, d.stable)
			d.seen -= 2 * time.Minute // as if it had been seen so long ago for the first time
			o.timed(d, seconds(test.changed))
			require.True(t, d.stable, "the same times for longer than they can be wrong")
			o.timed(d, seconds(now+1))
			require.False(t, d.stable, "other times")
		})
	}
}

// However large the tree, passes make no more calls in a minute than the budget says, evenly.
func TestPollKeepsToItsBudget(t *testing.T) {
	const budget = 600
	bubble(t, 300, func(o *Options) { o.PollOps = budget }, func(t *testing.T, p *polled) {
		p.pass(10 * time.Second) // the first listing is not bounded
		rootChecks := int64(2)   // a second
		for range 10 {
			require.LessOrEqual(t, p.spend(time.Minute), budget+60*rootChecks+10)
		}
		for range 20 {
			ops := p.spend(3 * time.Second)
			require.LessOrEqual(t, ops, budget/20+3*rootChecks+10)
			require.Positive(t, ops)
		}
		// In a pass of 300 directories, the half of the time is for looking at files: 4 calls each.
		scans := p.out.w.State().Scans
		p.pass(30 * time.Minute)
		require.Greater(t, p.out.w.State().Scans, scans+15)

		write(t, filepath.Join(p.root, "run7", "b.ckpt"), "x")
		require.Equal(t, []Kind{Waiting, Settled}, kindsOf(p.pass(3*time.Minute)))
		write(t, filepath.Join(p.root, "run8", "a.ckpt"), "rewritten in place")
		require.Equal(t, []Kind{Waiting, Settled}, kindsOf(p.pass(6*time.Minute)))
	})
}

// What no times show is found by the walk, in which every directory is read: 9 to 11 minutes after the one
// before, which is from the start to the start, so the third may come 18 minutes after the first.
func TestWalkReadsEverything(t *testing.T) {
	const runs = 50
	bubble(t, runs, func(o *Options) { o.Rescan = 10 * time.Minute }, func(t *testing.T, p *polled) {
		most := func(d time.Duration) (ops int64) {
			end := time.After(d)
			for {
				select {
				case f := <-p.out.facts:
					p.out.keep(f)
					ops = max(ops, p.out.w.State().ScanOps)
				case <-end:
					return ops
				}
			}
		}
		p.pass(time.Minute)
		usual := most(7 * time.Minute)
		require.Greater(t, most(4*time.Minute), usual+2*runs, "11 minutes after the first listing")
		p.pass(time.Minute)
		require.LessOrEqual(t, most(4*time.Minute), usual, "13 to 17 minutes after the first listing")
	})
}

// Where everything has a watch, a walk asks for times, and finds what was not notified all the same.
func TestWalkOverWatches(t *testing.T) {
	const runs = 50
	n, err := newNotifier() // out of the bubble: it waits for the kernel
	require.NoError(t, err)
	n.add = func(string) error { return nil } // nothing is notified
	var instead *os.File                      // of the notifier's descriptor, which was there before the watcher
	defer func() { instead.Close() }()
	synctest.Test(t, func(t *testing.T) {
		n.poke = make(chan struct{}, 1)
		p := &polled{t: t, root: t.TempDir()}
		for i := range runs {
			write(t, filepath.Join(p.root, fmt.Sprint("run", i), "a.ckpt"), "x")
		}
		opts := options(p.root)
		opts.Source, opts.Settle, opts.Rescan = Inotify, time.Second, time.Minute
		p.out = start(t, opts, func(w *Watcher) {
			w.newNotifier = func() (_ *notifier, err error) {
				instead, err = os.Open(os.DevNull)
				return n, err
			}
		})
		p.pass(150 * time.Second) // the directories are old enough from the second walk on
		var walks []int64
		for range 3 * thoroughEach {
			p.pass(time.Minute)
			walks = append(walks, p.out.w.State().ScanOps)
		}
		require.LessOrEqual(t, slices.Min(walks), int64(3*runs+20))
		require.Greater(t, slices.Max(walks), slices.Min(walks)+2*runs, "a thorough walk reads all")

		write(t, filepath.Join(p.root, "run7", "b.ckpt"), "x")
		require.Equal(t, []Kind{Waiting, Settled}, kindsOf(p.pass(90*time.Second)))
		write(t, filepath.Join(p.root, "run8", "a.ckpt"), "rewritten in place")
		require.Equal(t, []Kind{Waiting, Settled}, kindsOf(p.pass(90*time.Second)))
	})
}

func TestWalkRests(t *testing.T) {
	o := &owner{opts: Options{Rescan: time.Minute}, mounts: map[place]*mount{}}
	require.InDelta(t, time.Minute, o.walkEvery(time.Millisecond), float64(6*time.Second))
	require.InDelta(t, 200*time.Second, o.walkEvery(100*time.Millisecond), float64(20*time.Second))
	require.InDelta(t, 10*time.Minute, o.walkEvery(time.Minute), float64(time.Minute), "a slow tree")
	o.mounts[1] = &mount{dirs: 1}
	require.InDelta(t, time.Minute, o.walkEvery(time.Minute), float64(6*time.Second), "what is polled has its own bounds")
}

// A walk that does not fit into one pass is spread over several, each of which visits all.
func TestWalkIsSpread(t *testing.T) {
	const runs, budget = 50, 1200
	bubble(t, runs, func(o *Options) { o.Rescan, o.PollOps = 10*time.Minute, budget }, func(t *testing.T, p *polled) {
		p.pass(time.Minute)
		for range 20 {
			scans, ops := p.out.w.State().Scans, p.spend(time.Minute)
			require.Greater(t, p.out.w.State().Scans, scans+4, "visited in 15 s, whatever else is done")
			require.LessOrEqual(t, ops, int64(budget+60*2+20))
		}
	})
}

func TestJitterIsWithinATenth(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 1000 {
		d := jitter(time.Second)
		require.InDelta(t, time.Second, d, float64(time.Second/10))
		seen[d] = true
	}
	require.Greater(t, len(seen), 100)
	require.Zero(t, jitter(0))
}
