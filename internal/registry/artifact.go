package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

// Artifact is a bundle as a registry holds it.
type Artifact struct {
	// Digest is that of the manifest, and the name that no registry can give to anything else.
	Digest digest.Digest
	// Tag is what the artifact is called where no other tag is asked for.
	Tag string
	// Bytes is the size of all files.
	Bytes int64

	archive  digest.Digest
	manifest ocispec.Descriptor
	content  []byte // of the manifest
	blobs    []blob // in the order in which they go
}

// blob is what a descriptor describes: a file of the bundle, or the bytes themselves.
type blob struct {
	ocispec.Descriptor
	path string
	data []byte
}

// maxSmall is how large a file beside the archive may be; manifests of bundles are bounded by 64 MiB.
const maxSmall = 64 << 20

// Open describes the bundle in a directory. Of its archive no byte is read: the digest is the one that the bundle was
// published with, and is proved when the archive goes. A [bundle.PrunedError] tells of a bundle without archive.
func Open(dir string) (*Artifact, error) {
	a, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("read bundle %q: %w", dir, err)
	}
	return a, nil
}

func open(dir string) (*Artifact, error) {
	if t, err := bundle.ReadTombstone(dir); err != nil || t != nil {
		if err == nil {
			err = &bundle.PrunedError{Path: dir, Tombstone: *t}
		}
		return nil, err
	}
	head, manifest, err := bundle.ReadHead(dir)
	if err != nil {
		return nil, err
	}
	if err := bundle.CheckSums(dir, head, manifest); err != nil {
		return nil, err
	}
	a := &Artifact{archive: digest.NewDigestFromEncoded(digest.SHA256, head.Archive.SHA256), Tag: tagOf(head)}
	if err := a.addFiles(dir, head); err != nil {
		return nil, err
	}
	var git struct {
		Provenance struct {
			Commit string `json:"git_commit"`
		} `json:"provenance"`
	}
	if err := json.Unmarshal(manifest, &git); err != nil {
		return nil, fmt.Errorf("%s: %w", bundle.ManifestName, err)
	}
	return a, a.seal(head, git.Provenance.Commit)
}

// addFiles describes the files of a bundle.
func (a *Artifact) addFiles(dir string, head *bundle.Head) error {
	small := make(map[string][]byte)
	for _, f := range files {
		b := blob{path: filepath.Join(dir, f.name)}
		b.MediaType = f.mediaType
		b.Annotations = map[string]string{modelPackPath: f.name, titleName: f.name}
		switch data, err := readSmall(b.path, f.name); {
		case f.name == bundle.SignatureName && errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case f.name == bundle.ArchiveName:
			b.Descriptor.Digest, b.Size = a.archive, head.Archive.Bytes
		default:
			b.data, small[f.name] = data, data
			b.Descriptor.Digest, b.Size = digest.FromBytes(data), int64(len(data))
		}
		a.Bytes += b.Size
		a.blobs = append(a.blobs, b)
	}
	tree := digest.FromBytes(small[bundle.TreeName]).Encoded() + "  " + bundle.TreeName + "\n"
	if !bytes.Contains(small[bundle.SumsName], []byte(tree)) {
		return fmt.Errorf("%s is not the file that %s lists", bundle.TreeName, bundle.SumsName)
	}
	return nil
}

// readSmall returns a file that lies beside the archive; nothing of the archive.
func readSmall(path, name string) ([]byte, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if name == bundle.ArchiveName {
		return nil, nil
	}
	if size > maxSmall {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d of any such file", name, size, maxSmall)
	}
	return io.ReadAll(io.LimitReader(f, maxSmall))
}

// openRegular opens a file that is no link, and neither pipe nor device.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, 0, fmt.Errorf("%q is a symbolic link", path)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// modelConfig is the config of a ModelPack artifact; its schema allows no fields of one's own.
type modelConfig struct {
	Descriptor struct {
		CreatedAt *time.Time `json:"createdAt,omitempty"`
		Name      string     `json:"name,omitempty"`
		Version   string     `json:"version,omitempty"`
		Revision  string     `json:"revision,omitempty"`
	} `json:"descriptor"`
	ModelFS struct {
		Type    string          `json:"type"`
		DiffIDs []digest.Digest `json:"diffIds"`
	} `json:"modelfs"`
	Config struct{} `json:"config"`
}

// seal makes config and manifest. Both depend on the files of the bundle alone.
func (a *Artifact) seal(head *bundle.Head, commit string) error {
	name, version := head.Watch+"/"+head.Key, strconv.Itoa(head.Version)
	var c modelConfig
	c.Descriptor.Name, c.Descriptor.Version, c.Descriptor.Revision = name, version, commit
	notes := map[string]string{watchNote: head.Watch, keyNote: head.Key, runNote: head.Run(), versionNote: version, toolNote: head.Tool,
		archiveNote: head.Archive.SHA256, revisionNote: commit, titleName: name}
	if at := head.Provenance.Published.UTC(); !at.IsZero() {
		c.Descriptor.CreatedAt = &at
		notes[createdNote] = at.Format(time.RFC3339)
	}
	c.ModelFS.Type = layersFS
	var layers []ocispec.Descriptor
	for _, b := range a.blobs {
		c.ModelFS.DiffIDs = append(c.ModelFS.DiffIDs, b.Descriptor.Digest) // a raw layer is its own diff
		layers = append(layers, b.Descriptor)
		if b.Annotations[titleName] == bundle.SumsName {
			notes[sumsNote] = b.Descriptor.Digest.Encoded()
		}
	}
	for note, text := range notes {
		if text == "" {
			delete(notes, note)
		}
	}
	config, err := json.Marshal(c)
	if err != nil {
		return err
	}
	described := ocispec.Descriptor{MediaType: configType, Digest: digest.FromBytes(config), Size: int64(len(config))}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: described, Layers: layers, Annotations: notes}
	if a.content, err = json.Marshal(m); err != nil {
		return err
	}
	a.Digest = digest.FromBytes(a.content)
	a.manifest = ocispec.Descriptor{MediaType: m.MediaType, ArtifactType: artifactType, Digest: a.Digest, Size: int64(len(a.content))}
	a.blobs = append(a.blobs, blob{Descriptor: described, data: config})
	return nil
}
