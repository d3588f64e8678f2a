package fault

import (
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/tracer"
)

// A member changes just before a read of it, whichever read that is: what is published, if anything, is
// one version of each member as the trainer completed it, and what is complete afterwards is published.
func TestMemberChangesBeforeEveryRead(t *testing.T) {
	for _, tc := range []struct {
		name     string
		change   func(t *testing.T, path string, next []byte)
		complete bool // the set is complete afterwards
	}{
		{"removed", func(t *testing.T, path string, _ []byte) { require.NoError(t, os.Remove(path)) }, false},
		{"replaced", func(t *testing.T, path string, next []byte) {
			require.NoError(t, os.WriteFile(path+".tmp", next, 0o644))
			require.NoError(t, os.Rename(path+".tmp", path))
		}, true},
		{"rewritten", func(t *testing.T, path string, next []byte) { require.NoError(t, os.WriteFile(path, next, 0o644)) }, true},
		{"overwritten", overwrite, true},
		{"truncated", func(t *testing.T, path string, next []byte) {
			require.NoError(t, os.Truncate(path, int64(len(next)/2)))
		}, false},
		{"emptied", func(t *testing.T, path string, _ []byte) { require.NoError(t, os.Truncate(path, 0)) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			published, n := 0, 1
			for ; b.changeBefore(n, tc.change, tc.complete, &published); n++ {
				require.False(t, t.Failed(), "read %d", n)
			}
			require.Greater(t, n, 10, "the tracer sees too few reads")
			t.Logf("%d reads tried; %d passes published a whole version all the same", n-1, published)
		})
	}
}

// overwrite writes the next version over the old one without cutting it off first.
func overwrite(t *testing.T, path string, next []byte) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(next)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// changeBefore changes the member whose read is the n-th, and tells whether there was one.
func (b *bench) changeBefore(n int, change func(*testing.T, string, []byte), complete bool, count *int) bool {
	b.Helper()
	b.forget()
	old := b.addSet("1", memberSize, 1)
	allowed := []checker.Set{old}
	x := &tracer.Nth{N: n, Chosen: b.readsMember, React: func(c tracer.Call) tracer.Reaction {
		next := newCheckpoint(b, memberSize, 77)
		change(b.T, c.Path, next.data)
		if complete {
			allowed = append(allowed, replaced(old, c.Path, next.weights))
		}
		return tracer.Reaction{}
	}}
	r := tracer.Run(b, x.Next, "once", "--config", b.config())
	if _, ok := x.Hit(); !ok {
		return false
	}
	got, err := checker.Published(b.artifacts)
	require.NoError(b, err, "stderr: %s", r.Stderr)
	*count += len(got)
	b.requireAmong(got, allowed)

	next := b.once()
	b.requireNoStaging()
	if got, err = checker.Published(b.artifacts); complete {
		require.Zero(b, next.Code, next.Stderr)
		require.True(b, holds(got, allowed[len(allowed)-1]), "the last version is not published: %s%s", next.Stdout, next.Stderr)
	}
	require.NoError(b, err)
	b.requireAmong(got, allowed)
	return true
}

// replaced is a set with one member written anew.
func replaced(s checker.Set, path, weights string) checker.Set {
	s = maps.Clone(s)
	for _, role := range checker.Roles {
		if strings.Contains(path, role) {
			s[role] = weights
		}
	}
	return s
}

func holds(bundles map[string]checker.Set, s checker.Set) bool {
	for _, b := range bundles {
		if maps.Equal(b, s) {
			return true
		}
	}
	return false
}

// requireAmong wants every bundle to be one of the sets, and none to be published twice.
func (b *bench) requireAmong(bundles map[string]checker.Set, sets []checker.Set) {
	b.Helper()
	require.LessOrEqual(b, len(bundles), len(sets), "bundles")
	for key, s := range bundles {
		require.True(b, among(sets, s), "%s is no version that was complete", key)
		for other, o := range bundles {
			require.True(b, key == other || !maps.Equal(s, o), "%s and %s are the same", key, other)
		}
	}
}
