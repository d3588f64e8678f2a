package bundle

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/bundlewatch/bundlewatch/internal/signature"
)

// checkSignature holds what model.sig says against the files beside it, where there is one. Who made it is not
// asked: that takes a key that the user has from elsewhere.
func (r *Report) checkSignature(ctx context.Context, dir string, m *Manifest, sums map[string]string) {
	e, err := signature.ReadFile(filepath.Join(dir, SignatureName))
	var s *signature.Statement
	if err == nil {
		s, err = e.Claims()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if m != nil && m.Provenance.SignedBy != "" {
			r.problem("%s is missing: %s says that the bundle was signed with the key %.64s", SignatureName, ManifestName, m.Provenance.SignedBy)
		}
	case signature.IsUnknown(err):
		r.Warnings = append(r.Warnings, SignatureName+" was not looked at: "+err.Error())
	case err != nil:
		r.problem("%s: %v", SignatureName, err)
	default:
		r.compareSigned(ctx, dir, s, sums)
	}
}

func (r *Report) compareSigned(ctx context.Context, dir string, s *signature.Statement, sums map[string]string) {
	if sums == nil {
		return // is named already
	}
	own, err := hashFile(ctx, filepath.Join(dir, SumsName))
	if err != nil {
		r.problem("%s: %v", SumsName, err)
		return
	}
	want := map[string]string{SumsName: own.SHA256}
	for name, sum := range sums {
		want[name] = sum
	}
	for _, f := range s.Files {
		if sum, ok := want[f.Name]; !ok || sum != hex.EncodeToString(f.SHA256[:]) {
			r.problem("%s signs %q with the SHA-256 %x, %s says %q", SignatureName, f.Name, f.SHA256, SumsName, sum)
		}
		delete(want, f.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		r.problem("%s does not sign %q", SignatureName, name)
	}
}
