package bucket

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/signature"
	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

func sign(t *testing.T, h *host) {
	t.Helper()
	key, err := signature.Generate(signature.P256)
	require.NoError(t, err)
	in, err := bundle.Inspect(h.dir)
	require.NoError(t, err)
	require.NoError(t, bundle.SealSigned(h.dir, in.Manifest, "epoch=3", key))
}

func signedHost(t *testing.T, s *objectserver.Server) *host {
	t.Helper()
	h := newHost(t, s, "a", 1, testPart)
	sign(t, h)
	return h
}

// The signature goes with the bundle, and comes back with it.
func TestSignatureIsCarried(t *testing.T) {
	s := serve(t)
	h := signedHost(t, s)
	p, err := h.publish(t)
	require.NoError(t, err)
	require.Equal(t, 5, p.Sent)
	require.True(t, p.Attested)
	requireWhole(t, s)
	r, err := h.Open(t.Context(), place)
	require.NoError(t, err)
	require.Len(t, r.Name.Files, 5)
	dir := t.TempDir()
	require.NoError(t, r.Download(t.Context(), dir, nil))
	want, err := os.ReadFile(filepath.Join(h.dir, bundle.SignatureName))
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, bundle.SignatureName))
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
	small, err := r.Small(t.Context(), bundle.SignatureName)
	require.NoError(t, err)
	require.Equal(t, string(want), string(small))
	again, err := h.publish(t)
	require.NoError(t, err)
	require.Zero(t, again.Sent)
}

// The signature that a name was made with stays, whatever another host signed the same bundle with.
func TestSignatureOfTheNameStays(t *testing.T) {
	s := serve(t)
	h := signedHost(t, s)
	_, err := h.publish(t)
	require.NoError(t, err)
	other := filepath.Join(h.dir, bundle.SignatureName)
	require.NoError(t, os.Remove(other))
	require.NoError(t, os.WriteFile(other, []byte("{}"), 0o444))
	p, err := h.publish(t)
	require.NoError(t, err)
	require.Zero(t, p.Sent)
	requireWhole(t, s)
}

// No file from elsewhere is sent in the place of a signature, and none is left out.
func TestSignatureThatIsNone(t *testing.T) {
	s := serve(t)
	h := signedHost(t, s)
	at := filepath.Join(h.dir, bundle.SignatureName)
	require.NoError(t, os.Remove(at))
	_, err := OpenLocal(h.dir, place)
	require.ErrorIs(t, err, ErrDamaged)
	require.NoError(t, os.Symlink("/etc/passwd", at))
	_, err = OpenLocal(h.dir, place)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "symbolic link")
}
