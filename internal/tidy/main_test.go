package tidy

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a root with one block, and what was told of it.
type bench struct {
	*testing.T
	dir    string
	root   string
	config string // more keys of the block
	watch  string // more tables
	opts   Options
	clock  time.Time
	events []Event
	tidier *Tidier
}

// newBench has the root dir/root; everything in it is older than min_age at once.
func newBench(t *testing.T) *bench {
	b := &bench{T: t, dir: t.TempDir(), clock: time.Now().Add(time.Hour)}
	real, err := filepath.EvalSymlinks(b.dir)
	require.NoError(t, err)
	b.dir, b.root = real, filepath.Join(real, "root")
	require.NoError(t, os.Mkdir(b.root, 0o755))
	b.config = "match = ['*.log', 'nohup.out', 'logs/', 'core.?*']\nmove_to = 'reports/{utc}'\nmin_age = '10m'\n"
	b.opts = Options{Tool: "test", Emit: func(e Event) { b.events = append(b.events, e) }, Now: func() time.Time { return b.clock }}
	return b
}

func (b *bench) path(rel string) string { return filepath.Join(b.root, rel) }

func (b *bench) write(rel, text string) string {
	b.Helper()
	path := b.path(rel)
	require.NoError(b, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(b, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func (b *bench) load() *config.Config {
	b.Helper()
	path := filepath.Join(b.dir, "bundlewatch.toml")
	require.NoError(b, os.WriteFile(path, []byte("[[tidy]]\nroot = 'root'\n"+b.config+b.watch), 0o644))
	c, err := config.Load(path)
	require.NoError(b, err)
	return c
}

// pass makes one pass by a tidier of its own, a second later than the one before, and returns what it told.
func (b *bench) pass() []Event {
	b.Helper()
	c := b.load()
	b.tidier = New(c.Tidies[0], c, b.opts)
	return b.again()
}

// again makes one more pass by the same tidier.
func (b *bench) again() []Event {
	b.Helper()
	b.events = nil
	_, err := b.tidier.Pass(context.Background())
	require.NoError(b, err)
	b.clock = b.clock.Add(time.Second)
	return b.events
}

func (b *bench) undo(dir string) []Event {
	b.Helper()
	b.events = nil
	require.NoError(b, Undo(context.Background(), dir, nil, b.opts))
	return b.events
}

// told lists kinds and names of events.
func told(events []Event) []string {
	var list []string
	for _, e := range events {
		list = append(list, strings.TrimSpace(string(e.Kind)+" "+filepath.Base(e.From)))
	}
	return list
}

// expect wants exactly these kinds and names.
func (b *bench) expect(events []Event, want ...string) {
	b.Helper()
	require.Equal(b, want, told(events), "%+v", events)
}

// reports returns the directories that strays were moved to, in order.
func (b *bench) reports() []string {
	b.Helper()
	dirs, err := filepath.Glob(filepath.Join(b.root, "reports", "*"))
	require.NoError(b, err)
	return dirs
}

func (b *bench) records(dir string) []record {
	b.Helper()
	d, err := tree.Open(dir)
	require.NoError(b, err)
	defer d.Close()
	records, broken, err := readJournal(d)
	require.NoError(b, err)
	require.Zero(b, broken)
	return records
}

// files returns the content of every file and the target of every link below a directory, without the records.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		switch {
		case err != nil || d.Name() == journalName || d.Name() == pageName:
			return err
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case d.Type()&os.ModeSymlink != 0:
			found[rel], err = os.Readlink(path)
			return err
		case d.Type().IsRegular():
			text, err := os.ReadFile(path)
			found[rel] = string(text)
			return err
		}
		return nil
	}))
	return found
}

// contents are the sorted contents, whatever the names.
func contents(found map[string]string) []string {
	var all []string
	for _, text := range found {
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// otherDisk is a directory on another file system than the root.
func otherDisk(t *testing.T, than string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "bundlewatch-test-")
	if err != nil {
		t.Skipf("needs a second file system at /dev/shm: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	var a, b unix.Stat_t
	require.NoError(t, unix.Stat(dir, &a))
	require.NoError(t, unix.Stat(than, &b))
	if a.Dev == b.Dev {
		t.Skip("needs a second file system: /dev/shm is on that of the temporary directory")
	}
	return dir
}
