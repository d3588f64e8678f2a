package fault

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// Somebody removes the whole artifact directory under the daemon. It makes and locks a new one, and bundles
// again what is still there; a new daemon finds nothing to do.
func TestRemovedArtifactDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := map[string]checker.Set{"r1/1": b.addSet("1", 200_000, 1)}
	d := b.start()
	program.Eventually(t, "the first set is published", func() bool { return b.allVisible(want) })
	b.forget()
	want["r1/2"] = b.addSet("2", 200_000, 11)
	program.Eventually(t, "both sets are published", func() bool { return b.allVisible(want) })
	require.Equal(t, 75, program.Run(t, "run", "--config", b.config()).Code, "a second daemon starts beside the first one")
	d.stop()
	b.requirePublished(want)

	d = b.start()
	d.stop()
	require.Zero(t, d.log.count("bundle published"), d.log)
	b.requirePublished(want)
	b.mustVerify()
}
