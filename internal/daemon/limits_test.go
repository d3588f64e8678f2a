package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pair"
	"github.com/bundlewatch/bundlewatch/internal/snapshot"
	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		begin := time.Now()
		require.NoError(t, th.wait(t.Context(), 1<<30, func() {}))
		require.Zero(t, time.Since(begin), "no limit")

		th.setRate(1 << 20)
		turns := 0
		require.NoError(t, th.wait(t.Context(), 10<<20, func() { turns++ }))
		require.InDelta(t, 10, time.Since(begin).Seconds(), 0.2)
		require.Greater(t, turns, 90, "it shows that it is alive while it waits")

		go func() {
			time.Sleep(time.Second)
			th.setRate(0)
		}()
		begin = time.Now()
		require.NoError(t, th.wait(t.Context(), 10<<20, func() {}))
		require.Less(t, time.Since(begin), 2*time.Second, "a change of the rate is for those who wait, too")

		th.setRate(1)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		require.ErrorIs(t, th.wait(ctx, 100, func() {}), context.DeadlineExceeded)
	})
}

// While it packs, the program takes no more of the processors than its share; what it did before does not count.
func TestThrottleOfProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		used := time.Hour
		th.used = func() time.Duration { return used }
		th.setCPU(50)
		pack := func(cpu time.Duration) time.Duration {
			defer th.begin()()
			begin := time.Now()
			for range 100 {
				used += cpu / 100
				require.NoError(t, th.wait(t.Context(), 1<<20, func() {}))
			}
			return time.Since(begin)
		}
		require.InDelta(t, 4, pack(2*time.Second).Seconds(), 0.1)
		used += time.Hour
		require.InDelta(t, 4, pack(2*time.Second).Seconds(), 0.1)

		end := th.begin() // of one beside which the other is
		require.InDelta(t, 4, pack(2*time.Second).Seconds(), 0.1)
		end()

		require.InDelta(t, 4.2, pack(time.Hour).Seconds(), 0.1, "others in this process take all they can: 100 MiB are charged at 20 ns a byte")

		th.setCPU(200)
		require.InDelta(t, 1, pack(2*time.Second).Seconds(), 0.1)
		th.setCPU(math.Inf(1))
		require.Zero(t, pack(time.Hour))
		th.setCPU(1)
		th.rush.Store(1)
		require.Zero(t, pack(time.Hour), "a drain has no time")
		th.rush.Store(0)
		require.InDelta(t, 1, pack(10*time.Millisecond).Seconds(), 0.2, "nothing is owed for what was done in a hurry")

		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		used += time.Hour
		require.ErrorIs(t, th.wait(ctx, 1<<20, func() {}), context.DeadlineExceeded)
	})
}

func TestProcessTime(t *testing.T) {
	before := processTime()
	for processTime() < before+10*time.Millisecond {
		sha256.Sum256(make([]byte, 1<<20))
	}
}

// All packs together read no faster than the limit.
func TestReadRate(t *testing.T) {
	s := newSite(t)
	s.write("r/a-1.ckpt", torchZip(t, 10_000, 1))
	s.write("r/b-1.ckpt", torchZip(t, 10_000, 2))
	synctest.Test(t, func(t *testing.T) {
		s.t = t
		b := s.bench()
		b.settle("r/a-1.ckpt", "r/b-1.ckpt")
		b.packer.throttle.setRate(10_000)
		begin := time.Now()
		b.pack()
		b.expect(Bundled)
		require.Greater(t, time.Since(begin), 8*time.Second, "80 kB and their headers")
		require.Less(t, time.Since(begin), 60*time.Second)
	})
	s.t = t
}

func TestBudget(t *testing.T) {
	b := newBudget(2)
	require.True(t, b.take())
	require.True(t, b.take())
	require.False(t, b.take())
	b.most.Store(1)
	b.give()
	require.False(t, b.take(), "lowered by a reload")
	b.give()
	require.True(t, b.take())
}

