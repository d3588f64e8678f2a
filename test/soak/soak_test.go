package soak

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

func TestMain(m *testing.M) { program.Main(m, "-race") }

const (
	trainers = 10
	// shortSoak is how long it takes where $SOAK does not say otherwise.
	shortSoak = time.Minute
	// memoryLimit is for the resident set. The race detector needs several times what the program needs.
	memoryLimit = 512 << 20
)

const configText = `[artifacts]
dir = "artifacts"

[sign]
key = "%s"

[[watch]]
name    = "w"
root    = "runs"
settle  = "50ms"
expire  = "10s"
regroup = "10s"

[watch.members]
autoencoder        = "{run...}/autoencoder-{epoch}.ckpt"
diffraction_to_obj = "{run...}/diffraction_to_obj-{epoch}.ckpt"

[watch.config]
files = ["{run...}/config.json"]
`

func soakTime(t *testing.T) time.Duration {
	text := os.Getenv("SOAK")
	if text == "" {
		return shortSoak
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err, "SOAK")
	return d
}

// bench is a directory with runs, a config and an artifact directory, and who trains there.
type bench struct {
	t        *testing.T
	dir      string
	trainers []*trainer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	program.Slow(t)
	b := &bench{t: t, dir: t.TempDir()}
	root := filepath.Join(b.dir, "runs")
	require.NoError(t, os.Mkdir(root, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "bundlewatch.toml"), fmt.Appendf(nil, configText, program.Key()), 0o644))
	scratch := b.otherFileSystem()
	for i := range trainers {
		b.trainers = append(b.trainers, newTrainer(i, root, scratch))
	}
	return b
}

// otherFileSystem is a directory in memory, where there is one.
func (b *bench) otherFileSystem() string {
	b.t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "bundlewatch-soak-")
	if err != nil {
		b.t.Logf("trainers that move across file systems do so within one: %v", err)
		return b.t.TempDir()
	}
	b.t.Cleanup(func() { require.NoError(b.t, os.RemoveAll(dir)) })
	return dir
}

func (b *bench) artifacts() string { return filepath.Join(b.dir, "artifacts") }

// train lets all trainers train for a while.
func (b *bench) train(d time.Duration) {
	b.t.Helper()
	stop := make(chan struct{})
	failures := make(chan error, len(b.trainers))
	var running sync.WaitGroup
	for _, t := range b.trainers {
		running.Go(func() { failures <- t.train(stop) })
	}
	time.Sleep(d)
	close(stop)
	running.Wait()
	for range b.trainers {
		require.NoError(b.t, <-failures)
	}
}

// settled waits until everything that must be there is there, and nothing is held that need not be.
func (b *bench) settled(d *daemon, descriptors int) {
	b.t.Helper()
	program.Eventually(b.t, "every complete pair is published", func() bool { return b.missing() == "" })
	program.Eventually(b.t, "the newest last pairs are published", func() bool { return b.missingLast() == "" })
	program.Eventually(b.t, "descriptors are given up", func() bool { return len(d.descriptors()) <= descriptors })
	program.Eventually(b.t, "there is a watch for each directory", func() bool { return d.watches() == b.directories() })
}

// missing names a pair that is not published, "" when none is missing.
func (b *bench) missing() string {
	for _, t := range b.trainers {
		for key := range t.saved {
			if _, err := os.Stat(filepath.Join(b.artifacts(), checker.Watch, key, "bundle_manifest.json")); err != nil {
				return key
			}
		}
	}
	return ""
}

// missingLast names a run whose newest last pair is not published.
func (b *bench) missingLast() string {
	for _, t := range b.trainers {
		for run, want := range t.newest() {
			found, err := checker.Below(filepath.Join(b.artifacts(), checker.Watch), run)
			if err != nil || !holds(found, want) {
				return run
			}
		}
	}
	return ""
}

func holds(found map[string]checker.Set, want checker.Set) bool {
	for _, s := range found {
		if maps.Equal(s, want) {
			return true
		}
	}
	return false
}

// directories counts the root and what is below it.
func (b *bench) directories() (n int) {
	b.t.Helper()
	require.NoError(b.t, filepath.WalkDir(filepath.Join(b.dir, "runs"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			n++
		}
		return err
	}))
	return n
}

// peak follows the resident set of the daemon until it is told to stop.
func peak(d *daemon, stop <-chan struct{}) (samples []int64) {
	for {
		select {
		case <-stop:
			return samples
		case <-time.After(time.Second):
			samples = append(samples, d.memory("VmRSS"))
		}
	}
}

