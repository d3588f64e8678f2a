package fault

import (
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// The daemon stands still for longer than sets are waited for, as on a machine that sleeps, while trainers
// elsewhere go on: everything that is complete when it wakes up is bundled once.
func TestSuspendedDaemon(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := map[string]checker.Set{"r1/before": b.addSet("before", 200_000, 1)}
	half := newCheckpoint(b, 200_000, 50)
	require.NoError(t, os.WriteFile(b.member(checker.Roles[0], "across"), half.data, 0o644))
	d := b.start()
	program.Eventually(t, "the first set is published", func() bool { return b.allVisible(want) })

	require.NoError(t, d.cmd.Process.Signal(syscall.SIGSTOP))
	for i := range 20 {
		epoch := strconv.Itoa(i)
		want["r1/"+epoch] = b.addSet(epoch, 200_000, uint64(100+10*i))
	}
	other := newCheckpoint(b, 200_000, 60)
	require.NoError(t, os.WriteFile(b.member(checker.Roles[1], "across"), other.data, 0o644))
	want["r1/across"] = checker.Set{checker.Roles[0]: half.weights, checker.Roles[1]: other.weights}
	// Neither half of a pair nor a pair that rotation took away is bundled.
	require.NoError(t, os.WriteFile(b.member(checker.Roles[0], "half"), half.data, 0o644))
	b.addSet("rotated", 200_000, 70)
	for _, role := range checker.Roles {
		require.NoError(t, os.Remove(b.member(role, "rotated")))
	}
	time.Sleep(expire + time.Second)
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGCONT))

	program.Eventually(t, "every complete set is published", func() bool { return b.allVisible(want) })
	program.Eventually(t, "the half set is told", func() bool { return d.log.count("set has waited too long") > 0 })
	d.stop()
	b.requirePublished(want)
	b.mustVerify()
	require.Zero(t, d.log.count(`"level":"error"`), d.log)
}
