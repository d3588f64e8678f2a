package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// TombstoneName is the file that retention puts beside a manifest before it removes the archive.
const TombstoneName = "pruned.json"

// Tombstone says that the archive of a bundle was removed on purpose. The manifest stays, so that the
// bundle is not made again.
type Tombstone struct {
	Schema  int       `json:"schema_version"`
	Pruned  time.Time `json:"pruned"`
	Tool    string    `json:"tool"`
	Reason  string    `json:"reason"`
	Archive Digest    `json:"archive"`
}

// ReadTombstone returns the tombstone of a bundle's directory, nil where there is none.
func ReadTombstone(dir string) (*Tombstone, error) {
	f, _, err := openFile(filepath.Join(dir, TombstoneName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := &Tombstone{}
	if err := json.NewDecoder(io.LimitReader(f, maxSums)).Decode(t); err != nil {
		return nil, fmt.Errorf("read tombstone %q: %w", f.Name(), err)
	}
	if t.Schema != Schema {
		return nil, fmt.Errorf("read tombstone %q: schema version %d; this program knows %d", f.Name(), t.Schema, Schema)
	}
	return t, nil
}

// IsTombstone tells whether the directory is that of a pruned bundle: a tombstone, and no archive.
func IsTombstone(dir string) bool {
	_, archive := os.Lstat(filepath.Join(dir, ArchiveName))
	t, err := ReadTombstone(dir)
	return err == nil && t != nil && errors.Is(archive, fs.ErrNotExist)
}

// PrunedError tells that the archive that is asked for was removed by retention.
type PrunedError struct {
	Path      string
	Tombstone Tombstone
}

func (e *PrunedError) Error() string {
	return fmt.Sprintf("bundle %q was pruned on %s (%s): only its manifest is left", e.Path, e.Tombstone.Pruned.Format(time.RFC3339), e.Tombstone.Reason)
}

// archivePath returns the archive that a path names: the file itself, or that of a bundle's directory.
func archivePath(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return path, err
	}
	archive := filepath.Join(path, ArchiveName)
	if _, err := os.Lstat(archive); !errors.Is(err, fs.ErrNotExist) {
		return archive, err
	}
	if t, err := ReadTombstone(path); err != nil || t != nil {
		if err != nil {
			return "", err
		}
		return "", &PrunedError{Path: path, Tombstone: *t}
	}
	return "", fmt.Errorf("%q is no bundle: there is no %s in it", path, ArchiveName)
}
