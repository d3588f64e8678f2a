package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// Bounds of the walk.
const (
	maxEntries = 200_000
	maxDepth   = 16
)

// folder is a directory of the tree.
type folder struct {
	rel   string // "" for the root
	files []string
	sizes map[string]int64
	subs  []string
}

func (f *folder) has(names ...string) bool {
	for _, n := range names {
		if _, ok := f.sizes[n]; ok {
			return true
		}
	}
	return false
}

func (f *folder) hasMatch(p string) bool {
	return slices.ContainsFunc(f.files, func(name string) bool { ok, _ := path.Match(p, name); return ok })
}

// tree is what the walk found.
type tree struct {
	root    string
	folders map[string]*folder
	order   []string        // of the folders, parents first
	inside  map[string]bool // directories that are a checkpoint, or in one
	entries int
	notes   []string
}

// ignored are directories that hold no runs.
var ignored = []string{"__pycache__", "node_modules", "site-packages", "venv"}

// scan walks the tree breadth first, so that a bound cuts the depths and not whole runs.
func scan(ctx context.Context, root string) (*tree, error) {
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err != nil {
		return nil, fmt.Errorf("look at run tree %q: %w", root, err)
	}
	t := &tree{root: root, folders: make(map[string]*folder)}
	for queue := []string{""}; len(queue) > 0; queue = queue[1:] {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := t.list(queue[0])
		if err != nil && queue[0] == "" {
			return nil, fmt.Errorf("look at run tree %q: %w", root, err)
		}
		if err != nil {
			t.note("not looked into: %q: %v", queue[0], errors.Unwrap(err))
			continue
		}
		if f == nil {
			continue
		}
		t.folders[f.rel], t.order = f, append(t.order, f.rel)
		for _, sub := range f.subs {
			queue = append(queue, path.Join(f.rel, sub))
		}
	}
	return t, nil
}

func (t *tree) note(format string, args ...any) {
	const most = 20
	if len(t.notes) < most {
		t.notes = append(t.notes, fmt.Sprintf(format, args...))
	}
}

// list reads one directory; nil when it is none of ours to look into.
func (t *tree) list(rel string) (*folder, error) {
	entries, err := os.ReadDir(filepath.Join(t.root, rel))
	if err != nil {
		return nil, err
	}
	f := &folder{rel: rel, sizes: make(map[string]int64)}
	links := 0
	for _, e := range entries {
		if t.entries++; t.entries > maxEntries {
			if t.entries == maxEntries+1 {
				t.note("the tree has more than %d entries: only the first were looked at, the outer ones before the inner", maxEntries)
			}
			break
		}
		switch name := e.Name(); {
		case e.Type()&fs.ModeSymlink != 0:
			links++
		case e.IsDir():
			hidden := strings.HasPrefix(name, ".") && name != ".hydra"
			if !hidden && !slices.Contains(ignored, name) && strings.Count(rel, "/") < maxDepth {
				f.subs = append(f.subs, name)
			}
		case e.Name() == "wts.h5.zip":
			t.note("left alone: %q, an archive that the trainer itself wrote", "./"+path.Join(rel, name))
		case e.Type().IsRegular():
			info, err := e.Info()
			if err != nil {
				continue // vanished
			}
			f.files, f.sizes[name] = append(f.files, name), info.Size()
		}
	}
	if links > 0 {
		t.note("passed over: %d symbolic links in %q; links are not followed", links, "./"+rel)
	}
	if f.has("bundle_manifest.json") {
		return nil, nil // what this program published
	}
	slices.SortFunc(f.files, pattern.CompareNatural)
	slices.SortFunc(f.subs, pattern.CompareNatural)
	return f, nil
}

// entry is a checkpoint candidate: a file, or a directory that is one checkpoint.
type entry struct {
	dir  string // that it is in
	name string
	kind string // of a directory, "" for a file
}

func (e entry) path() string { return path.Join(e.dir, e.name) }

