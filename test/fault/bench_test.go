package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// memberSize is how large a checkpoint is where nothing else is said, in bytes.
const memberSize = 3 << 20

// bench is a directory with runs, a config and an artifact directory.
type bench struct {
	*testing.T
	dir       string
	artifacts string
	runs      string // the root of the watch
}

// expire is how long the daemon waits for the other members of a set.
const expire = 5 * time.Second

const configText = `[artifacts]
dir = "%s"

[sign]
key = "%s"

[[watch]]
name   = "w"
root   = "%s"
settle = "10ms"
expire = "%s"
ignore_writers = true   # thousands of calls into /proc, at each of which the tracer stops

[watch.members]
autoencoder        = "{run...}/autoencoder-{epoch}.ckpt"
diffraction_to_obj = "{run...}/diffraction_to_obj-{epoch}.ckpt"

[watch.config]
files = ["{run...}/config.json"]
`

func newBench(t *testing.T) *bench {
	t.Helper()
	program.Slow(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	b := &bench{T: t, dir: dir, runs: filepath.Join(dir, "runs")}
	b.useArtifacts(filepath.Join(dir, "artifacts"))
	b.addConfig()
	return b
}

// addConfig makes the directory of the run, with the config that is frozen.
func (b *bench) addConfig() {
	b.Helper()
	require.NoError(b, os.MkdirAll(b.run(), 0o755))
	require.NoError(b, os.WriteFile(filepath.Join(b.run(), "config.json"), []byte(`{"N": 64, "gridsize": 2}`), 0o644))
}

// beside returns a bench of a test that runs beside others: the same runs, a config and an artifact
// directory of its own.
func (b *bench) beside(t *testing.T) *bench {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	other := &bench{T: t, dir: dir, runs: b.runs}
	other.useArtifacts(filepath.Join(dir, "artifacts"))
	return other
}

// useArtifacts makes dir the artifact directory.
func (b *bench) useArtifacts(dir string) {
	b.Helper()
	b.artifacts = dir
	require.NoError(b, os.WriteFile(b.config(), fmt.Appendf(nil, configText, dir, program.Key(), b.runs, expire), 0o644))
}

func (b *bench) config() string { return filepath.Join(b.dir, "bundlewatch.toml") }

func (b *bench) run() string { return filepath.Join(b.runs, "r1") }

func (b *bench) member(role, epoch string) string {
	return filepath.Join(b.run(), role+"-"+epoch+".ckpt")
}

// addSet writes the checkpoints of a set.
func (b *bench) addSet(epoch string, size int, seed uint64) checker.Set {
	b.Helper()
	s := make(checker.Set)
	for i, role := range checker.Roles {
		c := newCheckpoint(b, size, seed+uint64(i))
		require.NoError(b, os.WriteFile(b.member(role, epoch), c.data, 0o644))
		s[role] = c.weights
	}
	return s
}

// checkpoint is a Lightning checkpoint of about size bytes, half of which is optimizer state.
type checkpoint struct {
	data    []byte
	weights string // digest
}

func newCheckpoint(t testing.TB, size int, seed uint64) checkpoint {
	t.Helper()
	half := size / 2 &^ 7
	weights := []torchfile.Tensor{torchfile.Random("conv.weight", half-4096, seed), torchfile.Random("conv.bias", 4096, seed+1000)}
	c := torchfile.Checkpoint{State: weights, Moments: []torchfile.Tensor{torchfile.Random("", half, seed+2000)}}
	data, err := c.Bytes()
	require.NoError(t, err)
	return checkpoint{data: data, weights: checker.Digest(weights[0].Data, weights[1].Data)}
}

// once makes one pass.
func (b *bench) once() program.Result {
	b.Helper()
	return program.Run(b.T, "once", "--config", b.config())
}

// mustOnce makes a pass that must go well, and leaves no litter.
func (b *bench) mustOnce() {
	b.Helper()
	r := b.once()
	require.Zero(b, r.Code, r.Stderr)
	b.requireNoStaging()
}

func (b *bench) requireNoStaging() {
	b.Helper()
	entries, err := os.ReadDir(filepath.Join(b.artifacts, ".staging"))
	require.NoError(b, err)
	require.Empty(b, entries, "staging")
}

// mustVerify lets the program verify everything that was published.
func (b *bench) mustVerify() {
	b.Helper()
	r := program.Run(b.T, "verify", b.artifacts)
	require.Zero(b, r.Code, r.Stderr)
}

// forget removes the artifact directory.
func (b *bench) forget() {
	b.Helper()
	require.NoError(b, os.RemoveAll(b.artifacts))
}
