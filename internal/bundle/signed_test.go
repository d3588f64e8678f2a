package bundle

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/signature"
)

func packSigned(t *testing.T, dir string) (*Manifest, *signature.PrivateKey) {
	t.Helper()
	m := pack(t, dir, contents(t, torchZip(t, 1000)))
	key, err := signature.Generate(signature.P256)
	require.NoError(t, err)
	require.NoError(t, SealSigned(dir, m, "1~2", key))
	return m, key
}

func signedStatement(t *testing.T, dir string, key *signature.PrivateKey) *signature.Statement {
	t.Helper()
	e, err := signature.ReadFile(filepath.Join(dir, SignatureName))
	require.NoError(t, err)
	s, err := e.Verify(key.Public())
	require.NoError(t, err)
	return s
}

func TestSealSigned(t *testing.T) {
	dir := t.TempDir()
	m, key := packSigned(t, dir)
	require.Equal(t, key.Public().Fingerprint(), m.Provenance.SignedBy)
	r := verify(t, dir)
	require.Empty(t, r.Problems)
	require.Empty(t, r.Warnings)

	s := signedStatement(t, dir, key)
	require.Equal(t, "1~2", s.Subject)
	require.Equal(t, []string{"model.sig"}, s.Ignored)
	var names []string
	for _, f := range s.Files {
		names = append(names, f.Name)
	}
	require.Equal(t, []string{"SHA256SUMS", "archive_tree.txt", "bundle_manifest.json", "wts.h5.zip"}, names)
	found, err := s.Check(t.Context(), dir, SignatureName)
	require.NoError(t, err)
	require.Empty(t, found.Problems)
	sums, err := os.ReadFile(filepath.Join(dir, SumsName))
	require.NoError(t, err)
	require.NotContains(t, string(sums), SignatureName)
	info, err := os.Stat(filepath.Join(dir, SignatureName))
	require.NoError(t, err)
	require.EqualValues(t, 0o444, info.Mode())

	require.NoError(t, Seal(dir, m))
	require.NoFileExists(t, filepath.Join(dir, SignatureName), "of an earlier manifest")
	require.Empty(t, verify(t, dir).Problems)
}

// The archive is signed by the digest that was computed when it was written: it is not even there.
func TestSigningReadsNoArchive(t *testing.T) {
	dir := t.TempDir()
	m := pack(t, dir, contents(t, torchZip(t, 1000)))
	require.NoError(t, os.Remove(filepath.Join(dir, ArchiveName)))
	key, err := signature.Generate(signature.P521)
	require.NoError(t, err)
	require.NoError(t, SealSigned(dir, m, "1", key))
	f, err := signature.NewFile(ArchiveName, m.Archive.SHA256)
	require.NoError(t, err)
	require.Contains(t, signedStatement(t, dir, key).Files, f)
}

// Without a key it is seen when the signature is not that of the bundle, and not who made it.
func TestVerifyOfSignedBundles(t *testing.T) {
	other := t.TempDir()
	packSigned(t, other)
	foreign, err := os.ReadFile(filepath.Join(other, SignatureName))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change  func(t *testing.T, dir string)
		problem string
	}{
		"gone": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, SignatureName))) },
			"model.sig is missing: bundle_manifest.json says that the bundle was signed with the key "},
		"empty":         {func(t *testing.T, dir string) { rewrite(t, filepath.Join(dir, SignatureName), nil) }, "it is no JSON"},
		"another one's": {func(t *testing.T, dir string) { rewrite(t, filepath.Join(dir, SignatureName), foreign) }, `model.sig signs "bundle_manifest.json" with the SHA-256`},
		"a directory": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, SignatureName)))
			require.NoError(t, os.Mkdir(filepath.Join(dir, SignatureName), 0o755))
		}, "model.sig is no regular file"},
		"of too little": {func(t *testing.T, dir string) {
			key, err := signature.Generate(signature.P256)
			require.NoError(t, err)
			text, err := signature.Sign(key, signature.Statement{Subject: "x", Files: []signature.File{{Name: "other"}}})
			require.NoError(t, err)
			rewrite(t, filepath.Join(dir, SignatureName), text)
		}, `model.sig does not sign "wts.h5.zip"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			packSigned(t, dir)
			c.change(t, dir)
			require.Contains(t, join(verify(t, dir).Problems), c.problem)
		})
	}
}
