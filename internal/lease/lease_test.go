package lease

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestProbe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o644))
	probe := func() Use {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		return Probe(f)
	}
	if probe() == Unknown {
		t.Skip("the file system of the temporary directory has no leases")
	}
	require.Equal(t, Nobody, probe())

	reader, err := os.Open(path)
	require.NoError(t, err)
	require.Equal(t, Readers, probe())
	require.NoError(t, reader.Close())

	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	require.Equal(t, Writers, probe())
	require.NoError(t, writer.Close())

	mapped, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	memory, err := unix.Mmap(int(mapped.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	require.NoError(t, mapped.Close())
	require.Equal(t, Writers, probe())
	require.NoError(t, unix.Munmap(memory))
	require.Equal(t, Nobody, probe())
}
