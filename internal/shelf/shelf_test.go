package shelf

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/signature"
)

// publish packs a small bundle into a place of the artifact directory.
func publish(t *testing.T, dir, watch, key string) string {
	t.Helper()
	path := filepath.Join(dir, watch, filepath.FromSlash(key))
	require.NoError(t, os.MkdirAll(path, 0o755))
	payload, err := checkpoint.Save(checkpoint.SentinelDict("m"))
	require.NoError(t, err)
	m, err := bundle.Pack(t.Context(), path, &bundle.Contents{
		Watch: watch, Key: key, Params: pickle.NewDict(),
		Parts: []bundle.Part{bundle.Model(payload, bundle.Member{Role: "m", Payload: bundle.PayloadSentinel, Tensors: checkpoint.ListTensors([]checkpoint.Tensor{})})},
	}, func(int64) {})
	require.NoError(t, err)
	m.Version, m.Tool, m.Provenance.Published = 1, "test", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, bundle.Seal(path, m))
	return path
}

func open(t *testing.T, dir string) *Shelf {
	t.Helper()
	s, err := Open(dir)
	require.NoError(t, err)
	return s
}

func list(t *testing.T, s *Shelf, watch string) []Bundle {
	t.Helper()
	var all []Bundle
	require.NoError(t, s.Each(t.Context(), watch, func(b Bundle) error {
		all = append(all, b)
		return nil
	}))
	return all
}

func TestEachIsInNaturalOrderAndStaysInside(t *testing.T) {
	dir := t.TempDir()
	for _, key := range []string{"r/10", "r/9", "r/deep/er/1"} {
		publish(t, dir, "w", key)
	}
	publish(t, dir, "v", "a")
	outside := t.TempDir()
	publish(t, outside, "w", "secret")
	require.NoError(t, os.Symlink(filepath.Join(outside, "w"), filepath.Join(dir, "w", "link")))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".staging", "1.1"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".staging", "1.1", bundle.ManifestName), nil, 0o644))
	var places []string
	for _, b := range list(t, open(t, dir), "") {
		require.Equal(t, Present, b.State, b.Reason)
		places = append(places, b.Place)
	}
	require.Equal(t, []string{"v/a", "w/r/9", "w/r/10", "w/r/deep/er/1"}, places)
	require.Len(t, list(t, open(t, dir), "w"), 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, open(t, dir).Each(ctx, "", func(Bundle) error { return nil }), context.Canceled)
}

func TestPruneLooksAgain(t *testing.T) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, c := range map[string]struct {
		change func(t *testing.T, s *Shelf, path string)
		want   string
	}{
		"pinned meanwhile": {func(t *testing.T, s *Shelf, _ string) {
			_, err := s.Pin("w/r/1", "test", now)
			require.NoError(t, err)
		}, "it is pinned"},
		"gone": {func(t *testing.T, _ *Shelf, path string) { require.NoError(t, os.RemoveAll(path)) }, "it is gone"},
		"another archive": {func(t *testing.T, _ *Shelf, path string) {
			require.NoError(t, os.Chmod(filepath.Join(path, bundle.ArchiveName), 0o644))
			require.NoError(t, os.Truncate(filepath.Join(path, bundle.ArchiveName), 5))
		}, "it is damaged: wts.h5.zip has 5 bytes"},
		"archive is a link": {func(t *testing.T, _ *Shelf, path string) {
			require.NoError(t, os.Rename(filepath.Join(path, bundle.ArchiveName), filepath.Join(path, "..", "a")))
			require.NoError(t, os.Symlink("../a", filepath.Join(path, bundle.ArchiveName)))
		}, "no regular file"},
		"manifest was changed": {func(t *testing.T, _ *Shelf, path string) {
			manifest := filepath.Join(path, bundle.ManifestName)
			require.NoError(t, os.Chmod(manifest, 0o644))
			data, err := os.ReadFile(manifest)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(manifest, append(data, ' '), 0o644))
		}, "is not the file that SHA256SUMS lists"},
		"directory became a link": {func(t *testing.T, s *Shelf, path string) {
			elsewhere := t.TempDir()
			require.NoError(t, os.Rename(filepath.Dir(path), filepath.Join(elsewhere, "r")))
			require.NoError(t, os.Symlink(filepath.Join(elsewhere, "r"), filepath.Dir(path)))
		}, "is no directory of the artifact directory"},
		"another bundle is there": {func(t *testing.T, s *Shelf, path string) {
			require.NoError(t, os.RemoveAll(path))
			publish(t, s.Dir(), "w", "r/2")
			require.NoError(t, os.Rename(filepath.Join(filepath.Dir(path), "2"), path))
		}, "it is damaged: it lies at"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			path := publish(t, s.Dir(), "w", "r/1")
			b := list(t, s, "")[0]
			c.change(t, s, path)
			freed, err := s.Prune(b, "test", "test", now)
			require.ErrorIs(t, err, ErrKept)
			require.ErrorContains(t, err, c.want)
			require.Zero(t, freed)
			require.NoFileExists(t, filepath.Join(path, bundle.TombstoneName))
		})
	}
}

