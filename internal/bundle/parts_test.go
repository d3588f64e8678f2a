package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartsAreThoseOfTheArchive(t *testing.T) {
	source := torchZip(t, 100_000)
	plain, dir := t.TempDir(), t.TempDir()
	want := pack(t, plain, contents(t, source))
	require.Nil(t, want.Parts)
	c := contents(t, source)
	c.PartSize = 100_000
	m := pack(t, dir, c)
	require.Equal(t, want.Archive, m.Archive, "the archive does not depend on them")
	data, err := os.ReadFile(filepath.Join(dir, ArchiveName))
	require.NoError(t, err)
	require.EqualValues(t, 100_000, m.Parts.Size)
	var sums []string
	for ; len(data) > 0; data = data[min(len(data), 100_000):] {
		sum := sha256.Sum256(data[:min(len(data), 100_000)])
		sums = append(sums, hex.EncodeToString(sum[:]))
	}
	require.Equal(t, sums, m.Parts.SHA256)
	require.Empty(t, verify(t, dir).Problems)

	m.Parts.SHA256[1] = m.Parts.SHA256[0]
	require.NoError(t, Seal(dir, m))
	require.Equal(t, []string{"bundle_manifest.json has digests of parts that are not those of the archive"}, verify(t, dir).Problems)
}

func TestOnePartNeedsNoDigestsOfItsOwn(t *testing.T) {
	c := contents(t, torchZip(t, 10))
	c.PartSize = 1 << 20
	require.Nil(t, pack(t, t.TempDir(), c).Parts)
}

func TestPartSizeGrowsWithTheFile(t *testing.T) {
	require.EqualValues(t, 64<<20, PartSize(1, 64<<20))
	require.EqualValues(t, 64<<20, PartSize(640_000<<20, 64<<20))
	require.EqualValues(t, 128<<20, PartSize(640_000<<20+1, 64<<20))
}