// candidates lists the files and directories that may be checkpoints. What is inside of a directory checkpoint belongs to it.
func (t *tree) candidates() []entry {
	var all []entry
	inside := make(map[string]bool)
	t.inside = inside
	for _, rel := range t.order {
		f := t.folders[rel]
		parent := path.Dir(rel)
		if rel != "" && inside[parent] {
			inside[rel] = true
			continue
		}
		if kind := t.directoryKind(f); kind != "" && rel != "" {
			inside[rel] = true
			if parent == "." {
				parent = ""
			}
			all = append(all, entry{dir: parent, name: path.Base(rel), kind: kind})
			continue
		}
		for _, name := range f.files {
			if mayBeCheckpoint(name, f.sizes[name]) {
				all = append(all, entry{dir: rel, name: name})
			}
		}
	}
	return all
}

var numberedCheckpoint = regexp.MustCompile(`(?i)^(checkpoint|ckpt|global_step|step|epoch|iter|iteration)[-_]?\d+$`)

// directoryKind says which kind of checkpoint a directory is as a whole, "" when it is none.
func (t *tree) directoryKind(f *folder) string {
	switch {
	case f.has("trainer_state.json") && !t.holdsCheckpoints(f):
		return "Hugging Face Trainer"
	case f.has(".metadata") && f.hasMatch("*.distcp"):
		return "torch.distributed.checkpoint"
	case f.hasMatch("*_model_states.pt"):
		return "DeepSpeed"
	case f.has("_CHECKPOINT_METADATA", "manifest.ocdbt"):
		return "Orbax"
	case f.has("saved_model.pb"):
		return "TensorFlow SavedModel"
	case f.hasMatch("random_states_*.pkl"):
		return "Accelerate"
	}
	if t.holdsCheckpoints(f) {
		return ""
	}
	pretrained := f.has("config.json", "adapter_config.json") && (f.hasMatch("*.safetensors") || f.hasMatch("*.bin"))
	switch {
	case f.hasMatch("*.index.json"):
		return "sharded"
	case f.has("model_index.json"):
		return "Diffusers"
	case pretrained:
		return "save_pretrained"
	case numberedCheckpoint.MatchString(path.Base(f.rel)) && t.hasWeights(f.rel):
		return "directory"
	}
	return ""
}

// holdsCheckpoints tells whether a directory has checkpoints as subdirectories, so that it is a run.
func (t *tree) holdsCheckpoints(f *folder) bool {
	return slices.ContainsFunc(f.subs, func(sub string) bool {
		child := t.folders[path.Join(f.rel, sub)]
		if child == nil {
			return numberedCheckpoint.MatchString(sub)
		}
		return child.has("trainer_state.json", ".metadata") || numberedCheckpoint.MatchString(sub) && t.hasWeights(child.rel)
	})
}

// hasWeights tells whether there are several files, weights among them, in or below a directory.
func (t *tree) hasWeights(rel string) bool {
	files, weights := 0, false
	for dir, f := range t.folders {
		if dir == rel || strings.HasPrefix(dir, rel+"/") {
			files += len(f.files)
			for _, name := range f.files {
				weights = weights || mayBeCheckpoint(name, f.sizes[name])
			}
		}
	}
	return weights && files > 1
}

var (
	checkpointEnding = regexp.MustCompile(`(?i)\.(ckpt|pt|pth|pth\.tar|tar|bin|safetensors|th|t7|weights|model|keras|h5|gguf|zip|npz|pkl|pickle|pdparams|msgpack)$`)
	numberedEnding   = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]*\d+$`) // HiFi-GAN: g_00002500
)

// mayBeCheckpoint judges by the name; the content has the last word.
func mayBeCheckpoint(name string, size int64) bool {
	return size > 0 && !strings.HasPrefix(name, ".") && !strings.Contains(name, "tfevents") && (checkpointEnding.MatchString(name) || numberedEnding.MatchString(name))
}
