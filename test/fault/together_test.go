package fault

import (
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// A daemon and four passes work on one artifact directory at once: each of 50 sets is published once.
func TestManyInstancesPublishOnce(t *testing.T) {
	b := newBench(t)
	want := make(map[string]checker.Set)
	for i := range 50 {
		epoch := strconv.Itoa(i)
		want["r1/"+epoch] = b.addSet(epoch, 400_000, uint64(10*i))
	}
	passes := make([]*exec.Cmd, 4)
	for i := range passes {
		passes[i] = exec.Command(program.Path(), "once", "--config", b.config())
		require.NoError(t, passes[i].Start())
	}
	d := b.start()
	for i, p := range passes {
		require.NoError(t, p.Wait(), "pass %d", i)
	}
	b.requirePublished(want)
	d.stop()
	b.requirePublished(want)
	b.mustVerify()
	require.Zero(t, d.log.count(`"level":"error"`), d.log)
	t.Logf("the daemon published %d of %d", d.log.count(`"message":"bundle published"`), len(want))
}
