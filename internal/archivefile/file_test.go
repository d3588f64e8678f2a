package archivefile

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestUnwrittenIsWhatWasNotCloned(t *testing.T) {
	const at = 3 * BlockSize
	tests := []struct {
		name   string
		cloned []Range
		filled int
		want   []Range
	}{
		{"nothing filled", nil, 0, nil},
		{"nothing cloned", nil, 100, []Range{{at, at + 100}}},
		{"all cloned", []Range{{at, at + BlockSize}}, BlockSize, nil},
		{"from an earlier block into a later one", []Range{{0, 9 * BlockSize}}, BlockSize, nil},
		{"a hole in the middle", []Range{{at + 4096, at + 8192}}, BlockSize, []Range{{at, at + 4096}, {at + 8192, at + BlockSize}}},
		{"the end of one and the start of another", []Range{{0, at + 4096}, {at + 8192, at + 2*BlockSize}}, BlockSize, []Range{{at + 4096, at + 8192}}},
		{"in front of the block", []Range{{0, at}}, 10, []Range{{at, at + 10}}},
		{"behind what was filled", []Range{{at + 4096, at + 8192}}, 100, []Range{{at, at + 100}}},
	}
	for _, test := range tests {
		b := NewBlock()
		b.Reset(at)
		for _, r := range test.cloned {
			b.Skip(r)
		}
		b.Fill(test.filled)
		require.Equal(t, test.want, b.unwritten(), test.name)
	}
}

// TestFileHoldsWhatWasWritten writes blocks out of order, to a small file through the page cache and to a
// large one past it.
func TestFileHoldsWhatWasWritten(t *testing.T) {
	for _, size := range []int{0, 1, 5000, BlockSize, directSize + 12345, 12 << 20} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(rand.Uint32())
		}
		path := filepath.Join(t.TempDir(), "file")
		f, err := Create(path, int64(size)-100)
		require.NoError(t, err)
		for begin := (size - 1) / BlockSize * BlockSize; begin >= 0 && size > 0; begin -= BlockSize {
			require.NoError(t, f.Write(blockOf(want, begin)))
		}
		require.NoError(t, f.Finish(int64(size)))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "size %d", size)
	}
}

func blockOf(data []byte, begin int) *Block {
	b := NewBlock()
	b.Reset(int64(begin))
	b.Fill(copy(b.Room(), data[begin:]))
	return b
}

func TestCreateNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("theirs"), 0o644))
	_, err := Create(path, 10)
	require.ErrorIs(t, err, os.ErrExist)
}

func TestFileIsReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := Create(path, 10)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o222)
}

// TestCloneLeavesOutWhatCannotBeShared holds on every file system: offsets that are not congruent, parts that fill
// no block.
func TestCloneLeavesOutWhatCannotBeShared(t *testing.T) {
	dir := t.TempDir()
	source, err := os.Create(filepath.Join(dir, "source"))
	require.NoError(t, err)
	defer source.Close()
	require.NoError(t, source.Truncate(1<<20))
	f, err := Create(filepath.Join(dir, "file"), 1<<20)
	require.NoError(t, err)
	defer f.Close()
	f.magic = unix.XFS_SUPER_MAGIC
	for _, c := range []struct{ from, offset, size int64 }{{0, 1, 1 << 19}, {100, 100, 4096}, {1, 1, 4095}} {
		r, err := f.Clone(source, c.from, c.offset, c.size)
		require.NoError(t, err)
		require.Zero(t, r.Size())
	}
	require.Zero(t, f.Shared())
}
