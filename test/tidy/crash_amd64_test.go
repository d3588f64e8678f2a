package tidy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/internal/tracer"
)

// concerns tells whether a call is about the root, what is in it, or where strays go; or starts a program.
func (b *bench) concerns(c tracer.Call) bool {
	within := func(dir string) bool { return c.Path == dir || strings.HasPrefix(c.Path, dir+"/") }
	if b.many && (!c.Changes || c.Name == "close" || c.Name == "flock") && !strings.HasPrefix(c.Name, "clone") {
		return false
	}
	return within(b.root) || within(b.reports) || within(filepath.Dir(b.reports)) || strings.HasPrefix(c.Name, "clone")
}

// nth reacts to the n-th call that concerns the bench, counted from 1.
type nth struct {
	*bench
	n, met int
	only   []string // names of calls; nil for all
	at     tracer.Call
	react  func(tracer.Call) tracer.Reaction
}

func (x *nth) next(c tracer.Call) tracer.Reaction {
	if !x.concerns(c) || x.only != nil && !slices.Contains(x.only, c.Name) {
		return tracer.Reaction{}
	}
	if x.met++; x.met != x.n {
		return tracer.Reaction{}
	}
	x.at = c
	return x.react(c)
}

func kill(tracer.Call) tracer.Reaction { return tracer.Reaction{Kill: true} }

// eachCall makes the scenery, runs the program with a reaction at the n-th call, and judges; for every n, or, where
// every is not set and the environment does not ask for all, for every third.
func (b *bench) eachCall(every bool, only []string, react func(tracer.Call) tracer.Reaction, prepare func(), judge func(about string, r program.Result), args ...string) {
	b.Helper()
	counts := make(map[string]int)
	step := tracer.Stride(3)
	if every {
		step = 1
	}
	for n := 1; ; n += step {
		b.begin()
		prepare()
		x := &nth{bench: b, n: n, only: only, react: react}
		r := tracer.Run(b, x.next, args...)
		if x.met < n {
			require.Zero(b, r.Code, r.Stderr)
			break
		}
		counts[x.at.Name]++
		judge(fmt.Sprintf("call %d, %s %q: %s%s", n, x.at.Name, x.at.Path, r.Stdout, r.Stderr), r)
		if b.Failed() {
			b.FailNow()
		}
	}
	total, table := 0, ""
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		total += counts[name]
		table += fmt.Sprintf(" %s %d", name, counts[name])
	}
	b.Logf("%d calls tried:%s", total, table)
	require.Greater(b, total, 10/step, "the tracer sees too few calls")
}

func nothing() {}

// The program is killed before each call of a pass. Undo then leaves everything as it was before the pass, whether the
// move took place or not.
func TestUndoAfterACrashAtEveryCall(t *testing.T) {
	for _, s := range sceneries {
		t.Run(s.name, func(t *testing.T) {
			b := newBench(t, s)
			b.begin()
			before, index := tree(t, b.root), b.index()
			all := b.digests()
			b.eachCall(true, nil, kill, nothing, func(about string, r program.Result) {
				require.Equal(t, -1, r.Code, about)
				require.Subset(t, b.digests(), all, "lost by the crash at %s", about)
				b.index()
				undone := b.undo()
				require.Zero(t, undone.Code, "%s; undo: %s%s", about, undone.Stdout, undone.Stderr)
				require.Equal(t, before, tree(t, b.root), "after undo; %s", about)
				require.Equal(t, index, b.index(), "after undo; %s", about)
				require.Empty(t, tree(t, b.reports), about)
				b.requireNoLitter(about)
			}, "tidy", "--config", b.config())
		})
	}
}

