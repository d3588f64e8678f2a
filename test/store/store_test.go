package store

import (
	"crypto/sha256"
	"encoding/hex"
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
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// onEach runs a test on every store that shares names as it should.
func onEach(t *testing.T, test func(*testing.T, *server)) {
	program.Slow(t)
	for _, s := range []software{versitygw, minio} {
		t.Run(s.name, func(t *testing.T) { test(t, newServer(t, s)) })
	}
}

func TestProbeOfARealStore(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		p, err := s.bucket(s.address).Probe(t.Context())
		require.NoError(t, err)
		require.Equal(t, status.ClassA, p.Class)
		require.Empty(t, p.Lacks)
	})
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

// Four daemons look at the same runs and publish into one bucket, while they and the store are killed at random.
// Afterwards each bundle has one name and holds the bytes that the trainer wrote, none is lost, and 20 days later a
// sweep leaves no data without a name.
func TestKilledAtRandom(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		trainer := &trainer{t: t, root: t.TempDir(), wrote: map[string][]string{}}
		var hosts []*host
		for i := range 4 {
			h := s.newHost(fmt.Sprintf("h%d", i), trainer.root, s.address)
			hosts = append(hosts, h)
			h.start()
			defer h.kill()
		}
		m := newMischief(t, s, hosts)
		n := published()
		for i := range n {
			weights := 2000
			if i%8 == 0 {
				weights = 1_500_000 // goes in parts
			}
			trainer.save(fmt.Sprintf("run%d", i%5), i, weights)
			m.step()
		}
		for range n / 2 {
			m.step()
		}
		s.ready()
		for _, h := range hosts { // as new ones, which wait for nothing
			h.kill()
			h.start()
		}
		requireNames(t, s, trainer)
		for _, h := range hosts {
			program.Eventually(t, "nothing waits on "+h.name, func() bool {
				status := h.run("status")
				return strings.Contains(status, "none waits") && !strings.Contains(status, "conflict")
			})
			h.stop()
			requireCleanLog(t, h)
		}
		ok := hosts[0].run("verify", "--download", "s3://lab")
		require.Equal(t, n, strings.Count("\n"+ok, "\nok "), ok)
		requireTrainersBytes(t, hosts[0], trainer)
		requireSweep(t, s, trainer)
	})
}

// mischief kills the store or a daemon, or nobody, and starts it again. Of eight steps one kills the store and two a
// daemon, in random order and at random times.
type mischief struct {
	random *rand.Rand
	steps  []func()
	next   int
}

func newMischief(t *testing.T, s *server, hosts []*host) *mischief {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := &mischief{random: rand.New(rand.NewPCG(seed, 0))}
	nothing := func() {}
	daemon := func() {
		h := hosts[m.random.IntN(len(hosts))]
		h.kill()
		h.start()
	}
	store := func() {
		s.kill()
		m.sleep(100)
		s.start()
	}
	m.steps = []func(){store, daemon, daemon, nothing, nothing, nothing, nothing, nothing}
	return m
}

func (m *mischief) step() {
	if m.next == 0 {
		m.random.Shuffle(len(m.steps), func(i, j int) { m.steps[i], m.steps[j] = m.steps[j], m.steps[i] })
	}
	m.sleep(150)
	m.steps[m.next]()
	m.next = (m.next + 1) % len(m.steps)
}

func (m *mischief) sleep(most int) { time.Sleep(time.Duration(m.random.IntN(most)) * time.Millisecond) }

// trainer writes pairs, and remembers the SHA-256 of both files by the place of their bundle.
type trainer struct {
	t     *testing.T
	root  string
	wrote map[string][]string
}

