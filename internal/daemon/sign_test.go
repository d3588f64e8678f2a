package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/signature"
)

func writeKey(t *testing.T, path string) *signature.PrivateKey {
	t.Helper()
	key, err := signature.Generate(signature.P256)
	require.NoError(t, err)
	require.NoError(t, signature.WritePair(key, path, path+".pub"))
	return key
}

// signedSubject checks the signature of a bundle and returns what it calls the bundle.
func signedSubject(t *testing.T, dir string, key *signature.PrivateKey) string {
	t.Helper()
	e, err := signature.ReadFile(filepath.Join(dir, bundle.SignatureName))
	require.NoError(t, err)
	s, err := e.Verify(key.Public())
	require.NoError(t, err)
	found, err := s.Check(t.Context(), dir, bundle.SignatureName)
	require.NoError(t, err)
	require.Empty(t, found.Problems)
	return s.Subject
}

func TestOnceSigns(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	unsigned := archiveDigest(t, s.once(Bundled)[0].Path)
	s.config.Artifacts.Dir = t.TempDir()
	s.config.Sign.Key = filepath.Join(t.TempDir(), "signing.pem")
	key := writeKey(t, s.config.Sign.Key)
	path := s.once(Bundled)[0].Path
	require.Equal(t, "1", signedSubject(t, path, key))
	require.Equal(t, unsigned, archiveDigest(t, path), "the archive is the same")
}

// A version that another process took in the meantime: what is signed is what is published.
func TestSignedUnderTheNameThatIsFree(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	b, other := s.bench(), s.bench()
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	key, err := signature.Generate(signature.P384)
	require.NoError(t, err)
	b.packer.key.Store(key)
	s.write("q/a-1.ckpt", torchZip(t, 10, 5))
	s.write("q/b-1.ckpt", torchZip(t, 10, 6))
	taken := other.jobFor("q")
	taken.key = "r/1"
	b.packer.progress = during(func() { require.NoError(t, other.packer.pack(t.Context(), taken).err) })
	b.pack()
	require.Equal(t, "1~2", signedSubject(t, b.expect(Bundled)[0].Path, key))
}

func TestSigningKey(t *testing.T) {
	c := &config.Config{Path: "/etc/b.toml"}
	key, err := SigningKey(c)
	require.NoError(t, err)
	require.Nil(t, key)

	dir, credentials := t.TempDir(), t.TempDir()
	c.Sign.Key = filepath.Join(dir, "signing.pem")
	_, err = SigningKey(c)
	var problems config.Problems
	require.ErrorAs(t, err, &problems)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.EqualError(t, err, `/etc/b.toml:1: sign.key: found "`+c.Sign.Key+`", which cannot be used (read private key: open `+c.Sign.Key+
		`: no such file or directory), expected a private key; bundlewatch keygen makes one`)

	own := writeKey(t, c.Sign.Key)
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	key, err = SigningKey(c)
	require.NoError(t, err)
	require.Equal(t, own.Public().Fingerprint(), key.Public().Fingerprint(), "there is no such credential")
	other := writeKey(t, filepath.Join(credentials, "signing.pem"))
	key, err = SigningKey(c)
	require.NoError(t, err)
	require.Equal(t, other.Public().Fingerprint(), key.Public().Fingerprint())
	require.NoError(t, os.WriteFile(filepath.Join(credentials, "signing.pem"), nil, 0o600))
	_, err = SigningKey(c)
	require.ErrorContains(t, err, filepath.Join(credentials, "signing.pem"), "a broken credential is not passed over")
}

// The first reading of the config, too, ends when the key's file system hangs or the key is wrong.
func TestDaemonDoesNotStartWithoutItsKey(t *testing.T) {
	s := newSite(t)
	s.config.Sign.Key = filepath.Join(t.TempDir(), "absent.pem")
	d := &Daemon{Options: s.options(), Load: func() (*config.Config, error) { return nil, errors.New("unused") }}
	err := d.Run(t.Context(), s.config)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoDirExists(t, s.config.Artifacts.Dir)
	require.ErrorIs(t, Once(t.Context(), s.config, s.options()), fs.ErrNotExist)
	require.NoDirExists(t, s.config.Artifacts.Dir)
}
