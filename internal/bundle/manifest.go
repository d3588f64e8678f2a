package bundle

import (
	"encoding/json"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/provenance"
)

// Schema is the version of the manifests' schema. It grows when a field changes its meaning or goes
// away; new fields do not change it.
const Schema = 1

// Manifest is bundle_manifest.json. The doc tags make docs/manifest.md.
type Manifest struct {
	Schema        int             `json:"schema_version" doc:"version of this schema; new fields do not change it"`
	Tool          string          `json:"tool" doc:"the program that made the bundle, with its version"`
	Watch         string          `json:"watch" doc:"name of the watch in the config"`
	Key           string          `json:"key" doc:"captures of the member patterns, joined by slashes"`
	Captures      Captures        `json:"captures,omitempty" doc:"what each placeholder of the member patterns captured"`
	Version       int             `json:"version" doc:"1 for the first bundle of the key, 2 for \"~2\", …"`
	Archive       Digest          `json:"archive" doc:"the archive file"`
	Parts         *Parts          `json:"archive_parts,omitempty" doc:"digests of the archive in parts, where the watch has a store with parts smaller than the archive"`
	Members       []Member        `json:"members" doc:"one per role, in the order of the config"`
	Params        json.RawMessage `json:"params" doc:"what params.dill of every role holds; NaN and infinities as strings"`
	ParamsSource  string          `json:"params_source" doc:"where the params come from: config files, or hyper_parameters of a role"`
	Config        []Digest        `json:"config" doc:"frozen config files, as entries of the archive"`
	ConfigChanged bool            `json:"config_changed" doc:"the config changed between the first member's appearance and the completion of the set: both versions are in the archive, of which the first may have no file"`
	Notes         []string        `json:"notes" doc:"what a user should know: classes flattened, keys set twice, tensors left out, files not parsed, warnings"`
	Provenance    Provenance      `json:"provenance" doc:"what differs between hosts and times"`
}

// Digest names bytes.
type Digest struct {
	Name   string `json:"name" doc:"file name, or entry of the archive"`
	Bytes  int64  `json:"bytes" doc:"size in bytes"`
	SHA256 string `json:"sha256" doc:"SHA-256 in hex"`
}

// What a member's payload is.
const (
	PayloadVerbatim  = "verbatim"
	PayloadExtracted = "extracted"
	PayloadSentinel  = "sentinel"
)

// Member is what one role contributes.
type Member struct {
	Role        string                `json:"role" doc:"name of the role in the config"`
	Digest                            // of the entry; of a directory: see Files
	Files       []Digest              `json:"files,omitempty" doc:"of a directory: its files, as entries of the archive; then name ends in a slash, bytes is their sum, and sha256 is that of their lines as in SHA256SUMS"`
	Payload     string                `json:"payload" doc:"\"verbatim\": the source file byte for byte; \"extracted\": its state_dict; \"sentinel\": no weights of its own"`
	Source      *Source               `json:"source,omitempty" doc:"the file it was read from; absent for a sentinel"`
	Format      checkpoint.Format     `json:"format,omitempty" doc:"format of the source, recognised by content"`
	StateDict   string                `json:"state_dict" doc:"key of the source under which the state_dict is; \"\" when it is the whole"`
	Tensors     checkpoint.TensorList `json:"tensors" doc:"tensors of the entry: name, dtype, shape, bytes, storage (tied tensors share one), kind"`
	Dropped     []string              `json:"dropped,omitempty" doc:"top-level keys of the source that did not travel"`
	Imports     []string              `json:"foreign_imports,omitempty" doc:"names that the entry's pickle imports besides what tensors need (imports = \"warn\")"`
	LeftBehind  []string              `json:"dropped_imports,omitempty" doc:"such names in the parts of the source that did not travel"`
	Evidence    *Evidence             `json:"evidence,omitempty" doc:"why the source was thought complete; absent for a sentinel"`
	Metrics     Metrics               `json:"metrics,omitempty" doc:"numbers that the checkpoint's name, its own state and the run's CSV files give for it; see retention"`
	Fingerprint string                `json:"fingerprint" doc:"SHA-256 over the entry's structure and saved CRCs: tells equal content without reading it"`
}

