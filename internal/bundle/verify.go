package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Report is what a verification found.
type Report struct {
	Path     string   `json:"path"`
	Kind     string   `json:"kind"` // "bundle", "tombstone" (pruned), "archive" (ours, without its directory) or "foreign archive"
	Bytes    int64    `json:"bytes"`
	Entries  int      `json:"entries"`
	Tensors  int      `json:"tensors"`
	Problems []string `json:"problems"`
	Warnings []string `json:"warnings,omitempty"`
	// SignedBy is the fingerprint of the key that the signature was checked with.
	SignedBy string `json:"signed_by,omitempty"`
}

// OK tells whether the bundle is what it claims to be.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Find returns the bundles at and below path: path itself when it is a bundle's directory or a file,
// else every directory below it that looks like a bundle, whole or not. The error is also about
// directories that cannot be listed; the others are found all the same.
func Find(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() || LooksLikeBundle(path) {
		return []string{path}, nil
	}
	var found []string
	var unlisted error
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			unlisted = errors.Join(unlisted, err)
			return fs.SkipDir
		}
		if !d.IsDir() {
			return nil
		}
		if d.Name() == ".staging" || d.Name() == ".pins" || d.Name() == ".uploads" {
			return filepath.SkipDir
		}
		if LooksLikeBundle(p) {
			found = append(found, p)
			return filepath.SkipDir
		}
		return nil
	})
	if err = errors.Join(unlisted, err); err == nil && len(found) == 0 {
		err = fmt.Errorf("look for bundles below %q: there are none", path)
	}
	return found, err
}

// LooksLikeBundle tells whether a directory has a file of a bundle. A directory of that name is part of a key.
func LooksLikeBundle(dir string) bool {
	for _, name := range []string{ManifestName, SumsName, ArchiveName} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && !info.IsDir() {
			return true
		}
	}
	return false
}

// Verify proves a bundle from its bytes, or an archive that lies alone. Everything that is wrong goes
// into the report; the error is about what could not be read.
func Verify(ctx context.Context, path string) (*Report, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	r := &Report{Path: path, Problems: []string{}}
	if !info.IsDir() {
		r.Kind = "archive"
		return r, r.verifyAlone(ctx, path)
	}
	if isForeign(path) {
		return r, r.verifyAlone(ctx, filepath.Join(path, ArchiveName))
	}
	r.Kind = "bundle"
	return r, r.verifyBundle(ctx, path)
}

// verifyAlone proves an archive without what lies beside it.
func (r *Report) verifyAlone(ctx context.Context, path string) error {
	s, err := openScan(path)
	if err != nil {
		return err
	}
	defer s.close()
	if s.broken == nil { // else nobody asks for digests, and the file may be huge
		err = s.run(ctx, nil)
	}
	if err != nil {
		return err
	}
	return r.verifyArchive(ctx, s, nil, nil, "")
}

func (r *Report) verifyBundle(ctx context.Context, dir string) error {
	parts := claimedParts(dir)
	archive := filepath.Join(dir, ArchiveName)
	s, failed := scanRegular(ctx, archive, parts)
	defer s.close()
	m := r.verifyDirectory(ctx, dir, s, failed, parts)
	listed := takeTensors(m)
	switch err := ctx.Err(); {
	case err != nil:
		return err
	case errors.Is(failed, fs.ErrNotExist), errors.Is(failed, errIrregular):
		return nil // pruned, or named by verifyDirectory
	case failed != nil:
		return failed
	}
	return r.verifyArchive(ctx, s, m, listed, filepath.Join(dir, TreeName))
}

// isForeign tells whether a directory holds an archive that another program wrote, such as the run
// directory of upstream's trainer: none of the other files of a bundle is there, and the archive does
// not say that they should be.
func isForeign(dir string) bool {
	for _, name := range []string{SumsName, ManifestName, TreeName} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	f, size, err := openFile(filepath.Join(dir, ArchiveName))
	if err != nil {
		return false
	}
	defer f.Close()
	a, err := openArchive(f, size)
	return err == nil && !a.ours()
}

