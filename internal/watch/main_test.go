package watch

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(unprivilegedEnv) != "" {
		dropPrivileges()
	}
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
const patience = 3 * time.Minute

func wantCheckpoints(rel string) bool { return strings.HasSuffix(rel, ".ckpt") }

func options(root string) Options {
	return Options{
		Root:    root,
		Want:    wantCheckpoints,
		Settle:  40 * time.Millisecond,
		Rescan:  time.Hour,
		PollOps: 10_000_000,
		Logger:  zerolog.Nop(),
	}
}

// run is a running watcher and all that it told.
type run struct {
	t     *testing.T
	w     *Watcher
	facts chan Fact
	seen  []Fact
}

// start runs a watcher until the test ends, and then looks for files that were left open.
func start(t *testing.T, opts Options, change ...func(*Watcher)) *run {
	t.Helper()
	before := openFiles(t)
	w, err := New(opts)
	require.NoError(t, err)
	for _, c := range change {
		c(w)
	}
	r := &run{t: t, w: w, facts: make(chan Fact)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx, r.facts) }()
	t.Cleanup(func() {
		cancel()
		for running := true; running; {
			select {
			case fact := <-r.facts:
				r.keep(fact)
			case err := <-ended:
				require.NoError(t, err)
				running = false
			}
		}
		r.release()
		require.Equal(t, before, openFiles(t), "descriptors left open")
	})
	return r
}

func (r *run) keep(fact Fact) { r.seen = append(r.seen, fact) }

// release closes the files that were told so far, and forgets what was told.
func (r *run) release() {
	for _, fact := range r.seen {
		if fact.File != nil {
			fact.File.Close()
		}
	}
	r.seen = nil
}

// until receives facts up to the first that matches.
func (r *run) until(what string, match func(Fact) bool) Fact {
	r.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case fact := <-r.facts:
			r.keep(fact)
			if match(fact) {
				return fact
			}
		case <-timeout.C:
			require.FailNow(r.t, "never told: "+what, "told last: %v", r.seen[max(0, len(r.seen)-50):])
		}
	}
}

// state waits for a state of the watcher, while facts are received.
func (r *run) state(what string, match func(State) bool) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for !match(r.w.State()) {
		select {
		case fact := <-r.facts:
			r.keep(fact)
		case <-tick.C:
		case <-timeout.C:
			require.FailNow(r.t, "never was: "+what, "%+v", r.w.State())
		}
	}
}

// fact waits for a fact of this kind about a path.
func (r *run) fact(kind Kind, path string) Fact {
	r.t.Helper()
	return r.until(kind.String()+" "+path, func(f Fact) bool { return f.Kind == kind && f.Path == path })
}

// waiting waits until path is told to wait for this cause.
func (r *run) waiting(path string, cause error) Fact {
	r.t.Helper()
	return r.until("waiting "+path, func(f Fact) bool {
		return f.Kind == Waiting && f.Path == path && errors.Is(f.Reason, cause)
	})
}

// kinds is what was told about a path so far.
func (r *run) kinds(path string) []Kind {
	var kinds []Kind
	for _, f := range r.seen {
		if f.Path == path {
			kinds = append(kinds, f.Kind)
		}
	}
	return kinds
}

func content(t *testing.T, fact Fact) string {
	t.Helper()
	require.NotNil(t, fact.File)
	text, err := io.ReadAll(fact.File)
	require.NoError(t, err)
	return string(text)
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(names)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// needLeases skips a test where the file system cannot tell whether a file is open for writing.
func needLeases(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "lease-probe")
	write(t, path, "x")
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	closed, why, err := probeWriters(f, filesystemAt(int(f.Fd())))
	require.NoError(t, err)
	if closed != ClosedYes {
		t.Skipf("no leases in the test directory: %s", why)
	}
}
