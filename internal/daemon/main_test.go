package daemon

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

func TestMain(m *testing.M) {
	// The runtime's poller opens descriptors of its own at its first use; openFiles is not to count them.
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	r.Close()
	w.Close()
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// torchZip is a checkpoint {'state_dict': {'w': float32[n]}, 'epoch': 3} as torch.save would write it,
// with weights that begin at seed.
func torchZip(t testing.TB, n int, seed float32) []byte {
	t.Helper()
	return torchArchive(t, pickle.NewDict("state_dict", pickle.NewDict("w", floats(n)), "epoch", int64(3)), torchfile.Counting(n, seed))
}

func floats(n int) *pickle.Object { return torchfile.View(0, n) }

func torchArchive(t testing.TB, value any, data []byte) []byte {
	t.Helper()
	out, err := torchfile.Of(value, data)
	require.NoError(t, err)
	return out
}

// corrupt flips a bit in the weights: the structure stays whole, a checksum does not match.
func corrupt(zip []byte) []byte {
	bad := slices.Clone(zip)
	bad[len(bad)/2] ^= 0x40
	return bad
}

// site is a root, an artifact directory and what was told of them.
type site struct {
	t      *testing.T
	root   string
	config *config.Config

	mu     sync.Mutex
	events []Event
	clock  time.Time
	// completes makes Complete be among the events.
	completes bool
}

// newSite has one watch "w" with the roles a and b, whose config is {run}/config.json.
func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, root: filepath.Join(dir, "runs"), clock: time.Now()}
	require.NoError(t, os.Mkdir(s.root, 0o755))
	s.config = &config.Config{Artifacts: config.Artifacts{Dir: filepath.Join(dir, "artifacts")}, Watches: []config.Watch{{
		Name: "w", Root: s.root, Source: config.SourceInotify, Settle: 20 * time.Millisecond, Expire: time.Hour, Rescan: time.Hour, Regroup: 5 * time.Minute,
		Members: []config.Member{{Role: "a", Pattern: compile(t, "{run}/a-{epoch}.ckpt")}, {Role: "b", Pattern: compile(t, "{run}/*b-{epoch}.ckpt")}},
		Config:  config.Snapshot{Files: []*pattern.Pattern{compile(t, "{run}/config.json")}, Preset: config.PresetNone},
		Payload: config.Payload{Keep: config.KeepStateDict, Imports: config.ImportsRefuse},
	}}}
	before := openFiles(t)
	t.Cleanup(func() { // what hung may end after the daemon, which did not wait for it
		require.Eventually(t, func() bool { return openFiles(t) == before }, patience, 10*time.Millisecond, "descriptors left open")
	})
	return s
}

func compile(t testing.TB, text string) *pattern.Pattern {
	t.Helper()
	p, err := pattern.Compile(text)
	require.NoError(t, err)
	return p
}

func openFiles(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(names)
}

func (s *site) watch() *config.Watch { return &s.config.Watches[0] }

func (s *site) path(rel string) string { return filepath.Join(s.root, rel) }

// write puts a new file in place, as a trainer that renames its temporary file does.
func (s *site) write(rel string, data []byte) {
	s.t.Helper()
	path := s.path(rel)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.t, os.WriteFile(path+".tmp", data, 0o644))
	require.NoError(s.t, os.Rename(path+".tmp", path))
}

func (s *site) remove(rel string) {
	s.t.Helper()
	require.NoError(s.t, os.Remove(s.path(rel)))
}

func (s *site) writePair(run string) {
	s.write(run+"/a-1.ckpt", torchZip(s.t, 100, 1))
	s.write(run+"/b-1.ckpt", torchZip(s.t, 100, 2))
}

func (s *site) options() Options { return Options{Tool: "bundlewatch test", Emit: s.emit, Now: s.now} }

func (s *site) emit(e Event) {
	if e.Kind == Complete && !s.completes {
		return // before every bundle
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *site) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

func (s *site) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

// told returns the events since it was called last.
func (s *site) told() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.events
	s.events = nil
	return told
}

// expect makes sure that exactly these kinds of events were told since the last look.
func (s *site) expect(kinds ...Kind) []Event {
	s.t.Helper()
	told := s.told()
	var got []Kind
	for _, e := range told {
		require.Equal(s.t, "w", e.Watch)
		got = append(got, e.Kind)
	}
	require.Equal(s.t, kinds, got, "%+v", told)
	return told
}

// bundles returns the manifests below the artifact directory by path.
func (s *site) bundles() map[string]bundle.Manifest {
	s.t.Helper()
	all := make(map[string]bundle.Manifest)
	require.NoError(s.t, filepath.WalkDir(s.config.Artifacts.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != bundle.ManifestName {
			return err
		}
		data, err := os.ReadFile(path)
		require.NoError(s.t, err)
		var m bundle.Manifest
		require.NoError(s.t, json.Unmarshal(data, &m))
		rel, err := filepath.Rel(s.config.Artifacts.Dir, filepath.Dir(path))
		all[rel] = m
		return err
	}))
	return all
}

// noLitter makes sure that nothing is being staged.
func (s *site) noLitter() {
	s.t.Helper()
	names, err := filepath.Glob(filepath.Join(s.config.Artifacts.Dir, ".staging", "*.[0-9]*"))
	require.NoError(s.t, err)
	require.Empty(s.t, names)
}

// during is a Progress that does something in the middle of packs.
type during func()

func (d during) Begin(string, string, int64) { d() }
func (during) Advance(int64)                 {}
func (during) End()                          {}
