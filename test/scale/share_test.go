package scale

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// On a file system that can share extents the archive takes next to no room, and is the same, byte for byte, as on
// one that cannot.
func TestArchiveSharesExtents(t *testing.T) {
	for _, kind := range []string{"xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			program.Slow(t)
			mount := mounted(t, kind)
			plain := pairs(t, t.TempDir())
			shared := pairs(t, mount)
			sync(t, mount)
			before := used(t, mount)
			want, got := pass(t, plain), pass(t, shared)
			sync(t, mount)
			taken := used(t, mount) - before
			for i := range want {
				require.Equal(t, want[i].Archive, got[i].Archive, want[i].Key)
				require.Zero(t, want[i].Provenance.Shared)
				require.Greater(t, 100*got[i].Provenance.Shared, 99*got[i].Archive.Bytes, got[i].Key)
			}
			require.Less(t, 100*taken, total(got), "bytes taken on the disk for archives of %d bytes", total(got))
			t.Logf("%s: archives of %d bytes took %d", kind, total(got), taken)
			verify := program.Run(t, "verify", filepath.Join(shared, "artifacts"))
			require.Zero(t, verify.Code, verify.Stderr)
		})
	}
}

// mounted makes a file system of that kind in a file and mounts it.
func mounted(t *testing.T, kind string) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skipf("mkfs.%s is not installed", kind)
	}
	image := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(image, nil, 0o644))
	require.NoError(t, os.Truncate(image, 2*gib))
	out, err := exec.Command(mkfs, "-q", image).CombinedOutput()
	require.NoError(t, err, "%s", out)
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount %s here: %s", kind, out)
	}
	t.Cleanup(func() {
		out, err := exec.Command("umount", dir).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	return dir
}

const pairsConfig = `[artifacts]
dir = "artifacts"

[[watch]]
name   = "w"
root   = "runs"
settle = "10ms"

[watch.members]
a = "{run...}/a-{epoch}.ckpt"
b = "{run...}/b-{epoch}.ckpt"
`

// pairs writes a pair of state_dicts, which travel as they are, and one of Lightning checkpoints, which leave their
// optimizer behind. The digests of random tensors depend on their names alone.
func pairs(t *testing.T, dir string) string {
	t.Helper()
	for i, role := range []string{"a", "b"} {
		var weights []torchfile.Tensor
		for n := range 6 {
			weights = append(weights, torchfile.Random(fmt.Sprintf("layers.%d.weight", n), 8<<20+n*1000, uint64(10*i+n)))
		}
		weights = append(weights, torchfile.Random("bias", 64, uint64(90+i)))
		for run, c := range map[string]torchfile.Checkpoint{"bare": {State: weights}, "lightning": {State: weights[:3], Moments: weights[3:]}} {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "runs", run), 0o755))
			require.NoError(t, c.Save(filepath.Join(dir, "runs", run, role+"-1.ckpt")))
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bundlewatch.toml"), []byte(pairsConfig), 0o644))
	return dir
}

// pass bundles both pairs and returns the manifests.
func pass(t *testing.T, dir string) []bundle.Manifest {
	t.Helper()
	result := program.Run(t, "once", "--config", filepath.Join(dir, "bundlewatch.toml"))
	require.Zero(t, result.Code, result.Stderr)
	manifests := make([]bundle.Manifest, 2)
	for i, run := range []string{"bare", "lightning"} {
		data, err := os.ReadFile(filepath.Join(dir, "artifacts/w", run, "1/bundle_manifest.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, &manifests[i]))
	}
	return manifests
}

func total(all []bundle.Manifest) (n int64) {
	for _, m := range all {
		n += m.Archive.Bytes
	}
	return n
}

func sync(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, unix.Syncfs(int(f.Fd())))
}

func used(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	return int64(st.Blocks-st.Bfree) * st.Bsize
}