// The daemon watches ten trainers, is stopped and started again in the middle, and has published each
// complete pair once in the end; it holds nothing then that a new daemon does not hold.
func TestSoak(t *testing.T) {
	b := newBench(t)
	half := soakTime(t) / 2
	first := start(t, b.dir)
	idle := len(first.descriptors())
	b.train(half)
	b.settled(first, idle)
	first.stop()
	b.requireNoStaging()

	second := start(t, b.dir)
	stop, sampled := make(chan struct{}), make(chan []int64, 1)
	go func() { sampled <- peak(second, stop) }()
	b.train(half)
	b.settled(second, idle)
	close(stop)
	samples := <-sampled
	highest := second.memory("VmHWM")
	require.Less(t, highest, int64(memoryLimit), "the resident set grew to %d MiB", highest>>20)
	requireLevel(t, samples)
	soaked := second.goroutines()

	b.judge()
	fresh := start(t, b.dir)
	program.Eventually(t, "a new daemon has looked at everything", func() bool { return fresh.watches() == b.directories() })
	require.Empty(t, fresh.log.lines(`"message":"bundle published"`), "a new daemon publishes what was published")
	requireNoMore(t, soaked, fresh.goroutines())
	again := start(t, b.dir) // sweeps what SIGQUIT left
	again.stop()
	b.requireNoStaging()
	b.judge()
	for _, d := range []*daemon{first, second, fresh, again} {
		require.Empty(t, d.log.lines("DATA RACE"))
		require.Empty(t, d.log.lines(`"level":"error"`))
	}
	t.Logf("descriptors idle: %d; goroutines: %d; memory at most %d MiB under the race detector", idle, total(soaked), highest>>20)
}

// requireLevel wants memory not to grow with time: the last third needs about as much as the one before.
func requireLevel(t *testing.T, samples []int64) {
	t.Helper()
	third := len(samples) / 3
	require.Positive(t, third)
	before, after := mean(samples[third:2*third]), mean(samples[2*third:])
	t.Logf("resident set: %d MiB, then %d MiB", before>>20, after>>20)
	require.Less(t, after, before*3/2+32<<20, "the resident set grows")
}

func mean(samples []int64) (sum int64) {
	for _, s := range samples {
		sum += s
	}
	return sum / int64(len(samples))
}

// requireNoMore wants no more goroutines of any origin than a new daemon has.
func requireNoMore(t *testing.T, soaked, fresh map[string]int) {
	t.Helper()
	require.NotEmpty(t, fresh, "the trace shows no goroutines")
	for origin, n := range soaked {
		if !strings.HasPrefix(origin, "runtime.") {
			require.LessOrEqual(t, n, fresh[origin], "goroutines created by %s", origin)
		}
	}
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

func (b *bench) requireNoStaging() {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.artifacts(), ".staging"))
	require.NoError(b.t, err)
	require.Empty(b.t, entries, "staging")
}

var lastKey = regexp.MustCompile(`^([^/]+)/last(~\d+)?$`)

// judge wants each complete epoch to be published once, as it was saved, and of the last pairs only such
// as were saved together, each once.
func (b *bench) judge() {
	b.t.Helper()
	got, err := checker.Published(b.artifacts())
	require.NoError(b.t, err)
	lasts, saves, died, complete := 0, 0, 0, 0
	known := make(map[string][]checker.Set)
	for _, t := range b.trainers {
		for key, want := range t.saved {
			require.Equal(b.t, want, got[key], key)
			delete(got, key)
		}
		complete += len(t.saved)
		died += t.died
		for run, sets := range t.lasts {
			known[run] = sets
			saves += len(sets)
		}
	}
	seen := make(map[string]string)
	for key, s := range got {
		run := lastKey.FindStringSubmatch(key)
		require.NotNil(b.t, run, "%s was published, though it was never complete", key)
		require.True(b.t, among(known[run[1]], s), "%s is no pair that was saved together", key)
		id := fmt.Sprint(run[1], s)
		require.Empty(b.t, seen[id], "%s was published before", key)
		seen[id] = key
		lasts++
	}
	r := program.Run(b.t, "verify", b.artifacts())
	require.Zero(b.t, r.Code, r.Stderr)
	b.t.Logf("%d complete pairs of %d trainers, each published once; %d deaths in mid-write; %d of %d saves of last pairs", complete, trainers, died, lasts, saves)
}

func among(sets []checker.Set, s checker.Set) bool {
	for _, known := range sets {
		if maps.Equal(known, s) {
			return true
		}
	}
	return false
}
