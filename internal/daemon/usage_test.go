package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
)

func put(t *testing.T, path string, bytes int, at time.Time) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, make([]byte, bytes), 0o644))
	require.NoError(t, os.Chtimes(path, at, at))
}

func TestUsageIsTheSumOfAllFiles(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	put(t, filepath.Join(dir, "w/a/1", bundle.ArchiveName), 1000, now)
	put(t, filepath.Join(dir, "w/a/1", bundle.ManifestName), 10, now)
	put(t, filepath.Join(dir, ".staging/1.1", bundle.ArchiveName), 5000, now)
	put(t, filepath.Join(dir, ".pins/w/a/1"), 1, now)
	put(t, filepath.Join(dir, "somebody's"), 100, now)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "w/link")))
	u := &usage{dir: dir}
	_, known := u.read()
	require.False(t, known)
	turns := 0
	require.NoError(t, u.measure(context.Background(), now, func() { turns++ }))
	require.Greater(t, turns, 8)
	bytes, known := u.read()
	require.True(t, known)
	require.EqualValues(t, 1111, bytes)
	u.added(500, now)
	u.added(-1000, now)
	bytes, _ = u.read()
	require.EqualValues(t, 611, bytes)
	require.NoError(t, u.measured(), "it is not gone through again")
	bytes, _ = u.read()
	require.EqualValues(t, 611, bytes)

	ctx, stop := context.WithCancel(context.Background())
	stop()
	require.ErrorIs(t, u.measure(ctx, now, func() {}), context.Canceled)
	require.ErrorIs(t, (&usage{dir: dir + "/none"}).measure(context.Background(), now, func() {}), fs.ErrNotExist)
}

// What is published while the directory is gone through is not lost, though it may count twice for a while.
func TestUsageWhileItIsMeasured(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	put(t, filepath.Join(dir, "x"), 1000, now)
	u := &usage{dir: dir}
	once := false
	require.NoError(t, u.measure(context.Background(), now, func() {
		if !once {
			once = true
			u.added(70, now)
		}
	}))
	bytes, _ := u.read()
	require.EqualValues(t, 1070, bytes)
}

func TestForecastFromTheFiles(t *testing.T) {
	const day = 24 * time.Hour
	dir, now := t.TempDir(), time.Now()
	u := &usage{dir: dir}
	perDay := func() (float64, bool) {
		t.Helper()
		require.NoError(t, u.measure(context.Background(), now, func() {}))
		return u.perDay(now)
	}
	_, known := perDay()
	require.False(t, known, "nothing was published")
	put(t, filepath.Join(dir, "w/1", bundle.ArchiveName), 700, now.Add(-time.Minute))
	_, known = perDay()
	require.False(t, known, "too little to tell from")
	put(t, filepath.Join(dir, "w/2", bundle.ArchiveName), 300, now.Add(-2*day))
	bytes, known := perDay()
	require.True(t, known)
	require.InDelta(t, 500, bytes, 1, "1000 bytes in two days")

	// One that is pruned came and went.
	put(t, filepath.Join(dir, "w/3", bundle.ManifestName), 5, now.Add(-day))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "w/3", bundle.TombstoneName),
		[]byte(`{"schema_version":1,"archive":{"name":"wts.h5.zip","bytes":9000,"sha256":"x"}}`), 0o644))
	bytes, _ = perDay()
	require.InDelta(t, 500, bytes, 1)

	// What is older than the window only says that there is a history.
	put(t, filepath.Join(dir, "w/4", bundle.ArchiveName), 1<<20, now.Add(-30*day))
	bytes, _ = perDay()
	require.InDelta(t, 1000.0/7, bytes, 1)
	put(t, filepath.Join(dir, "w/5", bundle.ArchiveName), 400, now.Add(day)) // a clock that is ahead
	bytes, _ = perDay()
	require.InDelta(t, 1400.0/7, bytes, 1)
	u.added(-2000, now)
	bytes, known = u.perDay(now)
	require.True(t, known)
	require.Negative(t, bytes)
}

func TestBudgetOfClaims(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "x"), 10<<20, time.Now())
	r := newRoom(dir, config.Floor{})
	r.statfs = func(string) (space, error) { return space{free: 1 << 40, size: 1 << 40}, nil }
	release, err := r.claim(100<<20, "a")
	require.NoError(t, err, "there is no budget")
	release()
	r.budget.Store(50 << 20)
	release, err = r.claim(30<<20, filepath.Join(dir, "a"))
	require.NoError(t, err, "measured when it is asked for first")
	_, err = r.claim(15<<20, "b")
	require.ErrorIs(t, err, unix.EDQUOT, "10 MiB are used, 30 are spoken for")
	require.True(t, isShort(&artifactError{err}))
	require.Equal(t, err.Error(), (&overBudgetError{need: 15<<20 + slack, budget: 50 << 20, dir: dir}).Error())
	require.Empty(t, r.full())
	release()
	r.usage.added(40<<20, time.Now())
	require.Equal(t, `50.0 MiB of the budget of 50.0 MiB are used in "`+dir+`"`, r.full())
	r.budget.Store(0)
	require.Empty(t, r.full())
	r.usage = &usage{dir: dir + "/none"}
	r.budget.Store(1)
	_, err = r.claim(1, "b")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Over the budget nothing is started, which is told once; it starts again when there is room.
func TestBudgetStopsAndStarts(t *testing.T) {
	b := newBench(t)
	b.packer.room.budget.Store(1000)
	require.NoError(t, b.packer.room.usage.measured())
	k := newKeeper(b.packer.store, b.packer.room, b.options())
	var closed []bool
	k.close = func(c bool) { closed = append(closed, c) }
	k.look()
	b.packer.room.usage.added(1000, b.now())
	k.look()
	k.look()
	require.Equal(t, causeBudget, k.shown.Load().cause)
	b.packer.room.budget.Store(5000)
	k.look()
	require.Equal(t, []bool{false, true, true, false}, closed)
	events := b.told()
	require.Equal(t, []Kind{Stopped, Started}, []Kind{events[0].Kind, events[1].Kind})
	require.Contains(t, events[0].Reason, "of the budget of")
}

// A set that does not fit into the budget waits, is told once, and is bundled when there is room.
func TestSetOverTheBudgetWaits(t *testing.T) {
	b := newBench(t)
	b.packer.room.budget.Store(slack)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	require.Contains(t, b.expect(Failed)[0].Reason, "of the budget of 64.0 KiB: disk quota exceeded")
	b.later(retryMost)
	b.expect()
	b.makeView()
	require.Equal(t, 1, b.shown.Load().overBudget)
	require.Zero(t, b.shown.Load().belowFloor)
	b.packer.room.budget.Store(1 << 30)
	b.later(retryMost)
	b.expect(Bundled)
	used, _ := b.packer.room.usage.read()
	require.Equal(t, sizeOf(filepath.Join(b.config.Artifacts.Dir, "w/r/1"))+lockSize(t, b.config.Artifacts.Dir), used)
	b.makeView()
	require.Zero(t, b.shown.Load().overBudget)
}

func lockSize(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, ".lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	return info.Size()
}
