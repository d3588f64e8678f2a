package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// file is a finished file, or a directory of finished files, that was proven whole.
type file struct {
	path        string // relative to the root
	stat        watch.Stat
	evidence    watch.Evidence
	fingerprint string
	// handle keeps the content when the trainer removes the name; nil when none is kept, and for
	// directories.
	handle *os.File
	// leaves are the files of a directory, sorted by path; nil for a file.
	leaves []leaf
	// crcs remembers what was read of the file in this state; nil for directories, and while nothing was read.
	crcs *checkpoint.Ranges
}

// leaf is a file of a directory.
type leaf struct {
	path string // relative to the directory
	stat watch.Stat
	crcs *checkpoint.Ranges
}

// sameState tells whether two files are the same one, unchanged.
func (f *file) sameState(other *file) bool {
	return f.stat.Same(other.stat) && slices.EqualFunc(f.leaves, other.leaves, func(a, b leaf) bool { return a.path == b.path && a.stat.Same(b.stat) })
}

// errChanged tells that a file is not the one that was proven. It is no fault: the attempt is
// discarded, and the file is looked at again when it is quiet.
var errChanged = errors.New("changed since it was looked at")

// open returns a descriptor of its own for reading the file that was proven.
func (f *file) open(root string) (*os.File, error) {
	if f.handle != nil {
		return duplicate(f.handle)
	}
	return openUnchanged(root, f.path, f.stat)
}

// openUnchanged opens a file that is in a known state.
func openUnchanged(root, path string, known watch.Stat) (*os.File, error) {
	h, st, err := watch.Open(root, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it is gone", errChanged)
	}
	if err != nil {
		return nil, err
	}
	if !st.Same(known) {
		h.Close()
		return nil, errChanged
	}
	return h, nil
}