func TestKeptFilesFollowTheLimitOfOpenFiles(t *testing.T) {
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	require.Equal(t, int(min(limit.Cur/2, maxKept)), keptFiles(config.Limits{}))
	require.Equal(t, 7, keptFiles(config.Limits{KeptFiles: 7}))
	require.LessOrEqual(t, uint64(keptFiles(config.Limits{KeptFiles: 1 << 30})), limit.Cur/2)
}

// The budget is shared by all watches.
func TestDescriptorsOfAllWatches(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	s.writePair("q")
	one, two := s.bench(), s.bench()
	two.opts.common = one.opts.common
	one.opts.common.kept.most.Store(3)
	one.settle("r/a-1.ckpt", "q/a-1.ckpt")
	two.settle("r/a-1.ckpt", "q/a-1.ckpt")
	require.Equal(t, 2, one.kept)
	require.Equal(t, 1, two.kept)
	one.lose("q/a-1.ckpt")
	one.settle("r/b-1.ckpt", "q/b-1.ckpt")
	one.pack()
	one.expect(Bundled, Bundled)
	two.settle("r/b-1.ckpt")
	require.Equal(t, 2, two.kept)
}

func (b *bench) free(n int64) {
	b.packer.room.statfs = func(string) (space, error) { return space{free: n, size: 1 << 30}, nil }
}

// A bundle that does not fit is not started; smaller ones are, and it is told once.
func TestBundleThatDoesNotFit(t *testing.T) {
	b := newBench(t)
	b.packer.room.setFloor(config.Floor{Bytes: 10 << 20})
	b.free(10<<20 + slack + 10_000)
	b.write("big/a-1.ckpt", torchZip(t, 10_000, 1))
	b.write("big/b-1.ckpt", torchZip(t, 10_000, 1))
	b.write("big2/a-1.ckpt", torchZip(t, 10_000, 1))
	b.write("big2/b-1.ckpt", torchZip(t, 10_000, 1))
	b.writePair("small")
	b.settle("big/a-1.ckpt", "big/b-1.ckpt", "big2/a-1.ckpt", "big2/b-1.ckpt", "small/a-1.ckpt", "small/b-1.ckpt")
	b.pack()
	told := b.expect(Failed, Bundled)
	require.Contains(t, told[0].Reason, "which is not free")
	require.Contains(t, told[0].Reason, "above the floor of 10.0 MiB: no space left on device")
	require.Equal(t, status.FailedSpace, failureReason(told[0].err))
	b.noLitter()
	b.later(retryAfter)
	b.later(retryMost)
	b.expect()
	b.makeView()
	v := b.shown.Load()
	require.Equal(t, 2, v.states[status.Retrying])
	require.Contains(t, v.pending[0].waits[0], "which is not free")

	b.free(1 << 30)
	b.later(retryMost)
	b.expect(Bundled, Bundled)
	require.Empty(t, b.short)
	require.Empty(t, b.packer.room.claims)
}

func TestClaims(t *testing.T) {
	r := newRoom("/x", config.Floor{Percent: 50})
	r.statfs = func(string) (space, error) { return space{free: 80 << 20, size: 100 << 20}, nil }
	archive := filepath.Join(t.TempDir(), "archive")
	release, err := r.claim(20<<20, archive)
	require.NoError(t, err)
	_, err = r.claim(20<<20, "other")
	require.ErrorIs(t, err, unix.ENOSPC, "30 MiB are above the floor, 20 are spoken for")
	require.NoError(t, os.WriteFile(archive, bytes.Repeat([]byte("x"), 15<<20), 0o600))
	other, err := r.claim(20<<20, "other")
	require.NoError(t, err, "15 of them are not free any more")
	release()
	other()
	require.Empty(t, r.claims)
	r.statfs = func(string) (space, error) { return space{}, fs.ErrPermission }
	_, err = r.claim(1, "x")
	require.ErrorIs(t, err, fs.ErrPermission)
	_, _, err = r.look()
	require.ErrorIs(t, err, fs.ErrPermission)
	real := newRoom(t.TempDir(), config.Floor{})
	now, floor, err := real.look()
	require.NoError(t, err)
	require.Positive(t, now.size)
	require.Zero(t, floor)
}

