package fault

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/tracer"
)

// touchesArtifacts tells whether a call changes something in the artifact directory, or its entry in
// the directory above.
func (b *bench) touchesArtifacts(c tracer.Call) bool {
	return c.Changes && (c.Path == b.artifacts || c.Path == b.dir || strings.HasPrefix(c.Path, b.artifacts+"/"))
}

// nth reacts to the n-th of the chosen calls, counted from 1, and remembers which it was.
type nth struct {
	n      int
	chosen func(tracer.Call) bool
	react  func(tracer.Call) tracer.Reaction
	met    int
	at     tracer.Call
}

func (x *nth) next(c tracer.Call) tracer.Reaction {
	if !x.chosen(c) {
		return tracer.Reaction{}
	}
	if x.met++; x.met != x.n {
		return tracer.Reaction{}
	}
	x.at = c
	return x.react(c)
}

// tally is what was tried at the calls of one name, and what went wrong.
type tally struct{ points, torn, lost, duplicated int }

func (t *tally) add(o tally) {
	t.points += o.points
	t.torn += o.torn
	t.lost += o.lost
	t.duplicated += o.duplicated
}

type tallies map[string]*tally

func (t tallies) of(name string) *tally {
	if t[name] == nil {
		t[name] = &tally{}
	}
	return t[name]
}

func (t tallies) total() tally {
	var sum tally
	for _, one := range t {
		sum.add(*one)
	}
	return sum
}

func (t tallies) String() string {
	var s strings.Builder
	row := func(name string, one tally) {
		fmt.Fprintf(&s, "\n| %-15s | %5d | %4d | %4d | %4d |", name, one.points, one.torn, one.lost, one.duplicated)
	}
	fmt.Fprintf(&s, "\n| %-15s | %5s | %4s | %4s | %4s |\n|---|---|---|---|---|", "system call", "tried", "torn", "lost", "dupl")
	for _, name := range slices.Sorted(maps.Keys(t)) {
		row(name, *t[name])
	}
	row("all", t.total())
	return s.String()
}

// judge counts what an interrupted pass and the pass after it left.
func (b *bench) judge(count *tally, want map[string]set) {
	b.Helper()
	count.points++
	if _, err := published(b.artifacts); err != nil {
		count.torn++
		b.Errorf("after the interruption: %v", err)
	}
	b.mustOnce()
	got, err := published(b.artifacts)
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
	want := map[string]set{"r1/1": b.addSet("1", memberSize, 1), "r1/2": b.addSet("2", memberSize, 11)}
	counts := tallies{}
	for n := 1; ; n++ {
		b.forget()
		x := &nth{n: n, chosen: b.touchesArtifacts, react: func(tracer.Call) tracer.Reaction { return tracer.Reaction{Kill: true} }}
		r := tracer.Run(b, x.next, "once", "--config", b.config())
		if x.met < n {
			require.Zero(t, r.Code, r.Stderr)
			b.requirePublished(want)
			break
		}
		require.Equal(t, -1, r.Code, "killed before %s %q", x.at.Name, x.at.Path)
		b.judge(counts.of(x.at.Name), want)
		require.False(t, t.Failed(), "killed before call %d: %s %q", n, x.at.Name, x.at.Path)
	}
	t.Log(counts)
	for _, name := range []string{"write", "fsync", "renameat2", "mkdirat", "openat"} {
		require.NotZero(t, counts.of(name).points, "no %s was met: the tracer sees too little", name)
	}
	total := counts.total()
	require.Zero(t, total.torn+total.lost+total.duplicated)
}
