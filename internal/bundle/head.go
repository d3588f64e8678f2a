package bundle

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// Captures are what placeholders captured, by their names.
type Captures map[string]string

// Metrics are numbers that belong to a checkpoint, by their names. "epoch" and "global_step" are among
// them when the checkpoint has them.
type Metrics map[string]float64

// Head is what a manifest says but for the tensors, params and notes, which are most of its bytes.
type Head struct {
	Schema     int          `json:"schema_version"`
	Tool       string       `json:"tool"`
	Watch      string       `json:"watch"`
	Key        string       `json:"key"`
	Captures   Captures     `json:"captures"`
	Version    int          `json:"version"`
	Archive    Digest       `json:"archive"`
	Parts      *Parts       `json:"archive_parts"`
	Members    []HeadMember `json:"members"`
	Provenance struct {
		Published time.Time `json:"published"`
		Root      string    `json:"root"`
		SignedBy  string    `json:"signed_by"`
		Writers   []struct {
			SlurmJob    string            `json:"slurm_job"`
			Environment map[string]string `json:"environment"`
		} `json:"writers"`
	} `json:"provenance"`
}

// Jobs are the ids of the Slurm jobs whose processes were seen writing.
func (h *Head) Jobs() []string {
	var jobs []string
	for _, w := range h.Provenance.Writers {
		for _, id := range []string{w.SlurmJob, w.Environment["SLURM_JOB_ID"]} {
			if id != "" && !slices.Contains(jobs, id) {
				jobs = append(jobs, id)
			}
		}
	}
	return jobs
}

// HeadMember is what is needed of a member to judge a bundle without its tensors.
type HeadMember struct {
	Role    string  `json:"role"`
	Metrics Metrics `json:"metrics"`
	Source  *struct {
		Path    string    `json:"path"`
		ModTime time.Time `json:"mtime"`
	} `json:"source"`
}

// Run names the training run that the bundle is of: what {run} captured, or, where the patterns have no
// such placeholder, the key without its last segment.
func (h *Head) Run() string {
	if run, ok := h.Captures["run"]; ok {
		return run
	}
	if dir := path.Dir(h.Key); dir != "." {
		return dir
	}
	return ""
}

// ReadHead reads a bundle's manifest without its tensors, and returns the bytes that it was read from for
// [CheckSums].
func ReadHead(dir string) (*Head, []byte, error) {
	name := filepath.Join(dir, ManifestName)
	data, err := readManifestBytes(name, nil)
	if err != nil {
		return nil, nil, err
	}
	h := &Head{}
	if err := json.Unmarshal(data, h); err != nil {
		return nil, nil, fmt.Errorf("read manifest %q: %w", name, err)
	}
	if h.Schema != Schema {
		return nil, nil, fmt.Errorf("read manifest %q: schema version %d; this program knows %d", name, h.Schema, Schema)
	}
	return h, data, nil
}

// CheckSums holds a manifest's bytes against the SHA256SUMS beside it, which name exactly the files of a
// bundle. The digest of the archive there must be the one that the manifest has.
func CheckSums(dir string, h *Head, manifest []byte) error {
	data, err := readSums(filepath.Join(dir, SumsName))
	if err != nil {
		return err
	}
	sums, err := parseSums(data)
	if err != nil {
		return fmt.Errorf("read %q: %w", filepath.Join(dir, SumsName), err)
	}
	for name := range sums {
		if !slices.Contains([]string{ArchiveName, ManifestName, TreeName}, name) {
			return fmt.Errorf("%s lists %q, which is no file of a bundle", SumsName, name)
		}
	}
	if sums[ManifestName] != digest("", manifest).SHA256 {
		return fmt.Errorf("%s is not the file that %s lists", ManifestName, SumsName)
	}
	if sums[ArchiveName] != h.Archive.SHA256 {
		return fmt.Errorf("%s and %s name different archives", ManifestName, SumsName)
	}
	return nil
}