func (tr *trainer) save(run string, step, weights int) {
	dir := filepath.Join(tr.root, run)
	require.NoError(tr.t, os.MkdirAll(dir, 0o755))
	place := fmt.Sprintf("w/%s/%d", run, step)
	for i, role := range []string{"a", "b"} {
		data, err := torchfile.Of(pickle.NewDict("state_dict", pickle.NewDict("w", torchfile.View(0, weights))), torchfile.Counting(weights, float32(2*step+i)))
		require.NoError(tr.t, err)
		tr.wrote[place] = append(tr.wrote[place], digest(data))
		temp := filepath.Join(dir, ".new-"+role)
		require.NoError(tr.t, os.WriteFile(temp, data, 0o644))
		require.NoError(tr.t, os.Rename(temp, filepath.Join(dir, fmt.Sprintf("%s-%d.pt", role, step))))
	}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func requireNames(t *testing.T, s *server, tr *trainer) {
	names := map[string]int{}
	b := s.bucket(s.address)
	program.Eventually(t, "every bundle has its name", func() bool {
		clear(names)
		err := b.Each(t.Context(), "", nil, func(r *bucket.Remote) error { names[r.Name.Place]++; return nil })
		return err == nil && len(names) == len(tr.wrote)
	})
	for place, count := range names {
		require.Contains(t, tr.wrote, place)
		require.Equal(t, 1, count, place)
	}
}

func requireCleanLog(t *testing.T, h *host) {
	log, err := os.ReadFile(h.log)
	require.NoError(t, err)
	require.NotContains(t, string(log), secretKey)
	require.NotContains(t, string(log), "panic")
}

// requireTrainersBytes brings each bundle back and looks for the files that the trainer wrote in it.
func requireTrainersBytes(t *testing.T, h *host, tr *trainer) {
	for place, wrote := range tr.wrote {
		dir := filepath.Join(t.TempDir(), "out")
		h.run("unpack", "s3://lab/"+place, dir)
		var found []string
		require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			found = append(found, digest(data))
			return err
		}))
		require.Subset(t, found, wrote, place)
		require.NoError(t, os.RemoveAll(dir))
	}
}

// requireSweep leaves what hosts and probes leave that die, and sweeps now, when all of it is fresh, and 20 days later.
func requireSweep(t *testing.T, s *server, tr *trainer) {
	objects := s.objects(s.address)
	var litter []string
	for place := range tr.wrote {
		other := strings.Repeat("0d", 32)
		litter = append(litter, fmt.Sprintf("%s/data/%s/%s/wts.h5.zip", prefix, place, other), fmt.Sprintf("%s/data/%s/%s/%s/SHA256SUMS", prefix, place, other, other))
	}
	litter = append(litter, prefix+"/probe/"+strings.Repeat("A", 26)+"/name")
	for _, key := range litter {
		_, err := objects.Put(t.Context(), key, objectstore.Bytes([]byte("litter")), true)
		require.NoError(t, err)
	}
	open := []string{litter[0], litter[len(litter)-1]}
	for _, key := range open {
		_, err := objects.Begin(t.Context(), key)
		require.NoError(t, err)
	}
	before := keysBelow(t, objects)
	now := s.newHost("sweeper", tr.root, s.address)
	now.run("store", "sweep", "lab")
	require.Equal(t, before, keysBelow(t, objects), "what is fresh stays")

	later := s.newHost("later", tr.root, s.later(20*24*time.Hour))
	swept := later.run("store", "sweep", "lab")
	for _, key := range litter {
		require.Contains(t, swept, key)
	}
	for _, key := range open {
		require.Contains(t, swept, key+": it was begun long ago")
	}
	counts := map[string]int{}
	for _, key := range keysBelow(t, objects) {
		parts := strings.Split(key, "/") // lab/data/w/run0/5/...
		if parts[1] == "data" {
			counts[strings.Join(parts[2:5], "/")]++
		} else {
			require.Equal(t, "names", parts[1], key)
		}
	}
	require.Len(t, counts, len(tr.wrote))
	for place, count := range counts {
		require.Contains(t, tr.wrote, place)
		require.Equal(t, 4, count, place)
	}
	require.NoError(t, objects.Uploads(t.Context(), func(u objectstore.Upload) error { return fmt.Errorf("%s is open since %v", u.Key, u.Begun) }))
	ok := later.run("verify", "s3://lab")
	require.Equal(t, len(tr.wrote), strings.Count("\n"+ok, "\nok "), ok)
}

func keysBelow(t *testing.T, objects *objectstore.Client) (keys []string) {
	require.NoError(t, objects.List(t.Context(), prefix+"/", "", true, func(o objectstore.Object) error { keys = append(keys, o.Key); return nil }))
	return keys
}
