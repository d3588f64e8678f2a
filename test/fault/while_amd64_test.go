package fault

import (
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/internal/tracer"
)

// For a while nothing in the artifact directory can be changed. The daemon tells the cause once for all sets,
// tries again, and goes on by itself when the disk is mended; what was published stays as it was.
func TestDiskThatFailsForAWhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			t.Parallel()
			b := b.beside(t)
			b.runs = t.TempDir()
			b.useArtifacts(b.artifacts)
			b.addConfig()
			b.failForAWhile(errno)
		})
	}
}

func (b *bench) failForAWhile(errno unix.Errno) {
	want := map[string]checker.Set{"r1/1": b.addSet("1", 200_000, 1)}
	var broken atomic.Bool
	var attempts atomic.Int32
	p := tracer.Start(b, func(c tracer.Call) tracer.Reaction {
		if !broken.Load() || !b.touchesArtifacts(c) || !slices.Contains(canFail, c.Name) {
			return tracer.Reaction{}
		}
		if c.Name == "mkdirat" {
			attempts.Add(1)
		}
		return tracer.Reaction{Fail: errno}
	}, "run", "--config", b.config())
	program.Eventually(b, "the first set is published", func() bool { return strings.Contains(p.Log(), "bundle published") })

	broken.Store(true)
	for _, epoch := range []string{"2", "3"} {
		want["r1/"+epoch] = b.addSet(epoch, 200_000, uint64(len(want)*10+1))
	}
	program.Eventually(b, "the daemon has tried again", func() bool { return attempts.Load() >= 2 })
	require.Equal(b, 1, strings.Count(p.Log(), errno.Error()), "the cause is told once:\n%s", p.Log())
	b.requirePublished(map[string]checker.Set{"r1/1": want["r1/1"]})

	broken.Store(false)
	program.Eventually(b, "everything is published", func() bool { return b.allVisible(want) })
	p.Signal(syscall.SIGTERM)
	r := p.Wait()
	require.Zero(b, r.Code, r.Stderr)
	b.requireNoStaging()
	b.requirePublished(want)
	b.mustVerify()
}
