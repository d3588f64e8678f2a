package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bundlewatch/bundlewatch/internal/signature"
)

// Seal writes the manifest and the digests beside a packed archive and syncs them. It may be called
// again with another manifest.
func Seal(dir string, m *Manifest) error {
	m.Provenance.SignedBy = ""
	_, err := seal(dir, m)
	return err
}

// SealSigned is Seal, and signs the bundle, whose directory is going to have that base name. Nothing is read for
// it: the digests are known.
func SealSigned(dir string, m *Manifest, name string, key *signature.PrivateKey) error {
	m.Provenance.SignedBy = key.Public().Fingerprint()
	files, err := seal(dir, m)
	if err != nil {
		return err
	}
	s := signature.Statement{Subject: name, Ignored: []string{SignatureName}}
	for _, d := range files {
		f, err := signature.NewFile(d.Name, d.SHA256)
		if err != nil {
			return err
		}
		s.Files = append(s.Files, f)
	}
	text, err := signature.Sign(key, s)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, SignatureName), text)
}

// seal returns the digests of all files but that of the signature.
func seal(dir string, m *Manifest) ([]Digest, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ManifestName, err)
	}
	data = append(data, '\n')
	tree, err := os.ReadFile(filepath.Join(dir, TreeName))
	if err != nil {
		return nil, err
	}
	files := []Digest{digest(TreeName, tree), digest(ManifestName, data), m.Archive}
	sums := renderSums(files)
	for _, name := range []string{ManifestName, SumsName, SignatureName} { // of an earlier manifest
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	if err := writeFile(filepath.Join(dir, ManifestName), data); err != nil {
		return nil, err
	}
	return append(files, digest(SumsName, sums)), writeFile(filepath.Join(dir, SumsName), sums)
}
