package shelf

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

// outside are texts that lead, or could lead, to something else than a bundle of the shelf.
var outside = []string{"..", "../w", "w/..", "w/../../etc", "/etc", "w//a", "w/./a", ".pins", ".pins/w", ".staging/1.1", "w/a/../a", "w/a\x00", "w/\xff", ".", "w/a/"}

func TestBelowListsNames(t *testing.T) {
	dir := t.TempDir()
	for _, key := range []string{"r/10", "r/9", "r/.hidden"} {
		publish(t, dir, "w", key)
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".staging"), 0o755))
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(dir, "w", "link")))
	s := open(t, dir)
	for place, want := range map[string][]string{"": {"w"}, "w": {"r"}, "w/r": {".hidden", "9", "10"}, "w/r/9": {}} {
		names, err := s.Below(place)
		require.NoError(t, err)
		require.Equal(t, want, names, place)
	}
	for _, place := range append(outside, "none", "w/link", "w/r/9/"+bundle.ManifestName) {
		_, err := s.Below(place)
		require.ErrorIs(t, err, fs.ErrNotExist, place)
	}
}

func TestManifestStaysInside(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	publish(t, dir, "w", "a")
	publish(t, other, "w", "secret")
	require.NoError(t, os.Symlink(filepath.Join(other, "w"), filepath.Join(dir, "w", "link")))
	require.NoError(t, os.Symlink(filepath.Join(other, "w", "secret"), filepath.Join(dir, "w", "b")))
	s := open(t, dir)
	b, m, err := s.Manifest("w/a")
	require.NoError(t, err)
	require.Equal(t, Present, b.State)
	require.Equal(t, "a", m.Key)
	for _, place := range append(outside, "", "w", "w/none", "w/link/secret", "w/b", "w/a/"+bundle.ManifestName) {
		_, _, err := s.Manifest(place)
		require.ErrorIs(t, err, fs.ErrNotExist, place)
	}
	manifest := filepath.Join(dir, "w", "a", bundle.ManifestName)
	require.NoError(t, os.Remove(manifest))
	require.NoError(t, os.Symlink(filepath.Join(other, "w", "secret", bundle.ManifestName), manifest))
	_, _, err = s.Manifest("w/a")
	require.ErrorContains(t, err, "no regular file")
}

func TestNewest(t *testing.T) {
	dir := t.TempDir()
	for i := range 7 {
		path := publish(t, dir, "w", fmt.Sprintf("r%d/%d", i%2, i))
		at := time.Unix(int64(1_700_000_000+i), 0)
		require.NoError(t, os.Chtimes(filepath.Join(path, bundle.ManifestName), at, at))
	}
	s := open(t, dir)
	newest, total, err := s.Newest(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, 7, total)
	var places []string
	for _, b := range newest {
		require.Equal(t, Present, b.State, b.Reason)
		places = append(places, b.Place)
	}
	require.ElementsMatch(t, []string{"w/r0/4", "w/r1/5", "w/r0/6"}, places)
	newest, _, err = s.Newest(t.Context(), 100)
	require.NoError(t, err)
	require.Len(t, newest, 7)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = s.Newest(ctx, 3)
	require.ErrorIs(t, err, context.Canceled)
}