// The keeper stops everything below the floor, tells it once, and starts again by itself.
func TestFloor(t *testing.T) {
	b := newBench(t)
	k := newKeeper(b.store, b.packer.room, b.options())
	var closed []bool
	k.close = func(c bool) { closed = append(closed, c) }
	b.packer.room.setFloor(config.Floor{Percent: 50})
	b.free(1 << 29)
	k.look()
	b.free(1<<29 - 1)
	k.look()
	b.free(1<<29 - 5)
	b.advance(time.Minute)
	k.look()
	require.Equal(t, []bool{false, true, true}, closed)
	told := b.told()
	require.Len(t, told, 1)
	require.Equal(t, Stopped, told[0].Kind)
	require.Contains(t, told[0].Reason, "512.0 MiB are free")
	b.packer.room.setFloor(config.Floor{})
	k.look()
	told = b.told()
	require.Len(t, told, 1)
	require.Equal(t, Started, told[0].Kind)
	require.Contains(t, told[0].Reason, "it lasted 1m0s")
	require.False(t, closed[3])

	b.packer.room.statfs = func(string) (space, error) { return space{}, fmt.Errorf("statfs: %w", unix.EIO) }
	k.look()
	require.Contains(t, b.told()[0].Reason, "statfs: input/output error")
	require.EqualValues(t, 1<<29-5, k.shown.Load().free, "the last figures stay")
}

func TestBackoff(t *testing.T) {
	for failing, want := range map[time.Duration]time.Duration{0: retryAfter, 15 * time.Second: 15 * time.Second, time.Hour: retryMost} {
		require.Equal(t, want, backoff(failing))
	}
	f := &faults{}
	now := time.Now()
	isNew, retry := f.failed(now, fmt.Errorf("write: %w", unix.EIO))
	require.True(t, isNew)
	require.Equal(t, retryAfter, retry)
	isNew, retry = f.failed(now.Add(30*time.Second), fmt.Errorf("write another: %w", unix.EIO))
	require.False(t, isNew, "another watch met the same")
	require.Equal(t, 30*time.Second, retry)
	why, since := f.current()
	require.Equal(t, "write: input/output error", why)
	require.Equal(t, now, since)
	over, lasted := f.worked(now.Add(time.Minute))
	require.Equal(t, "input/output error", over)
	require.Equal(t, time.Minute, lasted)
	over, _ = f.worked(now)
	require.Empty(t, over)
}

// Configs of many sets share their memory, and take no more than is set aside.
func TestConfigsAreKeptOnce(t *testing.T) {
	b := newBench(t)
	b.write("r/config.json", []byte(`{"N": 1}`))
	for n := range 5 {
		b.write(fmt.Sprintf("r/a-%d.ckpt", n), torchZip(t, 10, 1))
		b.settle(fmt.Sprintf("r/a-%d.ckpt", n))
	}
	sets := b.table.Sets()
	require.Len(t, b.first.content, 1)
	for _, s := range sets {
		require.Same(t, &sets[0].State.pending().first[0].Data[0], &s.State.pending().first[0].Data[0])
	}

	var c configs
	file := func(n byte, size int) []snapshot.File {
		return []snapshot.File{{Name: "x", Data: make([]byte, size), SHA256: sha256.Sum256([]byte{n})}}
	}
	now := time.Now()
	require.NotNil(t, c.keep(file(1, maxConfigs), b.table, now))
	require.NotNil(t, c.keep(file(2, 1), b.table, now), "nothing needs the first any more")
	require.NotNil(t, c.keep(file(3, maxConfigs-100), b.table, now))
	require.Nil(t, c.keep(file(4, 200), b.table, now), "looked a moment ago")
	require.NotNil(t, c.keep(file(4, 200), b.table, now.Add(sweepEach)))
	require.Nil(t, digests(nil))
	require.Nil(t, digests(file(1, 5))[0].Data)
}

