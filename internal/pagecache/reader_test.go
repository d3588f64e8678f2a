package pagecache

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const testSize = 6<<20 + 1234

// coldFile is a file none of whose pages are in the cache.
func coldFile(t *testing.T) (*os.File, []byte) {
	data := bytes.Repeat([]byte("checkpoint "), testSize/11+1)[:testSize]
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = f.Write(data)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	drop(f, part{0, testSize})
	if _, cached, err := residency(f, part{0, testSize}); err != nil || cached > 0 {
		t.Skipf("SKIP: the file system keeps pages in memory (%d of them, %v)", cached, err)
	}
	return f, data
}

func cached(t *testing.T, f *os.File, p part) int64 {
	_, n, err := residency(f, p)
	require.NoError(t, err)
	return n
}

func readAll(t *testing.T, r *Reader, want []byte) {
	buffer := make([]byte, 100_000)
	for offset := 0; offset < len(want); offset += len(buffer) {
		n, _ := r.ReadAt(buffer, int64(offset))
		require.True(t, bytes.Equal(want[offset:offset+n], buffer[:n]))
	}
}

func TestPagesOfTheReaderAreDropped(t *testing.T) {
	f, data := coldFile(t)
	r := NewReader(f, testSize)
	readAll(t, r, data)
	r.Drop()
	require.Zero(t, cached(t, f, part{0, testSize}))
}

func TestPagesAreDroppedBehindTheReader(t *testing.T) {
	f, data := coldFile(t)
	r := NewReader(f, testSize)
	readAll(t, r, data[:5<<20])
	require.Zero(t, cached(t, f, part{0, 4 << 20}))
}

func TestPagesOfOthersStay(t *testing.T) {
	f, data := coldFile(t)
	theirs := part{2 << 20, 3<<20 + 256<<10}
	other, err := os.Open(f.Name())
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, unix.Fadvise(int(other.Fd()), 0, 0, unix.FADV_RANDOM)) // no pages besides
	_, err = other.ReadAt(make([]byte, theirs.end-theirs.begin), theirs.begin)
	require.NoError(t, err)
	before := cached(t, f, theirs)
	require.Positive(t, before)
	r := NewReader(f, testSize)
	readAll(t, r, data)
	r.Drop()
	require.Equal(t, before, cached(t, f, theirs))
	require.Zero(t, cached(t, f, part{0, 1 << 20}))
	require.Zero(t, cached(t, f, part{4 << 20, testSize}))
}

// One who reads on and on finds that the kernel has begun to read far in front; one who reads here and there does not.
func TestWhatFollowsIsFetched(t *testing.T) {
	f, data := coldFile(t)
	far := part{4 << 20, 4<<20 + 128<<10}
	r := NewReader(f, testSize)
	for _, offset := range []int64{0, 1 << 20, 500 << 10} {
		_, err := r.ReadAt(make([]byte, 100_000), offset)
		require.NoError(t, err)
	}
	require.Never(t, func() bool { return cached(t, f, far) > 0 }, 100*time.Millisecond, 10*time.Millisecond)
	_, err := r.ReadAt(make([]byte, 100_000), 500<<10+100_000)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return cached(t, f, far) == (far.end-far.begin)/int64(os.Getpagesize()) }, time.Minute, time.Millisecond)
	readAll(t, r, data)
	r.Drop()
	require.Zero(t, cached(t, f, part{0, testSize}))
}

func TestReadingOutOfOrderLeavesNothing(t *testing.T) {
	f, data := coldFile(t)
	r := NewReader(f, testSize)
	for _, offset := range []int64{5 << 20, 0, 3 << 20, 1 << 20} {
		buffer := make([]byte, 300_000)
		_, err := r.ReadAt(buffer, offset)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[offset:offset+300_000], buffer))
	}
	r.Drop()
	require.Zero(t, cached(t, f, part{0, testSize}))
}

// Files of any size are looked at to their end, whichever of their pages are cached.
func TestFilesOfEverySizeAreRead(t *testing.T) {
	for size := int64(1); size < 400<<10; size += 7001 {
		f, err := os.Create(filepath.Join(t.TempDir(), "file"))
		require.NoError(t, err)
		_, err = f.Write(bytes.Repeat([]byte("x"), int(size)))
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		for _, cached := range []int64{0, 1, size / 2, size - 1} {
			drop(f, part{0, size})
			_, err = f.ReadAt(make([]byte, 1), cached)
			require.True(t, err == nil || cached == size, "%v", err)
			r := NewReader(f, size)
			n, _ := r.ReadAt(make([]byte, size), 0)
			require.EqualValues(t, size, n)
			r.Drop()
		}
		require.NoError(t, f.Close())
	}
}

// TestKernelsAgree holds the older way of asking against the newer one.
func TestKernelsAgree(t *testing.T) {
	f, _ := coldFile(t)
	_, err := f.ReadAt(make([]byte, 1<<20), 1<<20)
	require.NoError(t, err)
	for _, p := range []part{{0, testSize}, {1 << 20, 2 << 20}, {4097, 3 << 20}, {testSize - 10, testSize}} {
		old, err := resident(f, p)
		require.NoError(t, err)
		require.Equal(t, cached(t, f, p), old, "%v", p)
	}
}
