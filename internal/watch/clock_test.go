package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Under synctest the clock stands at the year 2000 and moves only when every goroutine waits, so that
// real files change at exact moments of it, and their change times lie in its future.

// polled runs a watcher in a synctest bubble.
type polled struct {
	t    *testing.T
	root string
	out  *run
}

func startPolled(t *testing.T, settle time.Duration) *polled {
	root := t.TempDir()
	opts := options(root)
	opts.Source = Poll
	opts.Settle = settle
	opts.Poll = settle / 10
	return &polled{t: t, root: root, out: start(t, opts)}
}

// pass lets time pass and returns the facts about files that came meanwhile.
func (p *polled) pass(d time.Duration) []Fact {
	var facts []Fact
	end := time.After(d)
	for {
		select {
		case f := <-p.out.facts:
			p.out.keep(f)
			if f.Path != "" {
				facts = append(facts, f)
			}
		case <-end:
			return facts
		}
	}
}

func kindsOf(facts []Fact) []Kind {
	var kinds []Kind
	for _, f := range facts {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

func TestQuietIsCountedFromTheLastChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPolled(t, 10*time.Second)
		path := filepath.Join(p.root, "a.ckpt")
		write(t, path, "1")
		require.Equal(t, []Kind{Waiting}, kindsOf(p.pass(9*time.Second)))
		write(t, path, "22")
		require.Empty(t, p.pass(9*time.Second), "waits as before")
		require.NoError(t, os.Chmod(path, 0o600))
		require.Empty(t, p.pass(9*time.Second))
		require.NoError(t, os.Chtimes(path, time.Unix(0, 0), time.Unix(0, 0)))
		require.Empty(t, p.pass(9*time.Second), "mtime was set back")

		facts := p.pass(3 * time.Second)
		require.Equal(t, []Kind{Settled}, kindsOf(facts))
		require.Equal(t, int64(0), facts[0].Stat.ModTime)
		require.GreaterOrEqual(t, facts[0].Evidence.Quiet, 10*time.Second)
		require.Empty(t, p.pass(time.Hour), "nothing new to tell")

		require.NoError(t, os.Chmod(path, 0o644))
		require.Equal(t, []Kind{Waiting, Settled}, kindsOf(p.pass(time.Minute)))
	})
}

// A move across file systems, as Lightning does it.
func TestMoveAcrossFileSystems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPolled(t, 10*time.Second)
		path := filepath.Join(p.root, "a.ckpt")
		f, err := os.Create(path)
		require.NoError(t, err)
		_, err = f.WriteString("half")
		require.NoError(t, err)
		p.pass(time.Second)
		_, err = f.WriteString("half")
		require.NoError(t, err)
		require.NoError(t, f.Close())
		p.pass(time.Second)
		past := time.Now().Add(-time.Hour)
		require.NoError(t, os.Chtimes(path, past, past))
		p.pass(time.Second)
		require.NoError(t, os.Chmod(path, 0o600))
		p.pass(time.Second)
		require.NoError(t, os.Chmod(path, 0o644))

		p.pass(time.Minute)
		require.Equal(t, []Kind{Waiting, Settled}, p.out.kinds("a.ckpt"))
		last := p.out.seen[len(p.out.seen)-1]
		for i := len(p.out.seen) - 1; last.Kind != Settled; i-- {
			last = p.out.seen[i]
		}
		require.Equal(t, int64(8), last.Stat.Size)
		require.Equal(t, os.FileMode(0o644), last.Stat.Mode)
		require.Equal(t, past.UnixNano(), last.Stat.ModTime)
	})
}

func TestFileThatNeverGetsQuietIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPolled(t, 10*time.Second)
		path := filepath.Join(p.root, "log.ckpt")
		var facts []Fact
		for i := range 12 * 12 {
			write(t, path, fmt.Sprint("more ", i, " and more"))
			facts = append(facts, p.pass(5*time.Second)...)
		}
		require.Equal(t, []Kind{Waiting}, kindsOf(facts))
		require.ErrorIs(t, facts[0].Reason, ErrChanging)
		var wait *WaitError
		require.ErrorAs(t, facts[0].Reason, &wait)
		require.WithinDuration(t, time.Now().Add(-12*time.Minute), wait.Since, 10*time.Second)
	})
}

func TestWriterIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPolled(t, 10*time.Second)
		needLeases(t, p.root)
		f, err := os.Create(filepath.Join(p.root, "a.ckpt"))
		require.NoError(t, err)
		require.Equal(t, []Kind{Waiting, Waiting}, kindsOf(p.pass(time.Minute)))
		for range 5 {
			_, err := f.WriteString("block")
			require.NoError(t, err)
			require.Empty(t, p.pass(time.Minute))
		}
		require.NoError(t, f.Close())
		require.Equal(t, []Kind{Settled}, kindsOf(p.pass(6*time.Second)))
	})
}

func TestOldFilesAreSettledAtFirstSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		write(t, filepath.Join(root, "old.ckpt"), "x")
		time.Sleep(100 * 365 * 24 * time.Hour)
		begin := time.Now()
		opts := options(root)
		opts.Source = Poll
		opts.Settle = time.Hour
		r := start(t, opts)
		fact := r.fact(Settled, "old.ckpt")
		require.Equal(t, begin, time.Now())
		require.Greater(t, fact.Evidence.Quiet, time.Hour)
		r.fact(Listed, "")
		require.Equal(t, []Kind{Settled}, r.kinds("old.ckpt"))
	})
}

func TestProvenQuiet(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(sec int64) Stat { return Stat{ChangeTime: sec * int64(time.Second)} }
	local, network := filesystem{name: "ext4"}, filesystem{name: "nfs", network: true}
	require.Equal(t, 10*time.Second, provenQuiet(at(990), local, now))
	require.Zero(t, provenQuiet(at(1010), local, now), "a clock that went back proves nothing")
	require.Zero(t, provenQuiet(at(990), network, now), "another host's clock proves nothing")
}

func TestOnceWaitsForAboutTwoSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		write(t, filepath.Join(root, "b.ckpt"), "x")
		write(t, filepath.Join(root, "a.ckpt"), "x")
		busy, err := os.Create(filepath.Join(root, "busy.ckpt"))
		require.NoError(t, err)
		defer busy.Close()
		require.NoError(t, os.Symlink("a.ckpt", filepath.Join(root, "last.ckpt")))
		needLeases(t, root)
		before := openFiles(t)
		opts := options(root)
		opts.Settle = time.Minute
		begin := time.Now()

		facts, err := Once(t.Context(), opts)
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(begin), 150*time.Second)
		require.Equal(t, []Kind{Settled, Settled, Waiting, Unusable}, kindsOf(facts))
		require.Equal(t, "a.ckpt", facts[0].Path)
		require.ErrorIs(t, facts[2].Reason, ErrWriter)
		require.Equal(t, "x", content(t, facts[0]))
		for _, f := range facts[:2] {
			f.File.Close()
		}
		require.Equal(t, before, openFiles(t))

		opts.NoFiles = true
		facts, err = Once(t.Context(), opts)
		require.NoError(t, err)
		require.Nil(t, facts[0].File)
		require.Equal(t, before, openFiles(t))
	})
}

func TestOnceWithoutARoot(t *testing.T) {
	_, err := Once(t.Context(), options(filepath.Join(t.TempDir(), "missing")))
	require.ErrorIs(t, err, os.ErrNotExist)
}