func TestReasonsAsLabels(t *testing.T) {
	for _, c := range []struct {
		err  error
		want status.RefusalReason
	}{
		{&checkpoint.Broken{Reason: "x"}, status.RefusedContent},
		{&configError{errors.New("x")}, status.RefusedConfig},
		{fmt.Errorf("%w: x", pair.ErrKey), status.RefusedKey},
		{fmt.Errorf("%w: x", watch.ErrUnreadable), status.RefusedUnreadable},
		{fmt.Errorf("%w: x", watch.ErrNotRegular), status.RefusedNotRegular},
		{&watch.LinkError{}, status.RefusedNotRegular},
		{errors.New("x"), status.RefusedOther},
		{nil, status.RefusedOther},
	} {
		require.Equal(t, c.want, refusalReason(c.err), "%v", c.err)
	}
	for err, want := range map[error]status.FailureReason{unix.ENOSPC: status.FailedSpace, unix.EDQUOT: status.FailedSpace, unix.EROFS: status.FailedReadOnly,
		unix.EIO: status.FailedIO, unix.EACCES: status.FailedDenied, errChanged: status.FailedOther} {
		require.Equal(t, want, failureReason(fmt.Errorf("x: %w", err)))
	}
}

// Thousands of sets are shown as counts and the first of them.
func TestViewIsBounded(t *testing.T) {
	b := newBench(t)
	for n := range 3000 {
		b.advance(time.Millisecond)
		b.fact(watch.Fact{Path: fmt.Sprintf("r/a-%04d.ckpt", n), Kind: watch.Waiting, Reason: &watch.WaitError{Cause: watch.ErrChanging, Since: b.now()}})
	}
	b.turn()
	v := b.shown.Load()
	require.Equal(t, map[status.State]int{status.Waiting: 3000}, v.states)
	require.Len(t, v.pending, shownSets)
	require.Equal(t, 3000-shownSets, v.leftOut)
	require.Equal(t, "r/0000", v.pending[0].key)
	require.Equal(t, "r/0019", v.pending[shownSets-1].key)
	require.True(t, v.oldest.Equal(v.pending[0].since))
	require.Contains(t, strings.Join(v.pending[0].waits, ";"), "b: no file r/*b-0000.ckpt")
	b.advance(b.watch().Expire)
	b.turn()
	v = b.shown.Load()
	require.Equal(t, map[status.State]int{status.Expired: 3000}, v.states)
	require.True(t, v.oldest.IsZero())
	b.told()
}

func TestViewOfEveryState(t *testing.T) {
	s := newSite(t)
	s.watch().Config.Required = []string{"N"}
	b := s.bench()
	state := func(key string) shownSet {
		t.Helper()
		b.makeView()
		for _, p := range b.shown.Load().pending {
			if p.key == key {
				return p
			}
		}
		return shownSet{}
	}
	b.writePair("r")
	b.settle("r/a-1.ckpt")
	require.Equal(t, status.Waiting, state("r/1").state)
	b.settle("r/b-1.ckpt")
	require.Equal(t, status.Queued, state("r/1").state)
	require.NotNil(t, b.next())
	j := b.job
	b.ordered()
	require.Equal(t, status.Queued, state("r/1").state, "the pool has it")
	b.received(reply{job: j, began: true})
	require.Equal(t, status.Packing, state("r/1").state)
	b.received(reply{job: j, outcome: b.packer.pack(context.Background(), j)})
	require.Equal(t, status.Refused, state("r/1").state)
	require.Contains(t, state("r/1").waits[0], "N")
	b.write("r/config.json", []byte(`{"N": 1}`))
	b.relist()
	b.pack()
	require.Empty(t, state("r/1").key, "published")
	require.Equal(t, 1, b.shown.Load().known)
	b.write("r/a-1.ckpt", torchZip(t, 100, 7))
	b.settle("r/a-1.ckpt")
	require.Equal(t, status.Regrouping, state("r/1").state)
	b.write("x/a-1.ckpt", []byte("?"))
	b.settle("x/a-1.ckpt")
	require.Equal(t, status.Refused, state("x/1").state)
	b.lose("x/a-1.ckpt")
	require.Empty(t, state("x/1").key)
	b.told()
}

