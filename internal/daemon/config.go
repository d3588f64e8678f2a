package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/snapshot"
)

// configError tells that the config of a set cannot be frozen until somebody mends it.
type configError struct{ err error }

func (e *configError) Error() string { return "freeze config: " + e.err.Error() }

func (e *configError) Unwrap() error { return e.err }

// freeze reads the config files of a set as they are now, in the order in which they are merged. A
// [*configError] is about the files, any other error about the moment.
func freeze(w config.Watch, captures pattern.Captures) ([]snapshot.File, error) {
	root, err := os.OpenRoot(w.Root)
	if err != nil {
		return nil, fmt.Errorf("freeze config: %w", err)
	}
	defer root.Close()
	frozen := []snapshot.File{}
	seen := make(map[string]bool)
	for _, p := range w.Config.Files {
		g, err := p.Bind(captures)
		if err != nil {
			return nil, &configError{err}
		}
		paths, err := g.Expand(root)
		if err != nil {
			return nil, freezeError(err)
		}
		for _, path := range paths {
			if seen[path] {
				continue
			}
			seen[path] = true
			f, err := snapshot.Read(root, path, g.Name(path))
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since the directory was listed
			}
			if err != nil {
				return nil, freezeError(err)
			}
			frozen = append(frozen, f)
		}
	}
	return frozen, nil
}

func freezeError(err error) error {
	if errors.Is(err, snapshot.ErrTooLarge) || errors.Is(err, snapshot.ErrNotRegular) || errors.Is(err, fs.ErrPermission) {
		return &configError{err}
	}
	return fmt.Errorf("freeze config: %w", err)
}

// archived names frozen files for the archive, each by a name of its own.
func archived(files []snapshot.File) []bundle.File {
	var out []bundle.File
	taken := make(map[string]bool)
	for _, f := range files {
		name := bundle.EntryName(f.Name)
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s~%d", bundle.EntryName(f.Name), n)
		}
		taken[name] = true
		out = append(out, bundle.File{Name: name, Data: f.Data})
	}
	return out
}

// changed tells whether two freezings differ in names or content.
func changed(a, b []snapshot.File) bool {
	if len(a) != len(b) {
		return true
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].SHA256 != b[i].SHA256 {
			return true
		}
	}
	return false
}

// snapshotInput gathers what is known of the config of a set: files, and what the checkpoints hold.
func snapshotInput(w config.Watch, frozen []snapshot.File, sources []*source) (snapshot.Input, error) {
	in := snapshot.Input{Preset: string(w.Config.Preset), Files: frozen, Required: w.Config.Required}
	for _, s := range sources {
		c := s.content.checkpoint
		if c == nil {
			continue
		}
		if v := c.HyperParameters(); v != nil {
			in.Hypers = append(in.Hypers, snapshot.Hyper{Role: s.role, Value: v})
		}
		if in.CIStatistics != nil {
			continue
		}
		stats, err := c.CIStatistics()
		if err != nil {
			return in, &memberError{role: s.role, path: s.file.path, err: err}
		}
		if stats != nil {
			in.CIStatistics = stats
		}
	}
	return in, nil
}

// hyperFiles are the hyper_parameters of the members as JSON, for people.
func hyperFiles(hypers []snapshot.Hyper) ([]bundle.File, error) {
	var files []bundle.File
	for _, h := range hypers {
		plain, _ := snapshot.Plain(h.Value)
		data, err := pickle.AppendJSON(nil, plain)
		if err != nil {
			return nil, fmt.Errorf("freeze hyper_parameters of %q: %w", h.Role, err)
		}
		files = append(files, bundle.File{Name: h.Role + ".json", Data: append(data, '\n')})
	}
	return files, nil
}

// scaling lays out torch_scaling_metadata.pt. Tensors in the configs travel from the checkpoint that
// they were read from.
func scaling(s *snapshot.Scaling, sources []*source) (*checkpoint.Payload, error) {
	value := s.Value()
	var owner *checkpoint.Checkpoint
	for _, src := range sources {
		if c := src.content.checkpoint; c != nil && c.Owns(value) {
			owner = src.content.checkpoint
			break
		}
	}
	if owner == nil {
		return nil, errors.New("write torch_scaling_metadata.pt: its tensors come from several checkpoints")
	}
	p, err := checkpoint.SaveFrom(value, owner)
	if err != nil {
		return nil, fmt.Errorf("write torch_scaling_metadata.pt: %w", err)
	}
	return p, nil
}

func describeNote(n snapshot.Note) string {
	var where []string
	for _, part := range []string{n.Source, n.Key} {
		if part != "" {
			where = append(where, part)
		}
	}
	text := string(n.Kind) + ": "
	if len(where) > 0 {
		text += strings.Join(where, ": ") + ": "
	}
	return text + n.Text
}
