package checkpoint

import (
	"fmt"
	"io"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// Format names what a file is.
type Format string

// The formats that are told apart. Each has rules of its own that prove a file whole.
const (
	// TorchZip is what torch.save writes since torch 1.6: a zip of stored records, with a pickle in
	// <prefix>/data.pkl and the tensors' bytes in <prefix>/data/<key>
	// (torch/serialization.py, caffe2/serialize/inline_container.cc).
	TorchZip Format = "torch-zip"
	// TorchLegacy is what torch.save wrote before: pickles followed by the storages, or, before torch
	// 0.1.10, a tar of both (torch/serialization.py, _legacy_save and _legacy_load).
	TorchLegacy Format = "torch-legacy"
	// SafeTensors is a JSON header followed by the tensors' bytes.
	SafeTensors Format = "safetensors"
	// NPY is what numpy.save writes, NPZ what numpy.savez writes: a zip of such files.
	NPY Format = "npy"
	NPZ Format = "npz"
	// GGUF is the format of llama.cpp.
	GGUF Format = "gguf"
	// HDF5 is also what Keras writes as .h5 and .weights.h5.
	HDF5 Format = "hdf5"
	// Keras is what Keras 3 writes as .keras: a zip of two JSON files and the weights as HDF5.
	Keras Format = "keras"
	// Zip is any other zip, such as those of stable-baselines3.
	Zip Format = "zip"
	// Tar is any tar but torch's, such as those of NeMo.
	Tar Format = "tar"
	// Pickle is a file that is one Python pickle.
	Pickle Format = "pickle"
	// Unknown is everything else: all that is known of it is that it is not empty.
	Unknown Format = "unknown"
)

// Checkpoint is a file whose structure is proven.
type Checkpoint struct {
	Format Format
	Size   int64
	// Root is the value that was saved, with tensors as pickle objects; nil in formats that are no pickle.
	Root any
	// Imports are all names that the pickles of the file would import, in their order.
	Imports []pickle.Import
	// Protocol is the pickle protocol of the file.
	Protocol int
	// NoCRC tells that the file has no checksums, so that its bytes cannot be proven: its format has none, or
	// it was saved without (torch.serialization.set_crc32_options(False)).
	NoCRC bool

	source    io.ReaderAt
	whole     string             // what was proven, and what cannot be
	holds     string             // what it holds, where that is not told by Root
	tensors   []Tensor           // of the formats that are not torch's
	torch     *torchFile         // of torch's formats, else nil
	discarded []any              // what the pickles hold besides Root
	directory *zipfile.Directory // of zips, else nil
}

// Open recognises and proves the checkpoint that is the whole of r. What is wrong with the file is a
// [*Broken] error; other errors come from r. When only the pickle is broken, the returned checkpoint
// still tells the imports up to there; else it is nil.
func Open(r io.ReaderAt, size int64) (*Checkpoint, error) {
	open, err := recognise(r, size)
	if err != nil {
		return nil, err
	}
	c, err := open(r, size)
	if c != nil {
		c.Size, c.source = size, r
	}
	return c, err
}

// Whole says what was proven of the file, and what its format cannot prove.
func (c *Checkpoint) Whole() string { return c.whole }

// IsTorch tells whether the file is in one of torch's formats, so that it can have a state_dict.
func (c *Checkpoint) IsTorch() bool { return c.torch != nil }

// HyperParameters returns what Lightning saved under hyper_parameters, or nil.
func (c *Checkpoint) HyperParameters() any {
	if d := mapping(c.Root); d != nil {
		v, _ := d.Get("hyper_parameters")
		return v
	}
	return nil
}

// CheckRecords proves again what can be proven: the CRC of every record of a zip, the structure of other files.
func (c *Checkpoint) CheckRecords() error {
	if c.directory == nil {
		_, err := Open(c.source, c.Size)
		return err
	}
	if c.NoCRC {
		return nil
	}
	near := zipfile.NewWindow(c.source, nearRecords)
	for e := range c.directory.InFileOrder() {
		if err := checkEntry(near, e); err != nil {
			return err
		}
	}
	return nil
}

// Records returns the records of a zip in their order; none for other formats.
func (c *Checkpoint) Records() []zipfile.Entry {
	if c.directory == nil {
		return nil
	}
	return c.directory.Entries
}

// Describe says what the top level holds, for people.
func (c *Checkpoint) Describe() string {
	if c.holds != "" {
		return c.holds
	}
	d := mapping(c.Root)
	if d == nil {
		return pickle.Kind(c.Root)
	}
	return fmt.Sprintf("%s of %d keys: %s", pickle.Kind(c.Root), d.Len(), describeKeys(d))
}