// The program is killed before each call of a pass. The next pass brings it to its end.
func TestNextPassAfterACrashAtEveryCall(t *testing.T) {
	for _, s := range sceneries {
		t.Run(s.name, func(t *testing.T) {
			b := newBench(t, s)
			b.begin()
			before, index := tree(t, b.root), b.index()
			all := b.digests()
			b.eachCall(false, nil, kill, nothing, func(about string, _ program.Result) {
				b.index()
				r := program.Run(b, "tidy", "--config", b.config())
				require.Zero(t, r.Code, "%s; %s%s", about, r.Stdout, r.Stderr)
				require.NoFileExists(t, b.stray(), about)
				require.NoDirExists(t, b.stray(), about)
				require.Equal(t, all, b.digests(), about)
				require.Len(t, tree(t, b.reports), len(before), about)
				b.requireNoLitter(about)
				if b.scenery.git {
					require.Empty(t, b.index(), about)
				}
				r = b.undo()
				require.Zero(t, r.Code, "%s; undo: %s%s", about, r.Stdout, r.Stderr)
				require.Equal(t, before, tree(t, b.root), about)
				require.Equal(t, index, b.index(), about)
			}, "tidy", "--config", b.config())
		})
	}
}

// Undo is killed before each of its calls. Another undo brings it to its end.
func TestUndoAfterACrashOfUndoAtEveryCall(t *testing.T) {
	for _, s := range sceneries {
		t.Run(s.name, func(t *testing.T) {
			b := newBench(t, s)
			b.begin()
			before, index := tree(t, b.root), b.index()
			all := b.digests()
			move := func() {
				r := program.Run(b, "tidy", "--config", b.config())
				require.Zero(t, r.Code, "%s%s", r.Stdout, r.Stderr)
			}
			b.eachCall(false, nil, kill, move, func(about string, _ program.Result) {
				require.Subset(t, b.digests(), all, "lost by the crash at %s", about)
				b.index()
				r := b.undo()
				require.Zero(t, r.Code, "%s; %s%s", about, r.Stdout, r.Stderr)
				require.Equal(t, before, tree(t, b.root), about)
				require.Equal(t, index, b.index(), about)
				b.requireNoLitter(about)
			}, "tidy", "undo", b.reports)
		})
	}
}

// canFail are the calls that fail on full, broken and read-only file systems.
var canFail = []string{"openat", "mkdirat", "renameat", "renameat2", "unlinkat", "linkat", "symlinkat", "write", "pwrite64", "fsync", "ftruncate",
	"fchmod", "fchown", "fchownat", "utimensat", "read", "pread64", "statx"}

// Each call of a pass fails once: it says so, nothing is lost, and undo or the next pass goes on from there.
func TestFailureOfEveryCall(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EIO} {
		for _, s := range sceneries[:4] {
			t.Run(unix.ErrnoName(errno)+" "+s.name, func(t *testing.T) {
				b := newBench(t, s)
				b.begin()
				before := tree(t, b.root)
				all := b.digests()
				fail := func(tracer.Call) tracer.Reaction { return tracer.Reaction{Fail: errno} }
				b.eachCall(false, canFail, fail, nothing, func(about string, r program.Result) {
					require.Equal(t, all, b.digests(), about)
					r = program.Run(b, "tidy", "--config", b.config())
					require.Zero(t, r.Code, "%s; %s%s", about, r.Stdout, r.Stderr)
					require.NoFileExists(t, b.stray(), about)
					require.NoDirExists(t, b.stray(), about)
					b.requireNoLitter(about)
					r = b.undo()
					require.Zero(t, r.Code, "%s; undo: %s%s", about, r.Stdout, r.Stderr)
					require.Equal(t, before, tree(t, b.root), about)
				}, "tidy", "--config", b.config())
			})
		}
	}
}

