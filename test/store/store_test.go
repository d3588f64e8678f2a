package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

func TestProbeOfARealStore(t *testing.T) {
	program.Slow(t)
	p, err := newGateway(t).client(5 << 20).Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, status.ClassA, p.Class)
	require.Empty(t, p.Lacks)
}

// Garage ignores every condition, without a word: it must be refused.
func TestGarageIsRefused(t *testing.T) {
	program.Slow(t)
	b := openGarage(t)
	p, err := b.Probe(t.Context())
	var unfit *bucket.Unfit
	require.ErrorAs(t, err, &unfit)
	require.Equal(t, status.ClassC, p.Class)
	require.ErrorContains(t, err, "replaced the first")
}

// published is how many bundles the four daemons publish while they and the store are killed.
func published() int {
	if n, err := strconv.Atoi(os.Getenv("BUNDLEWATCH_STORE_BUNDLES")); err == nil {
		return n
	}
	return 16
}

// Four daemons look at the same runs and publish into one bucket, while they and the
// store are killed at random. Afterwards each bundle has one name and is whole, none is lost, and when everything is
// old enough a sweep leaves no data without a name.
func TestKilledAtRandom(t *testing.T) {
	program.Slow(t)
	g := newGateway(t)
	shared := t.TempDir()
	want := map[string]bool{}
	var hosts []*host
	for i := range 4 {
		h := g.newHost(fmt.Sprintf("h%d", i), shared)
		hosts = append(hosts, h)
		h.start()
		defer h.kill()
	}
	n := published()
	for i := range n {
		writePair(t, shared, fmt.Sprintf("run%d", i%5), i, map[bool]int{true: 1_500_000, false: 2000}[i%8 == 0])
		want[fmt.Sprintf("w/run%d/%d", i%5, i)] = true
		disturb(g, hosts)
	}
	for range n / 2 {
		disturb(g, hosts)
	}
	names := map[string]int{}
	program.Eventually(t, "every bundle has its name", func() bool {
		clear(names)
		err := g.client(5<<20).Each(t.Context(), "", nil, func(r *bucket.Remote) error { names[r.Name.Place]++; return nil })
		return err == nil && len(names) == len(want)
	})
	for place, count := range names {
		require.True(t, want[place], place)
		require.Equal(t, 1, count)
	}
	for _, h := range hosts {
		program.Eventually(t, "nothing waits on "+h.name, func() bool {
			return strings.Contains(h.run("status"), "none waits") && !strings.Contains(h.run("status"), "conflict")
		})
		h.stop()
		log, err := os.ReadFile(h.log)
		require.NoError(t, err)
		require.NotContains(t, string(log), secretKey)
		require.NotContains(t, string(log), "panic")
	}
	ok := hosts[0].run("verify", "--download", "s3://lab")
	require.Equal(t, n, strings.Count(ok, "\nok ")+1, ok)

	g.age(20 * 24 * time.Hour)
	require.NoError(t, g.client(5<<20).Sweep(t.Context(), bucket.SweepOptions{}))
	requireNoGarbage(t, g, want)
	ok = hosts[0].run("verify", "s3://lab")
	require.Equal(t, n, strings.Count(ok, "\nok ")+1, ok)
}

// disturb kills the store or a daemon, or nobody, and starts it again.
func disturb(g *gateway, hosts []*host) {
	time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
	switch k := rand.IntN(8); {
	case k == 0:
		g.kill()
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		g.start()
	case k <= 2:
		h := hosts[rand.IntN(len(hosts))]
		h.kill()
		h.start()
	}
}

func writePair(t *testing.T, root, run string, step, weights int) {
	dir := filepath.Join(root, run)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for i, role := range []string{"a", "b"} {
		data, err := torchfile.Of(pickle.NewDict("state_dict", pickle.NewDict("w", torchfile.View(0, weights))), torchfile.Counting(weights, float32(2*step+i)))
		require.NoError(t, err)
		temp := filepath.Join(dir, ".new-"+random())
		require.NoError(t, os.WriteFile(temp, data, 0o644))
		require.NoError(t, os.Rename(temp, filepath.Join(dir, fmt.Sprintf("%s-%d.pt", role, step))))
	}
}

// requireNoGarbage looks at the files of the gateway: what is in data has a name, and no upload is open.
func requireNoGarbage(t *testing.T, g *gateway, want map[string]bool) {
	files := map[string]int{}
	root := filepath.Join(g.dir, bucketName, "lab", "data")
	require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		parts := strings.Split(filepath.ToSlash(rel), "/")
		files[strings.Join(parts[:3], "/")]++
		return err
	}))
	require.Len(t, files, len(want))
	for place, count := range files {
		require.True(t, want[place], place)
		require.Equal(t, 4, count, place)
	}
}
