package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// The formats of checkpoints that are a directory.
const (
	// HFTrainer is the checkpoint-N directory of transformers' Trainer (transformers/trainer.py, _save_checkpoint).
	HFTrainer Format = "hf-trainer"
	// DeepSpeed is a tag directory such as global_stepN, or what holds it beside "latest" (deepspeed/runtime/engine.py).
	DeepSpeed Format = "deepspeed"
	// TorchDCP is what torch.distributed.checkpoint writes (torch/distributed/checkpoint/filesystem.py).
	TorchDCP Format = "torch-dcp"
	// Orbax is what orbax-checkpoint writes, with the arrays in OCDBT or zarr.
	Orbax Format = "orbax"
	// SavedModel is what tf.saved_model.save writes.
	SavedModel Format = "tf-savedmodel"
	// SafeTensorsSharded and TorchSharded are several files and an index, as save_pretrained writes them.
	SafeTensorsSharded Format = "safetensors-sharded"
	TorchSharded       Format = "torch-sharded"
	// Accelerate is what Accelerator.save_state writes (accelerate/checkpointing.py).
	Accelerate Format = "accelerate"
	// Directory is every other directory: all that is known of it are its files.
	Directory Format = "directory"
)

// TreeFile is one file of a directory, as a listing shows it.
type TreeFile struct {
	Path    string // relative to the directory, with slashes
	Size    int64  // in bytes
	ModTime int64  // in ns since 1970
}

// TreeOpener opens a file of a directory for reading. It returns the file, its size and what closes it.
type TreeOpener = func(path string) (io.ReaderAt, int64, func() error, error)

// Tree is a directory whose completeness is proven by the rule of its format.
type Tree struct {
	Format Format
	// Files are sorted by path.
	Files []TreeFile
	// Tensors are named by the path of their file, a slash, and their name in it.
	Tensors []Tensor
	// Whole says what was proven, and what cannot be.
	Whole string
	// Imports are all names that the pickles of the directory would import.
	Imports []pickle.Import

	judged []pickle.Import // those that are not the format's own
}

// ForeignImports returns the imports that neither weights need nor the format's own writer puts where they
// were found, each once.
func (t *Tree) ForeignImports() []pickle.Import { return Foreign(t.judged) }

// Incomplete says why a directory is no checkpoint yet: by the rule of its format something is still to come.
type Incomplete struct {
	Reason string
	Waits  []string // the files that are waited for, relative to the directory
}

func (i *Incomplete) Error() string {
	const most = 5
	switch n := len(i.Waits); {
	case n == 0:
		return i.Reason
	case n > most:
		return fmt.Sprintf("%s; waiting for %s and %d more", i.Reason, quoted(i.Waits[:most]), n-most)
	}
	return fmt.Sprintf("%s; waiting for %s", i.Reason, quoted(i.Waits))
}

func quoted(names []string) string {
	text := make([]string, len(names))
	for i, name := range names {
		text[i] = fmt.Sprintf("%.200q", name)
	}
	return strings.Join(text, ", ")
}

// OpenTree recognises and proves the directory dirName, of which files is the whole listing. Files that can be
// proven by checksums are read whole, others as far as their structure; none is held in memory whole but
// descriptions of at most 64 MiB. The error is an [*Incomplete] when files are still to come, a [*Broken] in a
// chain when a file that is there is damaged; other errors come from open and from reading.
func OpenTree(open TreeOpener, files []TreeFile, dirName string) (*Tree, error) {
	t, err := newTreeReader(open, files, dirName)
	if err != nil {
		return nil, err
	}
	if err := t.checkTemporary(); err != nil {
		return nil, err
	}
	if err := t.proveParts(); err != nil {
		return nil, err
	}
	if err := t.proveRest(); err != nil {
		return nil, err
	}
	t.tree.Tensors, t.tree.Imports, t.tree.judged = t.listing.tensors, t.imports.list, t.judged.list
	return t.tree, nil
}

// treeFormat is a format as one folder of a directory can have it. A folder can have several: Trainer's has the
// index of shards, or DeepSpeed's files, too.
type treeFormat struct {
	format func(folder) Format // "" when the folder is not of it
	// prove returns what was proven and what cannot be. What it proves it claims; it may leave files for
	// others to prove.
	prove func(folder) (string, error)
}

// treeFormats are in the order in which they name a directory.
var treeFormats = []treeFormat{
	{only(HFTrainer, isTrainer), proveTrainer},
	{only(DeepSpeed, isDeepSpeed), proveDeepSpeed},
	{only(DeepSpeed, isDeepSpeedTag), proveDeepSpeedTag},
	{only(TorchDCP, isDCP), proveDCP},
	{only(Orbax, isOrbax), proveOrbax},
	{only(SavedModel, isSavedModel), proveSavedModel},
	{shardedFormat, proveShards},
	{only(Accelerate, isAccelerate), proveAccelerate},
}

func only(format Format, is func(folder) bool) func(folder) Format {
	return func(f folder) Format {
		if is(f) {
			return format
		}
		return ""
	}
}

// proveParts proves every folder that is of a format, parents first. What is still to come counts for more than
// what is broken: a file that is half written is normal then.
func (t *treeReader) proveParts() error {
	var damage error
	for _, f := range t.folders {
		for _, kind := range treeFormats {
			if t.claimedBelow(f.dir) {
				break
			}
			format := kind.format(f)
			if format == "" {
				continue
			}
			sentence, err := kind.prove(f)
			if err != nil && !isBroken(err) {
				return err
			}
			damage = cmp.Or(damage, err)
			t.addPart(f, format, sentence)
		}
	}
	return damage
}

func isBroken(err error) bool {
	var b *Broken
	return errors.As(err, &b)
}

func (t *treeReader) addPart(f folder, format Format, sentence string) {
	if f.dir == "" && t.tree.Format == Directory {
		t.tree.Format = format
	} else if f.dir != "" {
		sentence = fmt.Sprintf("in %.200q (%s): %s", f.dir, format, sentence)
	}
	t.say(sentence)
}

// say adds what was proven.
func (t *treeReader) say(sentence string) {
	t.tree.Whole = strings.TrimSpace(t.tree.Whole + " " + sentence + ".")
}

// newTreeReader checks the listing: what Path may hold, and that no path occurs twice.
func newTreeReader(open TreeOpener, files []TreeFile, dirName string) (*treeReader, error) {
	if len(files) == 0 {
		return nil, &Incomplete{Reason: "the directory has no files"}
	}
	t := &treeReader{open: open, name: path.Base(dirName), files: make(map[string]TreeFile, len(files)), done: make(map[string]bool),
		entries: make(map[string][]string)}
	t.tree = &Tree{Format: Directory, Files: slices.Clone(files)}
	slices.SortFunc(t.tree.Files, func(a, b TreeFile) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range t.tree.Files {
		if _, again := t.files[f.Path]; again || !fs.ValidPath(f.Path) || f.Path == "." {
			return nil, broken("the listing has %.200q, which is no path of one file inside of the directory", f.Path)
		}
		t.files[f.Path] = f
	}
	t.findFolders()
	return t, nil
}
