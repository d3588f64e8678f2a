package fault

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/internal/tracer"
)

// traceDaemon runs the daemon under the tracer. Once it has published everything it is told to stop, and all
// until its end counts, too. A bundle of which only the last sync failed is told as a failure alone.
func (b *bench) traceDaemon(react func(tracer.Call) tracer.Reaction, want map[string]checker.Set) program.Result {
	b.Helper()
	p := tracer.Start(b, react, "run", "--config", b.config())
	program.Eventually(b, "the daemon publishes everything or ends", func() bool {
		told := strings.Count(p.Log(), `"message":"bundle published"`) + strings.Count(p.Log(), `"level":"error"`)
		return p.HasEnded() || (told >= len(want) && b.allVisible(want))
	})
	p.Signal(syscall.SIGTERM)
	return p.Wait()
}

// point is one of the calls of a daemon: the n-th of that name, counted from 1. Its threads make their calls in another
// order each time, so the n-th call of all would be another one.
type point struct {
	name string
	n    int
}

// is tells whether a call has the name of the point.
func (p point) is(c tracer.Call) bool { return c.Name == p.name }

// everyPoint runs try for every stride-th call of a daemon that publishes some sets, several at once,
// each with a bench of its own. The calls that publish are always among them.
func (b *bench) everyPoint(want map[string]checker.Set, chosen func(*bench, tracer.Call) bool, try func(b *bench, p point)) {
	b.Helper()
	points := b.points(want, chosen)
	require.Greater(b, len(points), 8, "the tracer sees too little")
	b.Run("points", func(t *testing.T) {
		for i, p := range points {
			if i%stride() != 0 && p.name != "renameat2" {
				continue
			}
			t.Run(p.name+" "+strconv.Itoa(p.n), func(t *testing.T) {
				t.Parallel()
				try(b.beside(t), p)
			})
		}
	})
}

// points are the chosen calls of a daemon that is left alone, by name.
func (b *bench) points(want map[string]checker.Set, chosen func(*bench, tracer.Call) bool) (points []point) {
	b.Helper()
	all, counts := b.beside(b.T), make(map[string]int)
	count := &tracer.Nth{N: -1, Chosen: func(c tracer.Call) bool {
		if chosen(all, c) {
			counts[c.Name]++
			points = append(points, point{c.Name, counts[c.Name]})
		}
		return false
	}}
	r := all.traceDaemon(count.Next, want)
	require.Zero(b, r.Code, r.Stderr)
	all.requirePublished(want)
	return points
}

// changesArtifacts are the calls at which the daemon is killed.
func changesArtifacts(b *bench, c tracer.Call) bool { return b.touchesArtifacts(c) }

// judgeDaemon counts what an interrupted daemon, and one that was started after it, left.
func (b *bench) judgeDaemon(count *tally, want map[string]checker.Set) {
	b.Helper()
	count.points++
	if _, err := checker.Published(b.artifacts); err != nil {
		count.torn++
		b.Errorf("after the interruption: %v", err)
	}
	d := b.start()
	program.Eventually(b, "the daemon publishes what is missing", func() bool { return b.allVisible(want) })
	d.stop()
	b.compare(count, want)
}

func twoSets(b *bench) map[string]checker.Set {
	return map[string]checker.Set{"r1/1": b.addSet("1", memberSize, 1), "r1/2": b.addSet("2", memberSize, 11)}
}

// The daemon is killed before each call that changes something in the artifact directory, from its start
// to its end: the next one publishes what is missing, and nothing twice.
func TestKillOfTheDaemonBeforeEverySystemCall(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := twoSets(b)
	counts := tallies{}
	b.everyPoint(want, changesArtifacts, func(b *bench, p point) {
		x := &tracer.Nth{N: p.n, Chosen: func(c tracer.Call) bool { return p.is(c) && b.touchesArtifacts(c) }, React: func(tracer.Call) tracer.Reaction { return tracer.Reaction{Kill: true} }}
		r := b.traceDaemon(x.Next, want)
		at, ok := x.Hit()
		if !ok {
			return // there were fewer calls than the first time
		}
		require.Equal(b, -1, r.Code, "killed before %s %q", at.Name, at.Path)
		var one tally
		b.judgeDaemon(&one, want)
		counts.add(at.Name, one)
	})
	b.record(killDaemon, counts)
}

// canFailUnderDaemon are the calls that fail on full, broken, exhausted and read-only file systems,
// those included whose failure spoils nothing.
var canFailUnderDaemon = append([]string{"unlinkat", "close"}, canFail...)