// Completion is told once, before the bundle.
func TestCompletionIsTold(t *testing.T) {
	b := newBench(t)
	b.completes = true
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.expect(Complete)
	require.NotNil(t, b.next())
	b.received(reply{job: b.order(), outcome: outcome{err: &artifactError{unix.EIO}}})
	b.later(retryMost)
	b.expect(Failed, Bundled, Healed)
}

// An artifact directory whose file system hangs is told, and does not keep the watchdog from being fed.
func TestArtifactDirectoryThatHangs(t *testing.T) {
	quickWatchdog(t)
	s := newSite(t)
	h := newHang("/artifacts")
	var looks atomic.Int32
	v := s.serveAs(nil, func(d *Daemon) {
		d.hook = func(op, path string) {
			if op == "look after" && looks.Add(1) > 1 {
				h.hook(op, path)
			}
		}
	})
	t.Cleanup(h.letGo)
	v.until("READY=1")
	v.until("STATUS=artifact directory hangs")
	v.until("WATCHDOG=1")
	h.letGo()
	v.event(Answers, "")
}

// Watches take turns, whoever has more to do; what was ordered before is discarded when nobody waits for it.
func TestWatchesTakeTurns(t *testing.T) {
	s := newSite(t)
	one := *s.watch()
	s.addWatch("x")
	for n := range 4 {
		s.writePair(fmt.Sprint("r", n))
		s.writePair(fmt.Sprint("../x/r", n))
	}
	s.config.Limits = config.Limits{Workers: 1, FreeSpace: config.Floor{Percent: 100}}
	var open config.Config
	v := s.serve(func() (*config.Config, error) { return &open, nil })
	open = *s.config
	open.Limits.FreeSpace = config.Floor{}
	v.until("READY=1")
	require.Eventually(t, func() bool { return v.count(Complete) == 0 && v.queued() == 8 }, patience, 10*time.Millisecond)
	v.reload <- struct{}{}
	require.Eventually(t, func() bool { return v.count(Bundled) == 8 }, patience, 10*time.Millisecond)
	v.mu.Lock()
	defer v.mu.Unlock()
	var turns []bool
	for _, e := range v.events {
		if e.Kind == Bundled {
			turns = append(turns, e.Watch == one.Name)
		}
	}
	for i := range turns[1:] {
		require.NotEqual(t, turns[i], turns[i+1], "%v", turns)
	}
}

// queued counts the sets that are queued.
func (v *service) queued() int {
	n := 0
	if snap := v.snapshot(); snap != nil {
		for _, w := range snap.Watches {
			n += w.Sets.Pending[status.Queued]
		}
	}
	return n
}

func TestOrdersThatNobodyWaitsFor(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	pool, stop := newPool(b.packer, b.options(), 1), make(chan struct{})
	pool.setClosed(true)
	go pool.run(stop)
	ctx, cancel := context.WithCancel(context.Background())
	replies := make(chan reply, 2)
	pool.orders <- order{ctx: ctx, job: b.jobFor("r"), replies: replies}
	cancel()
	require.True(t, (<-replies).began)
	require.ErrorIs(t, (<-replies).outcome.err, context.Canceled)
	close(stop)
	<-pool.done
}
