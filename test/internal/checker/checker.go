// Package checker judges bundles. It shares no code with the program: it knows the documented files of
// a bundle, sha256sum's format and, from the standard library, zips.
package checker

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Roles are the members of every set that it judges.
var Roles = []string{"autoencoder", "diffraction_to_obj"}

// Watch is the name of the watch that publishes the sets.
const Watch = "w"

// Set is the digests of the weights of a set's members by role.
type Set map[string]string

// Files are the files of a bundle, sorted.
var Files = []string{"SHA256SUMS", "archive_tree.txt", "bundle_manifest.json", "model.sig", "wts.h5.zip"}

// archiveEntries is what the archive of a set with one config file holds.
var archiveEntries = []string{
	"autoencoder/model.pth", "autoencoder/params.dill",
	"bundlewatch/config/config.json", "bundlewatch/manifest.json",
	"diffraction_to_obj/model.pth", "diffraction_to_obj/params.dill",
	"manifest.dill",
}

// Published finds the bundles below an artifact directory: by key, such as "r1/3" or "r1/3~2", the set
// that each holds. The error is about anything that is neither a whole bundle nor a directory on the
// way to one.
func Published(artifacts string) (map[string]Set, error) {
	return Below(filepath.Join(artifacts, Watch), ".")
}

// Below finds the bundles in a part of what a watch publishes, as [Published] does.
func Below(root, part string) (map[string]Set, error) {
	found := make(map[string]Set)
	top := filepath.Join(root, part)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == top {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		dir := filepath.Dir(path)
		key, err := filepath.Rel(root, dir)
		if err != nil || found[key] != nil {
			return err
		}
		found[key], err = readBundle(dir)
		if err != nil {
			return fmt.Errorf("bundle %q: %w", key, err)
		}
		return nil
	})
	return found, err
}

func readBundle(dir string) (Set, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, Files) {
		return nil, fmt.Errorf("it holds %q", names)
	}
	if err := checkSums(dir); err != nil {
		return nil, err
	}
	if err := checkSigned(dir); err != nil {
		return nil, err
	}
	return readArchive(filepath.Join(dir, "wts.h5.zip"))
}

// checkSums does what sha256sum -c does, and wants every other file to be named.
func checkSums(dir string) error {
	sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		return err
	}
	named := []string{"SHA256SUMS", "model.sig"}
	for line := range strings.Lines(string(sums)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if got := Digest(data); got != want {
			return fmt.Errorf("%s has the digest %s instead of %s", name, got, want)
		}
		named = append(named, name)
	}
	if slices.Sort(named); !slices.Equal(named, Files) {
		return fmt.Errorf("SHA256SUMS names %q", named)
	}
	return nil
}

// checkSigned wants the signature to be of all other files. Whether it holds takes the key, and is for others
// to check.
func checkSigned(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "model.sig"))
	if err != nil {
		return err
	}
	var outer struct {
		Envelope struct{ Payload []byte } `json:"dsseEnvelope"`
	}
	var inner struct {
		Predicate struct {
			Resources []struct{ Name, Digest string }
		}
	}
	if err := json.Unmarshal(text, &outer); err != nil {
		return fmt.Errorf("model.sig: %w", err)
	}
	if err := json.Unmarshal(outer.Envelope.Payload, &inner); err != nil {
		return fmt.Errorf("model.sig: %w", err)
	}
	named := []string{"model.sig"}
	for _, r := range inner.Predicate.Resources {
		data, err := os.ReadFile(filepath.Join(dir, r.Name))
		if err != nil {
			return err
		}
		if got := Digest(data); got != r.Digest {
			return fmt.Errorf("%s has the digest %s, and %s was signed", r.Name, got, r.Digest)
		}
		named = append(named, r.Name)
	}
	if slices.Sort(named); !slices.Equal(named, Files) {
		return fmt.Errorf("model.sig signs %q", named)
	}
	return nil
}

// readArchive reads every entry, whose CRC archive/zip checks, and returns the weights.
func readArchive(path string) (Set, error) {
	r, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	contents, err := readEntries(&r.Reader)
	if err != nil {
		return nil, err
	}
	if names := slices.Sorted(maps.Keys(contents)); !slices.Equal(names, archiveEntries) {
		return nil, fmt.Errorf("the archive holds %q", names)
	}
	s := make(Set)
	for _, role := range Roles {
		if s[role], err = weightsDigest(contents[role+"/model.pth"]); err != nil {
			return nil, fmt.Errorf("%s/model.pth: %w", role, err)
		}
	}
	return s, nil
}

func readEntries(r *zip.Reader) (map[string][]byte, error) {
	contents := make(map[string][]byte)
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(in)
		in.Close()
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", f.Name, err)
		}
		contents[f.Name] = data
	}
	return contents, nil
}

// weightsDigest is the digest of all storages of a model in their order.
func weightsDigest(model []byte) (string, error) {
	r, err := zip.NewReader(bytes.NewReader(model), int64(len(model)))
	if err != nil {
		return "", err
	}
	records, err := readEntries(r)
	if err != nil {
		return "", err
	}
	var storages [][]byte
	for _, name := range slices.Sorted(maps.Keys(records)) {
		if strings.HasPrefix(name, "archive/data/") {
			storages = append(storages, records[name])
		}
	}
	return Digest(storages...), nil
}

// Digest returns the SHA-256 of parts one after the other, in hexadecimal.
func Digest(parts ...[]byte) string {
	sum := sha256.New()
	for _, p := range parts {
		sum.Write(p)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