func TestPruneLeavesATombstone(t *testing.T) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	s := open(t, t.TempDir())
	path := publish(t, s.Dir(), "w", "r/1")
	b := list(t, s, "")[0]
	freed, err := s.Prune(b, "too old", "tool 1", now)
	require.NoError(t, err)
	require.Equal(t, b.Archive.Bytes, freed)
	stone, err := bundle.ReadTombstone(path)
	require.NoError(t, err)
	require.Equal(t, &bundle.Tombstone{Schema: 1, Pruned: now, Tool: "tool 1", Reason: "too old", Archive: b.Archive}, stone)
	after := list(t, s, "")[0]
	require.Equal(t, Pruned, after.State)
	require.Equal(t, "too old", after.Reason)
	r, err := bundle.Verify(t.Context(), path)
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	_, err = s.Prune(after, "again", "tool 1", now)
	require.ErrorIs(t, err, ErrKept)
	_, err = s.Pin("w/r/1", "tool 1", now)
	require.ErrorContains(t, err, "was pruned on 2026-02-03T04:05:06Z (too old)")

	// A tombstone of something else does not excuse a missing archive.
	stone.Archive.SHA256 = "0"
	data, err := json.Marshal(stone)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(path, bundle.TombstoneName), data, 0o644))
	require.Equal(t, Damaged, list(t, s, "")[0].State)
	r, err = bundle.Verify(t.Context(), path)
	require.NoError(t, err)
	require.NotEmpty(t, r.Problems)
}

func TestPinsAreFilesOfTheDirectory(t *testing.T) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	s := open(t, t.TempDir())
	publish(t, s.Dir(), "w", "SHA256SUMS/1")
	fresh, err := s.Pin("w/SHA256SUMS/1", "test", now)
	require.NoError(t, err)
	require.True(t, fresh)
	fresh, err = s.Pin("w/SHA256SUMS/1", "test", now)
	require.NoError(t, err)
	require.False(t, fresh)
	require.True(t, list(t, open(t, s.Dir()), "")[0].Pinned)
	found, err := bundle.Find(s.Dir())
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(s.Dir(), "w", "SHA256SUMS", "1")}, found, "a pin is no bundle")
	for _, place := range []string{"w/none", "../w/1", ".pins/w", "w", "/w/1"} {
		_, err := s.Pin(place, "test", now)
		require.Error(t, err, place)
	}
	there, err := s.Unpin("w/SHA256SUMS/1")
	require.NoError(t, err)
	require.True(t, there)
	require.NoDirExists(t, filepath.Join(s.Dir(), ".pins", "w"))
}

// The manifest says that the bundle was signed: without its signature it is not whole.
func TestSignedBundleWithoutItsSignature(t *testing.T) {
	dir := t.TempDir()
	path := publish(t, dir, "w", "a")
	m, err := bundle.ReadManifest(filepath.Join(path, bundle.ManifestName))
	require.NoError(t, err)
	key, err := signature.Generate(signature.P256)
	require.NoError(t, err)
	require.NoError(t, bundle.SealSigned(path, m, "a", key))
	b := list(t, open(t, dir), "")[0]
	require.Equal(t, Present, b.State, b.Reason)
	b, err = Prove(t.Context(), b)
	require.NoError(t, err)
	require.Equal(t, Verified, b.State, b.Reason)
	require.NoError(t, os.Remove(filepath.Join(path, bundle.SignatureName)))
	b = list(t, open(t, dir), "")[0]
	require.Equal(t, Damaged, b.State)
	require.Contains(t, b.Reason, "model.sig: no such file")
}