// The stray changes before each call of a pass: what is new is never lost, and never taken for the old.
func TestStrayChangesBeforeEveryCall(t *testing.T) {
	for _, change := range []struct {
		name string
		do   func(path string) error
		lost bool // the old content is the changer's loss
	}{
		{"removed", os.Remove, true},
		{"replaced", func(path string) error {
			if err := os.WriteFile(path+".new", []byte("new"), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}, true},
		{"rewritten", func(path string) error { return rewrite(path, os.O_WRONLY|os.O_TRUNC) }, true},
		{"appended to", func(path string) error { return rewrite(path, os.O_WRONLY|os.O_APPEND) }, true},
		{"moved away", func(path string) error { return os.Rename(path, path+".away") }, false},
	} {
		for _, s := range sceneries[:2] {
			t.Run(change.name+", "+s.name, func(t *testing.T) {
				b := newBench(t, s)
				b.begin()
				old := b.digests()
				var after []string
				changed := false
				react := func(tracer.Call) tracer.Reaction {
					after = nil
					if changed = change.do(b.stray()) == nil; changed {
						after = b.digestsNow()
					}
					return tracer.Reaction{}
				}
				b.eachCall(true, nil, react, nothing, func(about string, _ program.Result) {
					got := b.digests()
					for _, digest := range after {
						require.Contains(t, got, digest, "lost: %s", about)
					}
					for _, digest := range got {
						require.True(t, slices.Contains(after, digest) || slices.Contains(old, digest), "made up: %s", about)
					}
					if !changed || !change.lost { // too late for the change, or it takes nothing away
						for _, digest := range old {
							require.Contains(t, got, digest, "lost: %s", about)
						}
					}
					b.requireNoLitter(about)
				}, "tidy", "--config", b.config())
			})
		}
	}
}

func rewrite(path string, flags int) error {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("new")
	f.Close()
	return err
}

// digestsNow are those in the root, as whoever changed the stray sees it.
func (b *bench) digestsNow() []string {
	var all []string
	for _, digest := range tree(b, b.root) {
		all = append(all, digest)
	}
	return all
}

// The record of a move is on the disk before the move, and the move is before the next record says that it is over.
func TestRecordIsSyncedBeforeTheMove(t *testing.T) {
	for _, s := range sceneries[:2] {
		t.Run(s.name, func(t *testing.T) {
			b := newBench(t, s)
			b.begin()
			var calls []tracer.Call
			r := tracer.Run(t, func(c tracer.Call) tracer.Reaction {
				if c.Changes && b.concerns(c) {
					calls = append(calls, c)
				}
				return tracer.Reaction{}
			}, "tidy", "--config", b.config())
			require.Zero(t, r.Code, r.Stderr)
			journal, moved := filepath.Join(b.reports, "moved.jsonl"), filepath.Join(b.reports, "train.log")
			is := func(name, path string) func(tracer.Call) bool {
				return func(c tracer.Call) bool { return c.Name == name && c.Path == path }
			}
			rename := slices.IndexFunc(calls, is("renameat2", moved))
			require.Greater(t, rename, 0)
			write := slices.IndexFunc(calls[:rename], is("write", journal))
			require.GreaterOrEqual(t, write, 0)
			require.True(t, slices.ContainsFunc(calls[write:rename], is("fsync", journal)), "the record is not synced before the move")
			require.True(t, slices.ContainsFunc(calls[:rename], is("fsync", b.reports)), "the name of the record is not synced before the move")
			end := rename + slices.IndexFunc(calls[rename:], is("write", journal))
			require.Greater(t, end, rename)
			require.True(t, slices.ContainsFunc(calls[rename:end], is("fsync", b.reports)), "the move is not synced before its record ends")
			require.True(t, slices.ContainsFunc(calls[rename:end], is("fsync", b.root)), "the move is not synced before its record ends")
			if s.far {
				part := slices.IndexFunc(calls, func(c tracer.Call) bool { return c.Name == "fsync" && strings.HasSuffix(c.Path, ".part") })
				require.True(t, part >= 0 && part < rename, "the copy is not synced before it gets its name")
				require.False(t, slices.ContainsFunc(calls[:rename], func(c tracer.Call) bool { return c.Name == "unlinkat" }), "something is removed before the copy has its name")
			}
		})
	}
}
