package fault

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
)

// among tells whether a set is one of several.
func among(sets []checker.Set, s checker.Set) bool {
	for _, known := range sets {
		if maps.Equal(known, s) {
			return true
		}
	}
	return false
}

// requirePublished wants exactly these sets to be published, each whole and once.
func (b *bench) requirePublished(want map[string]checker.Set) {
	b.Helper()
	got, err := checker.Published(b.artifacts)
	require.NoError(b, err)
	require.Equal(b, want, got)
}

// The checker itself must notice what it is there for.
func TestCheckerFindsTornBundles(t *testing.T) {
	b := newBench(t)
	want := map[string]checker.Set{"r1/1": b.addSet("1", 200_000, 1)}
	b.mustOnce()
	b.requirePublished(want)
	for _, name := range checker.Files {
		path := filepath.Join(b.artifacts, "w/r1/1", name)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.Remove(path))
		_, err = checker.Published(b.artifacts)
		require.Error(t, err, "without %s", name)
		require.NoError(t, os.WriteFile(path, data[:len(data)/2], 0o644))
		_, err = checker.Published(b.artifacts)
		require.Error(t, err, "with %s cut off", name)
		require.NoError(t, os.WriteFile(path, data, 0o644))
	}
	b.requirePublished(want)
}

// allVisible tells whether there is a bundle for every set.
func (b *bench) allVisible(want map[string]checker.Set) bool {
	for key := range want {
		if _, err := os.Stat(filepath.Join(b.artifacts, "w", key)); err != nil {
			return false
		}
	}
	return true
}
