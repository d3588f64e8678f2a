package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/signature"
	"github.com/bundlewatch/bundlewatch/internal/store"
)

// SigningKey reads the key of [sign], nil where the config has none. The error is a [config.KeyError].
func SigningKey(c *config.Config) (*signature.PrivateKey, error) {
	if c.Sign.Key == "" {
		return nil, nil
	}
	key, err := signature.ReadPrivateKey(keyFile(c.Sign.Key))
	if err != nil {
		return nil, c.KeyProblem(err)
	}
	return key, nil
}

// keyFile returns the systemd credential that stands for a key (systemd.exec(5), LoadCredential), or the key's
// own path where there is none.
func keyFile(path string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return path
	}
	credential := filepath.Join(dir, filepath.Base(path))
	if _, err := os.Lstat(credential); errors.Is(err, fs.ErrNotExist) {
		return path
	}
	return credential
}

// seal writes what belongs beside the archive, and signs it all where bundles are signed.
func (p *packer) seal(stage *store.Stage, m *bundle.Manifest, slot store.Slot) error {
	if key := p.key.Load(); key != nil {
		return bundle.SealSigned(stage.Path, m, filepath.Base(slot.Path), key)
	}
	return bundle.Seal(stage.Path, m)
}

// sign makes a key the one that bundles are signed with, nil for none.
func (d *Daemon) sign(key *signature.PrivateKey) {
	before := d.pool.packer.key.Swap(key)
	switch {
	case key != nil && (before == nil || before.Public().Fingerprint() != key.Public().Fingerprint()):
		d.Log.Info().Str("fingerprint", key.Public().Fingerprint()).Msg("bundles are signed")
	case key == nil && before != nil:
		d.Log.Warn().Str("fingerprint", before.Public().Fingerprint()).Msg("bundles are not signed any more")
	}
}