// verifyDirectory checks the files of a bundle against SHA256SUMS and returns its manifest, nil when
// that is not readable. The archive, and what digests its parts, were read before, unless that failed.
func (r *Report) verifyDirectory(ctx context.Context, dir string, archive *scan, failed error, parts *partSums) *Manifest {
	want := []string{TreeName, ManifestName, ArchiveName}
	present := want
	if IsTombstone(dir) {
		r.Kind, present = "tombstone", want[:2]
	}
	sums := r.readSums(filepath.Join(dir, SumsName))
	for name := range sums {
		if !slices.Contains(want, name) {
			r.problem("%s lists %q, which is no file of a bundle", SumsName, name)
		}
	}
	found := make(map[string]Digest)
	for _, name := range present {
		var got Digest
		err := failed
		switch {
		case name != ArchiveName:
			got, err = hashFile(ctx, filepath.Join(dir, name))
		case archive != nil:
			got = archive.whole
		}
		found[name] = got
		switch {
		case err != nil:
			r.problem("%s: %v", name, err)
		case sums != nil && sums[name] != got.SHA256:
			r.problem("%s has the SHA-256 %s, %s says %q", name, got.SHA256, SumsName, sums[name])
		}
	}
	r.checkNothingElse(dir, append(present[:len(present):len(present)], SumsName, TombstoneName, SignatureName))
	m := r.readManifest(filepath.Join(dir, ManifestName))
	r.checkSignature(ctx, dir, m, sums)
	if got := found[ArchiveName]; m != nil && got.Name != "" && got != m.Archive {
		r.problem("%s says that the archive is %q of %d bytes with the SHA-256 %s, it is %q of %d bytes with %s", ManifestName,
			m.Archive.Name, m.Archive.Bytes, m.Archive.SHA256, got.Name, got.Bytes, got.SHA256)
	}
	if m != nil && found[ArchiveName].Name != "" && !parts.hold(m.Parts) {
		r.problem("%s has digests of parts that are not those of the archive", ManifestName)
	}
	r.checkTombstone(dir, m, sums)
	return m
}

// checkTombstone holds the record of a pruning, where there is one, against the manifest and the sums.
func (r *Report) checkTombstone(dir string, m *Manifest, sums map[string]string) {
	t, err := ReadTombstone(dir)
	switch {
	case err != nil:
		r.problem("%s: %v", TombstoneName, err)
	case t == nil || m == nil:
	case t.Archive != m.Archive || sums[ArchiveName] != m.Archive.SHA256:
		r.problem("%s, %s and %s name different archives", TombstoneName, ManifestName, SumsName)
	case r.Kind != "tombstone":
		r.Warnings = append(r.Warnings, TombstoneName+" says that the archive was to be pruned, but it is there: run bundlewatch prune")
	}
}

func (r *Report) readSums(path string) map[string]string {
	data, err := readSums(path)
	if err != nil {
		r.problem("%s: %v", SumsName, err)
		return nil
	}
	sums, err := parseSums(data)
	if err != nil {
		r.problem("%s: %v", SumsName, err)
		return map[string]string{}
	}
	return sums
}

const maxSums = 1 << 16 // bytes: a bundle has three lines

func readSums(path string) ([]byte, error) {
	f, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxSums {
		return nil, fmt.Errorf("its %d bytes are more than the %d that are read", size, maxSums)
	}
	return io.ReadAll(io.LimitReader(f, maxSums))
}

func (r *Report) checkNothingElse(dir string, names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.problem("list the bundle: %v", err)
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			r.problem("%q does not belong to the bundle", e.Name())
		} else if !e.Type().IsRegular() {
			r.problem("%s is no regular file", e.Name())
		}
	}
}

func (r *Report) readManifest(path string) *Manifest {
	m, err := ReadManifest(path)
	if err != nil {
		r.problem("%s: %v", ManifestName, err)
		return nil
	}
	if m.Schema != Schema {
		r.problem("%s has schema version %d; this program knows %d", ManifestName, m.Schema, Schema)
		return nil
	}
	return m
}

// ReadManifest reads a bundle's manifest.
func ReadManifest(path string) (*Manifest, error) {
	data, err := readManifestBytes(path, nil)
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := parseManifest(data, m); err != nil {
		return nil, fmt.Errorf("read manifest %q: %w", path, err)
	}
	return m, nil
}

// readManifestBytes reads a manifest into a buffer, which grows where it must.
func readManifestBytes(path string, buffer []byte) ([]byte, error) {
	f, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxManifest {
		return nil, fmt.Errorf("read manifest %q: its %d bytes are more than the %d that are read", path, size, int64(maxManifest))
	}
	data := slices.Grow(buffer[:0], int(size))[:size]
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read manifest %q: %w", path, err)
	}
	return data, nil
}

// Limits of a manifest: a tensor takes about 150 bytes and 8 commas.
const (
	maxManifest       = 64 << 20 // bytes
	maxManifestCommas = 6 << 20
)

// parseManifest reads JSON that describes a bundle.
func parseManifest(data []byte, into any) error {
	if err := checkCommas(data); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// checkCommas refuses JSON of many small values, which take far more memory than their text.
func checkCommas(data []byte) error {
	if n := bytes.Count(data, []byte{','}); n > maxManifestCommas {
		return fmt.Errorf("it has %d commas, more than the %d of any real manifest", n, maxManifestCommas)
	}
	return nil
}

// hashFile digests a file.
func hashFile(ctx context.Context, path string) (Digest, error) {
	if err := checkRegular(path); err != nil {
		return Digest{}, err
	}
	f, _, err := openFile(path)
	if err != nil {
		return Digest{}, err
	}
	defer f.Close()
	return hashReader(ctx, filepath.Base(path), f)
}

var errIrregular = errors.New("it is no regular file")

// checkRegular refuses all but a regular file, also a link to one.
func checkRegular(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		return errIrregular
	}
	return err
}
