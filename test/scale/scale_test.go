// Package scale tests the program with checkpoints of gigabytes. Their tensors are zeros and take no
// room; the archives made of them do.
package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

func TestMain(m *testing.M) { program.Main(m) }

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
	// memoryLimit is what the program promises never to need, however large the checkpoints are.
	memoryLimit = 64 * mib
	// roomNeeded is free space for the archive and everything else that a machine does meanwhile.
	roomNeeded = 15 * gib
)

const configText = `[artifacts]
dir = "artifacts"

[[watch]]
name   = "w"
root   = "runs"
settle = "10ms"

[watch.members]
%s
`

// bench is a directory with one run and a config for members of these roles.
func bench(t *testing.T, roles ...string) (dir string) {
	t.Helper()
	program.Slow(t)
	dir = t.TempDir()
	members := ""
	for _, role := range roles {
		members += fmt.Sprintf("%s = \"{run...}/%s-{epoch}.ckpt\"\n", role, role)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "runs/r1"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bundlewatch.toml"), fmt.Appendf(nil, configText, members), 0o644))
	return dir
}

func save(t *testing.T, dir, role string, c torchfile.Checkpoint) {
	t.Helper()
	require.NoError(t, c.Save(filepath.Join(dir, "runs/r1", role+"-1.ckpt")))
}

// layers are zero tensors of so many bytes each.
func layers(n int, bytes int64) []torchfile.Tensor {
	var all []torchfile.Tensor
	for i := range n {
		all = append(all, torchfile.Tensor{Name: fmt.Sprintf("layers.%d.weight", i), Zeros: bytes})
	}
	return all
}

// bundled makes a pass and verifies what it published, and returns the results of both.
func bundled(t *testing.T, dir string) (pack, verify program.Result) {
	t.Helper()
	pack = program.Run(t, "once", "--config", filepath.Join(dir, "bundlewatch.toml"))
	require.Zero(t, pack.Code, pack.Stderr)
	verify = program.Run(t, "verify", filepath.Join(dir, "artifacts"))
	require.Zero(t, verify.Code, verify.Stderr)
	t.Logf("%s%s", pack.Stdout, verify.Stdout)
	t.Logf("peak of resident memory: once %d MiB, verify %d MiB", pack.MaxRSS/mib, verify.MaxRSS/mib)
	return pack, verify
}

// Two Lightning checkpoints of 3 GiB and one with a single storage of more than 4 GiB become one archive
// with every kind of ZIP64 record, in little memory.
func TestGigabytes(t *testing.T) {
	dir := bench(t, "autoencoder", "diffraction_to_obj", "giant")
	requireRoom(t, dir)
	for _, role := range []string{"autoencoder", "diffraction_to_obj"} {
		save(t, dir, role, torchfile.Checkpoint{State: layers(8, 128*mib), Moments: layers(16, 128*mib)})
	}
	save(t, dir, "giant", torchfile.Checkpoint{State: layers(1, 4*gib+4*mib), Moments: layers(1, mib)})

	pack, verify := bundled(t, dir)
	require.Less(t, pack.MaxRSS, memoryLimit, "once")
	require.Less(t, verify.MaxRSS, memoryLimit, "verify")
	readWithPython(t, filepath.Join(dir, "artifacts/w/r1/1/wts.h5.zip"))
}

func requireRoom(t *testing.T, dir string) {
	t.Helper()
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &fs))
	if free := int64(fs.Bavail) * fs.Bsize; free < roomNeeded {
		t.Skipf("%q has %d GiB free; this test wants %d GiB: set TMPDIR to a larger file system", dir, free/gib, roomNeeded/gib)
	}
}

// pythonCheck reads an archive as every loader does, and proves the sizes that need ZIP64.
const pythonCheck = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    sizes = {i.filename: i.file_size for i in z.infolist()}
    assert sizes["giant/model.pth"] > 2**32, sizes
    assert max(i.header_offset for i in z.infolist()) > 2**32
    with z.open("giant/model.pth") as f, zipfile.ZipFile(f) as inner:
        assert max(i.file_size for i in inner.infolist()) > 2**32
print(len(sizes), "entries, the largest of", max(sizes.values()), "bytes")
`

func readWithPython(t *testing.T, archive string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("python3 is not installed: its zipfile was not asked")
		return
	}
	out, err := exec.Command(python, "-c", pythonCheck, archive).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("python3: %s", out)
}

// The description of a checkpoint is held in memory, its weights are not: so many tensors are bundled and verified in so
// much memory. To inspect them, which prints all of them, takes more.
func TestManyTensors(t *testing.T) {
	for _, tc := range []struct {
		name          string
		roles         []string
		state, others int // tensors of each checkpoint
		limit         int64
		inspectLimit  int64
	}{
		{"20,000", []string{"model"}, 20_000, 0, memoryLimit, memoryLimit},
		{"100,000", []string{"model"}, 100_000, 0, memoryLimit, 160 * mib},
		{"100,000 with an optimizer's state", []string{"model"}, 34_000, 66_000, memoryLimit, 160 * mib},
		{"100,000 beside an optimizer's state", []string{"model"}, 100_000, 1, memoryLimit, 160 * mib},
		{"100,000 in a pair", []string{"a", "b"}, 50_000, 0, memoryLimit, 96 * mib},
		{"300,000", []string{"model"}, 300_000, 0, 192 * mib, 448 * mib},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := bench(t, tc.roles...)
			saveElsewhere(t, dir, tc.roles, tc.state, tc.others)
			inspect := program.RunSilently(t, "inspect", filepath.Join(dir, "runs/r1", tc.roles[0]+"-1.ckpt"))
			require.Zero(t, inspect.Code, inspect.Stderr)
			t.Logf("peak of resident memory: inspect %d MiB", inspect.MaxRSS/mib)
			pack, verify := bundled(t, dir)
			require.Less(t, max(pack.MaxRSS, verify.MaxRSS), tc.limit)
			require.Less(t, inspect.MaxRSS, tc.inspectLimit)
		})
	}
}

// saveElsewhere saves many tensors from another process: the peak of a process counts for those that it starts, too.
func saveElsewhere(t *testing.T, dir string, roles []string, state, others int) {
	t.Helper()
	saver := exec.Command(os.Args[0], "-test.run", "^TestSaveElsewhere$")
	saver.Env = append(os.Environ(), "BUNDLEWATCH_SLOW=", "BUNDLEWATCH_SAVE_DIR="+dir, "BUNDLEWATCH_SAVE_ROLES="+strings.Join(roles, " "),
		fmt.Sprintf("BUNDLEWATCH_SAVE_TENSORS=%d %d", state, others))
	out, err := saver.CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestSaveElsewhere(t *testing.T) {
	dir := os.Getenv("BUNDLEWATCH_SAVE_DIR")
	if dir == "" {
		t.Skip("part of TestManyTensors")
	}
	var state, others int
	_, err := fmt.Sscan(os.Getenv("BUNDLEWATCH_SAVE_TENSORS"), &state, &others)
	require.NoError(t, err)
	for _, role := range strings.Fields(os.Getenv("BUNDLEWATCH_SAVE_ROLES")) {
		save(t, dir, role, torchfile.Checkpoint{State: layers(state, 16), Moments: layers(others, 16)})
	}
}
