package fault

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/internal/tracer"
)

// canFail are the calls that fail on full, broken, exhausted and read-only file systems.
var canFail = []string{"write", "pwrite64", "fsync", "fdatasync", "renameat2", "mkdirat", "openat", "fchmod", "ftruncate"}

// Each call that a pass makes in the artifact directory fails once: the pass says so, with the path and the
// cause, leaves nothing half done, and the next one does what is left.
func TestFailureOfEverySystemCall(t *testing.T) {
	b := newBench(t)
	want := map[string]checker.Set{"r1/1": b.addSet("1", memberSize, 1), "r1/2": b.addSet("2", memberSize, 11)}
	for _, tc := range []struct {
		row   row
		errno unix.Errno
		step  int // every so many calls
	}{{enospcOnce, unix.ENOSPC, 1}, {eioOnce, unix.EIO, 1}, {edquotOnce, unix.EDQUOT, 5}, {erofsOnce, unix.EROFS, 5}} {
		t.Run(unix.ErrnoName(tc.errno), func(t *testing.T) {
			b := &bench{T: t, dir: b.dir, artifacts: b.artifacts, runs: b.runs}
			counts := tallies{}
			for n := 1; b.failOnce(n, tc.errno, counts, want); n += tc.step {
				require.False(t, t.Failed(), "call %d", n)
			}
			b.record(tc.row, counts)
		})
	}
}

// failOnce lets the n-th call of a pass fail, and tells whether there was one.
func (b *bench) failOnce(n int, errno unix.Errno, counts tallies, want map[string]checker.Set) bool {
	b.Helper()
	b.forget()
	x := &tracer.Nth{N: n, React: func(tracer.Call) tracer.Reaction { return tracer.Reaction{Fail: errno} }, Chosen: func(c tracer.Call) bool {
		return b.touchesArtifacts(c) && slices.Contains(canFail, c.Name)
	}}
	r := tracer.Run(b, x.Next, "once", "--config", b.config())
	at, ok := x.Hit()
	if !ok {
		require.Zero(b, r.Code, r.Stderr)
		b.requirePublished(want)
		return false
	}
	b.requireTold(r, errno, at)
	b.judge(counts.of(at.Name), want)
	return true
}

func (b *bench) requireTold(r program.Result, errno unix.Errno, at tracer.Call) {
	b.Helper()
	require.Equal(b, 1, r.Code, "exit code after the failure of %s %q; stderr: %s", at.Name, at.Path, r.Stderr)
	require.Contains(b, r.Stderr, errno.Error(), "after the failure of %s %q", at.Name, at.Path)
	require.Contains(b, r.Stderr, at.Path, "after the failure of %s", at.Name)
}

// What is published is on the disk: files and directories are synced before the rename that makes them
// visible, and the names of what is visible after it.
func TestSyncedBeforeItIsVisible(t *testing.T) {
	b := newBench(t)
	b.addSet("1", memberSize, 1)
	var calls []tracer.Call
	r := tracer.Run(b, func(c tracer.Call) tracer.Reaction {
		if b.touchesArtifacts(c) {
			calls = append(calls, c)
		}
		return tracer.Reaction{}
	}, "once", "--config", b.config())
	require.Zero(t, r.Code, r.Stderr)

	rename := slices.IndexFunc(calls, func(c tracer.Call) bool { return c.Name == "renameat2" })
	require.GreaterOrEqual(t, rename, 0)
	bundle := filepath.Join(b.artifacts, "w/r1/1")
	require.Equal(t, bundle, calls[rename].Path)
	staging := ""
	for _, name := range checker.Files {
		last := lastIndex(calls[:rename], func(c tracer.Call) bool { return isWrite(c) && filepath.Base(c.Path) == name })
		require.GreaterOrEqual(t, last, 0, "no write to %s", name)
		staging = filepath.Dir(calls[last].Path)
		require.True(t, synced(calls[last:rename], calls[last].Path), "%s is not synced between its last write and the rename", name)
	}
	require.True(t, strings.HasPrefix(staging, filepath.Join(b.artifacts, ".staging")), staging)
	created := lastIndex(calls[:rename], func(c tracer.Call) bool { return c.Name == "openat" && filepath.Dir(c.Path) == staging })
	require.True(t, synced(calls[created:rename], staging), "the staging directory is not synced before the rename")
	require.True(t, synced(calls[rename:], filepath.Dir(bundle)), "the rename is not synced")
	for i, c := range calls {
		if c.Name == "mkdirat" && !strings.HasPrefix(c.Path, filepath.Join(b.artifacts, ".staging/")) {
			require.True(t, synced(calls[i:], filepath.Dir(c.Path)), "the entry of %s is not synced", c.Path)
		}
	}
}

// isWrite tells whether a call changes what a file holds.
func isWrite(c tracer.Call) bool {
	return slices.Contains([]string{"write", "pwrite64", "ftruncate"}, c.Name)
}

func lastIndex(calls []tracer.Call, is func(tracer.Call) bool) int {
	for i := len(calls) - 1; i >= 0; i-- {
		if is(calls[i]) {
			return i
		}
	}
	return -1
}

func synced(calls []tracer.Call, path string) bool {
	return slices.ContainsFunc(calls, func(c tracer.Call) bool { return c.Name == "fsync" && c.Path == path })
}

// A read of a member fails: the set is told with the file and the cause, and bundled by the next pass.
func TestFailureOfEveryRead(t *testing.T) {
	b := newBench(t)
	want := map[string]checker.Set{"r1/1": b.addSet("1", memberSize, 1)}
	counts := tallies{}
	for n := 1; ; n++ {
		b.forget()
		require.NoError(t, os.MkdirAll(b.artifacts, 0o755))
		x := &tracer.Nth{N: n, Chosen: b.readsBytes, React: func(tracer.Call) tracer.Reaction { return tracer.Reaction{Fail: unix.EIO} }}
		r := tracer.Run(b, x.Next, "once", "--config", b.config())
		at, ok := x.Hit()
		if !ok {
			break
		}
		told := r.Stdout + r.Stderr
		require.Contains(t, told, unix.EIO.Error(), "after the failure of read %d of %q", n, at.Path)
		require.Contains(t, told, filepath.Base(at.Path), "after the failure of read %d", n)
		b.requirePublished(map[string]checker.Set{})
		b.judge(counts.of(at.Name), want)
	}
	b.record(readOnce, counts)
}

// readsBytes tells whether a call reads from a checkpoint, and does not only ask whether it ends here.
func (b *bench) readsBytes(c tracer.Call) bool {
	info, err := os.Stat(c.Path)
	return b.readsMember(c) && err == nil && c.Offset < info.Size()
}

// readsMember tells whether a call reads from a checkpoint.
func (b *bench) readsMember(c tracer.Call) bool {
	return (c.Name == "pread64" || c.Name == "read") && strings.HasSuffix(c.Path, ".ckpt")
}
