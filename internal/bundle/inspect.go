package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// Inspection is what a bundle, an archive or a checkpoint holds. Nothing is proven: see [Verify].
type Inspection struct {
	Path     string          `json:"path"`
	Kind     string          `json:"kind"` // "bundle", "tombstone" (pruned), "archive" or "checkpoint"
	Bytes    int64           `json:"bytes"`
	Manifest *Manifest       `json:"manifest,omitempty"`
	Entries  []EntryView     `json:"entries,omitempty"`
	Params   json.RawMessage `json:"params,omitempty"`
	Pickles  []PickleView    `json:"pickles"`
}

// EntryView is one entry of an archive or record of a checkpoint.
type EntryView struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Packed int64  `json:"packed_bytes"`
	CRC32  string `json:"crc32"`
}

// PickleView is one pickle with what hangs on it.
type PickleView struct {
	Name     string              `json:"name"` // the entry or file that holds it
	Format   checkpoint.Format   `json:"format,omitempty"`
	Protocol int                 `json:"protocol"`
	Holds    string              `json:"holds"` // the top level, for people
	Tensors  []checkpoint.Tensor `json:"tensors,omitempty"`
	Imports  []ImportView        `json:"imports"`
	Error    string              `json:"error,omitempty"`
}

// ImportView is a name that a pickle imports.
type ImportView struct {
	Name    string `json:"name"`
	Offset  int    `json:"offset"` // of the first opcode that imports it, in the pickle
	Foreign bool   `json:"foreign,omitempty"`
}

// Inspect lists what is in a bundle's directory, in an archive, or in a checkpoint. A checkpoint that is
// not whole is an error.
func Inspect(path string) (*Inspection, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	in := &Inspection{Path: path, Kind: "bundle", Pickles: []PickleView{}}
	archivePath := path
	if info.IsDir() && isForeign(path) {
		archivePath = filepath.Join(path, ArchiveName)
	} else if info.IsDir() {
		if in.Manifest, err = ReadManifest(filepath.Join(path, ManifestName)); err != nil {
			return nil, fmt.Errorf("inspect %q: not a bundle's directory: %w", path, err)
		}
		archivePath = filepath.Join(path, ArchiveName)
		if IsTombstone(path) {
			in.Kind = "tombstone"
			return in, nil
		}
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("inspect %q: it is no regular file", path)
	}
	return in, in.inspectFile(archivePath)
}

func (in *Inspection) inspectFile(path string) error {
	f, size, err := openFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in.Bytes = size
	a, err := openArchive(f, size)
	if err == nil {
		if in.Manifest == nil {
			in.Kind = "archive"
		}
		return in.inspectArchive(a)
	}
	if in.Manifest != nil {
		return fmt.Errorf("inspect %q: %w", path, err)
	}
	in.Kind = "checkpoint"
	c, err := checkpoint.Open(f, size)
	if err != nil {
		return in.brokenCheckpoint(path, c, err)
	}
	for _, e := range c.Records() {
		in.Entries = append(in.Entries, viewEntry(&e))
	}
	in.Pickles = append(in.Pickles, viewCheckpoint(filepath.Base(path), c))
	return nil
}

// brokenCheckpoint keeps what could be seen of a checkpoint that cannot be read to its end.
func (in *Inspection) brokenCheckpoint(path string, c *checkpoint.Checkpoint, err error) error {
	if c != nil {
		in.Pickles = append(in.Pickles, PickleView{Name: filepath.Base(path), Format: c.Format, Protocol: c.Protocol,
			Imports: viewImports(c.Imports), Error: err.Error()})
	}
	return fmt.Errorf("inspect %q: %w", path, err)
}

func viewEntry(e *zipfile.Entry) EntryView {
	return EntryView{Name: e.Name, Bytes: e.Size, Packed: e.Packed, CRC32: fmt.Sprintf("%08x", e.CRC32)}
}

func (in *Inspection) inspectArchive(a *archive) error {
	for i := range a.directory.Entries {
		e := &a.directory.Entries[i]
		in.Entries = append(in.Entries, viewEntry(e))
		switch {
		case strings.HasSuffix(e.Name, ".dill"):
			in.Pickles = append(in.Pickles, in.inspectPickle(a, e.Name))
		case strings.HasSuffix(e.Name, ".pth"), strings.HasSuffix(e.Name, ".pt"), a.inMember(e.Name):
			in.Pickles = append(in.Pickles, inspectModel(a, e))
		}
	}
	return nil
}

func inspectModel(a *archive, e *zipfile.Entry) PickleView {
	c, done, err := a.checkpoint(e)
	if err != nil {
		return PickleView{Name: e.Name, Imports: []ImportView{}, Error: err.Error()}
	}
	defer done()
	return viewCheckpoint(e.Name, c)
}

func (in *Inspection) inspectPickle(a *archive, name string) PickleView {
	p, _, err := a.pickle(name)
	v := PickleView{Name: name, Imports: []ImportView{}}
	if p != nil {
		v.Protocol, v.Imports = p.Protocol, viewImports(p.Imports)
	}
	if err != nil {
		v.Error = err.Error()
		return v
	}
	v.Holds = describe(p.Value)
	if strings.HasSuffix(name, "/"+paramsName) && in.Params == nil {
		if params, err := pickle.AppendJSON(nil, p.Value); err == nil {
			in.Params = params
		}
	}
	return v
}

func viewCheckpoint(name string, c *checkpoint.Checkpoint) PickleView {
	v := PickleView{Name: name, Format: c.Format, Protocol: c.Protocol, Imports: viewImports(c.Imports), Holds: c.Describe()}
	tensors, err := c.AllTensors()
	if err != nil {
		v.Error = err.Error()
	}
	v.Tensors = tensors
	return v
}

func viewImports(imports []pickle.Import) []ImportView {
	views := []ImportView{}
	foreign := make(map[string]bool)
	for _, i := range checkpoint.Foreign(imports) {
		foreign[i.String()] = true
	}
	seen := make(map[string]bool)
	for _, i := range imports {
		if name := i.String(); !seen[name] {
			seen[name] = true
			views = append(views, ImportView{Name: name, Offset: i.Offset, Foreign: foreign[name]})
		}
	}
	return views
}

func describe(v any) string {
	if d, ok := v.(*pickle.Dict); ok {
		return fmt.Sprintf("a dict of %d keys", d.Len())
	}
	return pickle.Kind(v)
}

// IsNotCheckpoint tells whether an inspection failed because of what the file is, not because it
// could not be read.
func IsNotCheckpoint(err error) bool {
	var b *checkpoint.Broken
	return errors.As(err, &b)
}
