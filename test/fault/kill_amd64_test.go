package fault

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/tracer"
)

// touchesArtifacts tells whether a call changes something in the artifact directory, or its entry in
// the directory above.
func (b *bench) touchesArtifacts(c tracer.Call) bool {
	return c.Changes && (c.Path == b.artifacts || c.Path == b.dir || strings.HasPrefix(c.Path, b.artifacts+"/"))
}

// judge counts what an interrupted pass and the pass after it left.
func (b *bench) judge(count *tally, want map[string]checker.Set) {
	b.Helper()
	count.points++
	if _, err := checker.Published(b.artifacts); err != nil {
		count.torn++
		b.Errorf("after the interruption: %v", err)
	}
	b.mustOnce()
	b.compare(count, want)
}

// compare counts what is missing and what is too much.
func (b *bench) compare(count *tally, want map[string]checker.Set) {
	b.Helper()
	got, err := checker.Published(b.artifacts)
	require.NoError(b, err)
	for key, s := range want {
		if !maps.Equal(got[key], s) {
			count.lost++
			b.Errorf("%s is lost", key)
		}
		delete(got, key)
	}
	count.duplicated += len(got)
	require.Empty(b, got, "published besides")
	b.mustVerify()
}

// The program is killed before each call of a pass over two sets that changes something in the artifact
// directory: whatever is there is whole, and the next pass publishes what is missing, and nothing twice.
func TestKillBeforeEverySystemCall(t *testing.T) {
	b := newBench(t)
	want := map[string]checker.Set{"r1/1": b.addSet("1", memberSize, 1), "r1/2": b.addSet("2", memberSize, 11)}
	counts := tallies{}
	for n := 1; ; n++ {
		b.forget()
		x := &tracer.Nth{N: n, Chosen: b.touchesArtifacts, React: func(tracer.Call) tracer.Reaction { return tracer.Reaction{Kill: true} }}
		r := tracer.Run(b, x.Next, "once", "--config", b.config())
		at, ok := x.Hit()
		if !ok {
			require.Zero(t, r.Code, r.Stderr)
			b.requirePublished(want)
			break
		}
		require.Equal(t, -1, r.Code, "killed before %s %q", at.Name, at.Path)
		b.judge(counts.of(at.Name), want)
		require.False(t, t.Failed(), "killed before call %d: %s %q", n, at.Name, at.Path)
	}
	b.record(killOnce, counts)
	for _, name := range []string{"write", "fsync", "renameat2", "mkdirat", "openat"} {
		require.NotZero(t, counts.of(name).points, "no %s was met: the tracer sees too little", name)
	}
}