// duplicate returns another descriptor of a kept file. One that was given up meanwhile belonged to a
// file that changed.
func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open %q again: %w", f.Name(), err)
	}
	var fd int
	var dupErr error
	err = raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil { // closed: Control fails for nothing else, with an error that has no name
		return nil, errChanged
	}
	if dupErr != nil {
		return nil, fmt.Errorf("open %q again: %w", f.Name(), dupErr)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// close gives the kept descriptor up.
func (f *file) close() {
	if f != nil && f.handle != nil {
		f.handle.Close()
		f.handle = nil
	}
}

// onlyNames tells whether all that happened to a kept file between two states is that names of it were
// removed or changed, which moves ctime but no byte: it has fewer names, or it is no longer where it
// was found. Whoever asks compares the content.
func (f *file) onlyNames(root string, before, after watch.Stat) bool {
	if f.handle == nil || after.ChangeTime == before.ChangeTime {
		return false
	}
	fewer := after.Nlink < before.Nlink
	after.ChangeTime = before.ChangeTime
	if !after.Same(before) {
		return false
	}
	if fewer {
		return true
	}
	_, err := watch.Lstat(root, f.path)
	return errors.Is(err, fs.ErrNotExist)
}

// content is what of a checkpoint goes into an archive.
type content struct {
	checkpoint *checkpoint.Checkpoint // nil for a directory
	format     checkpoint.Format
	entries    []bundle.PartEntry
	tree       bool   // the entries are the files of a directory
	payload    string // see bundle.Member
	whole      string // what was proven
	tensors    checkpoint.TensorList
	statePath  string
	dropped    []string
	foreign    []string          // imports that travel although tensors do not need them
	leftBehind []string          // such imports that do not travel
	calls      []checkpoint.Call // that run code, in what does not travel
}

// read proves a checkpoint whole by its structure and lays out what travels. name is the base name of
// the file, under which it is carried when it is not torch's.
func read(f io.ReaderAt, name string, size int64, p config.Payload) (*content, error) {
	c, err := checkpoint.Open(f, size)
	if err != nil {
		return nil, err
	}
	if p.Keep == config.KeepVerbatim || isModel(c.Format) {
		return verbatim(c, name, p)
	}
	if !c.IsTorch() {
		return nil, &checkpoint.Broken{Reason: fmt.Sprintf("not a torch checkpoint, nor a model file of another framework, but %s; "+
			"to carry it as it is, set keep = \"verbatim\" under [watch.payload]", c.Describe())}
	}
	dict, err := c.StateDict(p.Select)
	if err != nil {
		return nil, err
	}
	if c.Travels(dict) {
		return verbatim(c, name, p)
	}
	foreign := checkpoint.ForeignIn(dict.Value)
	if err := refuseForeign(checkpoint.Names(foreign), p); err != nil {
		return nil, err
	}
	out := &content{checkpoint: c, format: c.Format, payload: bundle.PayloadExtracted, whole: c.Whole(), statePath: dict.Path,
		dropped: c.Dropped(dict), foreign: checkpoint.NameList(foreign)}
	if out.calls = c.CallsOutside(dict); len(out.calls) > 0 && p.Imports != config.ImportsWarn {
		return nil, &checkpoint.Broken{Reason: fmt.Sprintf("%s, which runs programs or code when the file is loaded; "+
			"if you trust the file, set imports = \"warn\" under [watch.payload]", out.calls[0])}
	}
	for _, i := range checkpoint.Foreign(c.Imports) {
		if !contains(foreign, i) {
			out.leftBehind = append(out.leftBehind, i.String())
		}
	}
	if out.tensors, err = c.ListIn(dict.Value); err != nil {
		return nil, err
	}
	payload, err := c.Extract(dict)
	out.entries = []bundle.PartEntry{{Name: bundle.ModelName, Payload: payload}}
	return out, err
}

// isModel tells whether a format is that of weights of another framework than torch, which travel as they
// are.
func isModel(f checkpoint.Format) bool {
	switch f {
	case checkpoint.SafeTensors, checkpoint.NPZ, checkpoint.NPY, checkpoint.GGUF, checkpoint.HDF5, checkpoint.Keras:
		return true
	}
	return false
}

// verbatim lays out the whole file, whose whole pickle then travels.
func verbatim(c *checkpoint.Checkpoint, name string, p config.Payload) (*content, error) {
	foreign := checkpoint.Foreign(c.Imports)
	if err := refuseForeign(checkpoint.Names(foreign), p); err != nil {
		return nil, err
	}
	out := &content{checkpoint: c, format: c.Format, payload: bundle.PayloadVerbatim, whole: c.Whole(), foreign: checkpoint.NameList(foreign)}
	var err error
	if out.tensors, err = c.ListAll(); err != nil {
		return nil, err
	}
	if c.IsTorch() {
		name = bundle.ModelName
	}
	payload, err := c.Verbatim()
	out.entries = []bundle.PartEntry{{Name: bundle.EntryName(name), Payload: payload}}
	return out, err
}

// check reads the content against its checksums, unless it is larger than most bytes.
func (c *content) check(ctx context.Context, most int64) error {
	size := int64(0)
	for _, entry := range c.entries {
		size += entry.Payload.Size
	}
	if size > most {
		return nil
	}
	for _, entry := range c.entries {
		if err := entry.Payload.Check(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *content) part(m bundle.Member) bundle.Part {
	return bundle.Part{Entries: c.entries, Tree: c.tree, Member: m}
}

func (c *content) fingerprint() string {
	p := c.part(bundle.Member{})
	return p.Fingerprint()
}

func refuseForeign(foreign string, p config.Payload) error {
	if foreign == "" || p.Imports == config.ImportsWarn {
		return nil
	}
	return &checkpoint.Broken{Reason: fmt.Sprintf("its pickle imports %q, which tensors do not need and torch.load(weights_only=True) refuses; "+
		"if you trust the file, set imports = \"warn\" under [watch.payload]", foreign)}
}