// Each call of a daemon fails once. It goes on by itself, or ends with the cause and is started again, as
// systemd does.
func TestFailureOfEverySystemCallOfTheDaemon(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := twoSets(b)
	for _, tc := range []struct {
		row   row
		errno unix.Errno
	}{{enospcDaemon, unix.ENOSPC}, {eioDaemon, unix.EIO}, {edquotDaemon, unix.EDQUOT}, {erofsDaemon, unix.EROFS}} {
		t.Run(unix.ErrnoName(tc.errno), func(t *testing.T) {
			t.Parallel()
			b := &bench{T: t, dir: b.dir, artifacts: b.artifacts, runs: b.runs}
			counts := tallies{}
			b.everyPoint(want, canFailOnce, func(b *bench, p point) {
				x := &tracer.Nth{N: p.n, Chosen: func(c tracer.Call) bool { return p.is(c) && canFailOnce(b, c) },
					React: func(tracer.Call) tracer.Reaction { return tracer.Reaction{Fail: tc.errno} }}
				r := b.traceDaemon(x.Next, want)
				if at, ok := x.Hit(); ok {
					counts.add(at.Name, b.judgeRepair(r, tc.errno, at, want))
				}
			})
			b.record(tc.row, counts)
		})
	}
}

func canFailOnce(b *bench, c tracer.Call) bool {
	return b.touchesArtifacts(c) && slices.Contains(canFailUnderDaemon, c.Name)
}

// judgeRepair wants a daemon whose call failed to have said so, and to have published everything, itself
// or after it was started again.
func (b *bench) judgeRepair(r program.Result, errno unix.Errno, at tracer.Call, want map[string]checker.Set) (one tally) {
	b.Helper()
	require.Contains(b, []int{0, 1}, r.Code, "exit code after the failure of %s %q; stderr: %s", at.Name, at.Path, r.Stderr)
	// What is closed was synced, or is given up; what cannot be removed may not have been there.
	if at.Name != "close" && at.Name != "unlinkat" {
		require.Contains(b, r.Stderr, errno.Error(), "after the failure of %s %q", at.Name, at.Path)
	}
	if r.Code == 0 && at.Name != "unlinkat" {
		b.requireNoStaging()
		require.True(b, b.allVisible(want), "after the failure of %s %q; stderr: %s", at.Name, at.Path, r.Stderr)
	}
	b.judgeDaemon(&one, want)
	return one
}

// Each write of the daemon writes a half only, and then the disk is full.
func TestHalfOfEveryWriteOfTheDaemon(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := twoSets(b)
	counts := tallies{}
	b.everyPoint(want, writesArtifacts, func(b *bench, p point) {
		x := &halfWrite{bench: b, n: p.n, name: p.name}
		r := b.traceDaemon(x.next, want)
		if x.failed {
			counts.add(x.at.Name, b.judgeRepair(r, unix.ENOSPC, x.at, want))
		}
	})
	b.record(halfDaemon, counts)
}

// The same for a pass.
func TestHalfOfEveryWrite(t *testing.T) {
	b := newBench(t)
	want := twoSets(b)
	counts := tallies{}
	for n := 1; ; n += stride() {
		b.forget()
		x := &halfWrite{bench: b, n: n}
		r := tracer.Run(b, x.next, "once", "--config", b.config())
		if x.met < n {
			break
		}
		require.True(t, x.failed, "nothing was written after half of %s %q", x.at.Name, x.at.Path)
		b.requireTold(r, unix.ENOSPC, x.at)
		var one tally
		b.judge(&one, want)
		counts.add(x.at.Name, one)
	}
	b.record(halfOnce, counts)
}

func writesArtifacts(b *bench, c tracer.Call) bool { return c.Length > 1 && b.touchesArtifacts(c) }

// halfWrite lets the n-th write do a half, and the one after it to the same file fail.
type halfWrite struct {
	*bench
	name   string // of the writes that count, "" for all
	n, met int
	at     tracer.Call
	failed bool
}

func (x *halfWrite) next(c tracer.Call) tracer.Reaction {
	switch {
	case x.met >= x.n && !x.failed && c.Path == x.at.Path && c.Length > 0:
		x.failed = true
		return tracer.Reaction{Fail: unix.ENOSPC}
	case x.met >= x.n || !writesArtifacts(x.bench, c) || (x.name != "" && c.Name != x.name):
		return tracer.Reaction{}
	}
	if x.met++; x.met < x.n {
		return tracer.Reaction{}
	}
	x.at = c
	return tracer.Reaction{Short: c.Length / 2}
}