// Source is the file a member was read from.
type Source struct {
	Path    string    `json:"path" doc:"absolute path when it was read"`
	Size    int64     `json:"size" doc:"size in bytes"`
	ModTime time.Time `json:"mtime" doc:"time of the last modification"`
	ChTime  time.Time `json:"ctime" doc:"time of the last change of the inode"`
	Device  uint64    `json:"device" doc:"device number"`
	Inode   uint64    `json:"inode" doc:"inode number"`
	UID     uint32    `json:"uid" doc:"owner"`
	Links   uint64    `json:"links,omitempty" doc:"number of names that the file has (hard links)"`
	// Files of a directory. Then Size is their sum, ModTime and ChTime are those of the newest, and
	// Device, Inode and UID those of the first.
	Files []SourceFile `json:"files,omitempty" doc:"of a directory: its files; then size is their sum, mtime and ctime those of the newest, device, inode and uid those of the first"`
}

// SourceFile is one file of a directory.
type SourceFile struct {
	Path    string    `json:"path" doc:"relative to the directory"`
	Size    int64     `json:"size" doc:"size in bytes"`
	ModTime time.Time `json:"mtime" doc:"time of the last modification"`
	ChTime  time.Time `json:"ctime" doc:"time of the last change of the inode"`
	Inode   uint64    `json:"inode" doc:"inode number"`
}

// addFile adds a file of a directory to the member.
func (m *Member) addFile(d Digest) {
	m.Files = append(m.Files, d)
	m.Digest = Digest{Name: m.Name, Bytes: m.Bytes + d.Bytes, SHA256: digest("", renderSums(m.Files)).SHA256}
}

// Evidence is the ladder that the source climbed before it was bundled.
type Evidence struct {
	Quiet     string `json:"quiet" doc:"for how long size, mtime, ctime and inode had not changed"`
	Closed    string `json:"closed" doc:"whether no process had it open for writing: \"yes\" (lease granted), or \"unknown\" with the reason"`
	Whole     string `json:"whole" doc:"the format's own proof"`
	Marker    string `json:"marker,omitempty" doc:"the marker file that was there, where the watch asks for one"`
	Unchanged string `json:"unchanged" doc:"what was compared before the first and after the last byte was read"`
}

// Provenance is recorded as seen, never guessed: what could not be seen is absent. It is not in the archive.
type Provenance struct {
	Published time.Time `json:"published" doc:"when the bundle was written"`
	Host      string    `json:"host" doc:"host name"`
	Root      string    `json:"root" doc:"root of the watch"`
	Shared    int64     `json:"shared_bytes" doc:"bytes of the archive that share disk space with their sources, where the file system can (XFS, btrfs)"`
	GitCommit string    `json:"git_commit,omitempty" doc:"commit checked out in the repository that the run lies in, if any"`
	SignedBy  string    `json:"signed_by,omitempty" doc:"fingerprint of the key that model.sig was made with, where bundles are signed. It proves nothing: bundlewatch verify --key does"`

	Git     []provenance.Repository `json:"git,omitempty" doc:"repositories of the training code, as they were when the bundle was written; training may have begun with an earlier state"`
	Kernel  string                  `json:"kernel,omitempty" doc:"name, release and machine of the host's kernel"`
	GPUs    []provenance.GPU        `json:"gpus,omitempty" doc:"GPUs and accelerators that the kernel of the host shows"`
	Writers []provenance.Writer     `json:"writers,omitempty" doc:"processes that were seen writing the members or other files of the run on the host; see operations"`
}

// innerManifest is bundlewatch/manifest.json inside of the archive: what must be known without the
// directory around it, and nothing that differs between hosts, times or places of the same sources.
type innerManifest struct {
	Schema       int           `json:"schema_version"`
	Watch        string        `json:"watch"`
	Key          string        `json:"key"`
	Members      []innerMember `json:"members"`
	ParamsSource string        `json:"params_source"`
	Config       []Digest      `json:"config"`
	Notes        []string      `json:"notes"`
}

type innerMember struct {
	Role string `json:"role"`
	Digest
	Files     []Digest          `json:"files,omitempty"`
	Payload   string            `json:"payload"`
	Format    checkpoint.Format `json:"format,omitempty"`
	StateDict string            `json:"state_dict"`
	Dropped   []string          `json:"dropped,omitempty"`
	Imports   []string          `json:"foreign_imports,omitempty"`
}

// inner returns the part of the manifest that goes into the archive.
func (m *Manifest) inner() innerManifest {
	in := innerManifest{Schema: m.Schema, Watch: m.Watch, Key: m.Key, ParamsSource: m.ParamsSource, Config: m.Config, Notes: m.Notes}
	for _, member := range m.Members {
		in.Members = append(in.Members, innerMember{Role: member.Role, Digest: member.Digest, Files: member.Files, Payload: member.Payload,
			Format: member.Format, StateDict: member.StateDict, Dropped: member.Dropped, Imports: member.Imports})
	}
	return in
}
