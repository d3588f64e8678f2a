package torchfile

import (
	"bytes"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
)

func TestZerosCRC(t *testing.T) {
	for _, n := range []int64{0, 1, 2, 3, 64, 1000, 1 << 20, 1<<20 + 7} {
		require.Equal(t, crc32.ChecksumIEEE(make([]byte, n)), zerosCRC(n), "%d zeros", n)
	}
}

func TestSaveWritesTheBytesOfACheckpoint(t *testing.T) {
	for name, c := range map[string]Checkpoint{
		"bare":      {State: []Tensor{Random("w", 4096, 1), {Name: "z", Zeros: 1 << 20}}},
		"lightning": {State: []Tensor{Random("w", 400, 2)}, Moments: []Tensor{{Name: "m", Zeros: 8192}}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.ckpt")
			require.NoError(t, c.Save(path))
			saved, err := os.ReadFile(path)
			require.NoError(t, err)
			want, err := c.Bytes()
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, saved))

			read, err := checkpoint.Open(bytes.NewReader(saved), int64(len(saved)))
			require.NoError(t, err)
			require.NoError(t, read.CheckRecords())
			state, err := read.StateDict("")
			require.NoError(t, err)
			require.Len(t, state.Tensors(), len(c.State))
		})
	}
}
