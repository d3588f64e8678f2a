package daemon

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/config"
)

// counting counts the bytes that are read of a file in one state.
type counting struct {
	io.ReaderAt
	read int
	crcs checkpoint.Ranges
}

func (c *counting) ReadAt(b []byte, offset int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, offset)
	c.read += n
	return n, err
}

func (c *counting) Ranges() *checkpoint.Ranges { return &c.crcs }

// A file without checksums of its own is read for them once, when it is proven, and not again when it is laid out to
// be packed.
func TestChecksumsAreComputedOnce(t *testing.T) {
	const size = 1 << 20
	data := append([]byte("unknown"), bytes.Repeat([]byte{0xff}, size)...)
	source := &counting{ReaderAt: bytes.NewReader(data)}
	first, err := read(source, "x.bin", int64(len(data)), config.Payload{Keep: config.KeepVerbatim})
	require.NoError(t, err)
	require.GreaterOrEqual(t, source.read, len(data))
	source.read = 0
	again, err := read(source, "x.bin", int64(len(data)), config.Payload{Keep: config.KeepVerbatim})
	require.NoError(t, err)
	require.Less(t, source.read, size/2)
	require.Equal(t, first.fingerprint(), again.fingerprint())
}
