// Package torchfile writes checkpoints as torch.save lays them out, of any size: tensors of zeros are
// holes of the file.
package torchfile

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// Tensor is a float32 tensor of one dimension with a storage of its own: Data, or that many bytes of
// zeros.
type Tensor struct {
	Name  string
	Data  []byte
	Zeros int64
}

// Random returns a tensor of so many bytes that depend on the seed alone.
func Random(name string, bytes int, seed uint64) Tensor {
	r := rand.New(rand.NewPCG(seed, 0))
	data := make([]byte, 0, bytes+8)
	for len(data) < bytes {
		data = binary.LittleEndian.AppendUint64(data, r.Uint64())
	}
	return Tensor{Name: name, Data: data[:bytes]}
}

func (t Tensor) size() int64 { return max(t.Zeros, int64(len(t.Data))) }

func (t Tensor) crc32() uint32 {
	if t.Data != nil {
		return crc32.ChecksumIEEE(t.Data)
	}
	return zerosCRC(t.Zeros)
}

// zerosCRC returns the CRC-32 of n zero bytes in a number of steps that grows with log n.
func zerosCRC(n int64) uint32 {
	var sum uint32 // of no bytes
	power, length := crc32.ChecksumIEEE([]byte{0}), int64(1)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			sum = zipfile.Combine(sum, power, length)
		}
		power, length = zipfile.Combine(power, power, length), 2*length
	}
	return sum
}

// Checkpoint is what a file holds.
type Checkpoint struct {
	// State is the state_dict.
	State []Tensor
	// Moments are tensors of the optimizer. Without any the file is a bare state_dict, else it is a
	// Lightning checkpoint.
	Moments []Tensor
}

// Bytes returns the file.
func (c Checkpoint) Bytes() ([]byte, error) {
	records, err := c.records()
	if err != nil {
		return nil, err
	}
	return bytesOf(records), nil
}

// Of returns a file that holds any value; its tensors, made by [View], are views of the storages.
func Of(value any, storages ...[]byte) ([]byte, error) {
	var all []Tensor
	for _, data := range storages {
		all = append(all, Tensor{Data: data})
	}
	records, err := recordsOf(value, all)
	if err != nil {
		return nil, err
	}
	return bytesOf(records), nil
}

// View returns the pickled form of a float32 tensor that is the whole of a storage, of so many elements.
func View(storage, elements int) *pickle.Object { return tensor(storage, int64(elements)) }

// Counting returns the bytes of n float32 that count up from first.
func Counting(n int, first float32) []byte {
	data := make([]byte, 0, 4*n)
	for i := range n {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(first+float32(i)))
	}
	return data
}

func bytesOf(records []record) []byte {
	var layout zipfile.Layout
	var out []byte
	for _, r := range records {
		out = append(append(out, layout.Add(r.header())...), r.Data...)
		out = append(out, make([]byte, r.Zeros)...)
	}
	return append(out, layout.End()...)
}

// Save writes the file without writing its zeros.
func (c Checkpoint) Save(path string) (err error) {
	records, err := c.records()
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	var layout zipfile.Layout
	for _, r := range records {
		at := layout.Offset()
		local := layout.Add(r.header())
		if _, err := f.WriteAt(append(local, r.Data...), at); err != nil {
			return err
		}
	}
	_, err = f.WriteAt(layout.End(), layout.Offset())
	return err
}

// record is a tensor's bytes, or a pickle, under its name in the zip.
type record struct{ Tensor }

func (r record) header() zipfile.Header {
	return zipfile.Header{Name: "archive/" + r.Name, Size: r.size(), CRC32: r.crc32(), Place: zipfile.Place{Modulus: 64}}
}

func (c Checkpoint) records() ([]record, error) {
	return recordsOf(c.root(), append(c.State[:len(c.State):len(c.State)], c.Moments...))
}

// recordsOf are the records of a file that holds a value with views of these storages.
func recordsOf(value any, storages []Tensor) ([]record, error) {
	root, err := pickle.Encode(value)
	if err != nil {
		return nil, fmt.Errorf("write checkpoint: %w", err)
	}
	records := []record{{Tensor{Name: "data.pkl", Data: root}}, {Tensor{Name: "byteorder", Data: []byte("little")}}}
	for i, t := range storages {
		t.Name = "data/" + strconv.Itoa(i)
		records = append(records, record{t})
	}
	return append(records, record{Tensor{Name: "version", Data: []byte("3\n")}}), nil
}

func (c Checkpoint) root() any {
	state := &pickle.Dict{}
	for i, t := range c.State {
		state.Set(t.Name, tensor(i, t.size()/4))
	}
	if len(c.Moments) == 0 {
		return state
	}
	moments := &pickle.Dict{}
	for i, t := range c.Moments {
		moments.Set(int64(i), pickle.NewDict("step", int64(1), "exp_avg", tensor(len(c.State)+i, t.size()/4)))
	}
	optimizer := pickle.NewDict("state", moments, "param_groups", &pickle.List{})
	return pickle.NewDict("epoch", int64(1), "global_step", int64(10), "pytorch-lightning_version", "2.6.0", "state_dict", state,
		"loops", &pickle.Dict{}, "callbacks", &pickle.Dict{}, "optimizer_states", &pickle.List{Items: []any{optimizer}},
		"lr_schedulers", &pickle.List{})
}

func tensor(storage int, numel int64) *pickle.Object {
	id := &pickle.PersistentID{ID: &pickle.Tuple{Items: []any{"storage", &pickle.Global{Module: "torch", Name: "FloatStorage"},
		strconv.Itoa(storage), "cpu", numel}}}
	hooks := &pickle.Object{Class: &pickle.Global{Module: "collections", Name: "OrderedDict"}}
	return &pickle.Object{Class: &pickle.Global{Module: "torch._utils", Name: "_rebuild_tensor_v2"}, Args: []any{id, int64(0),
		&pickle.Tuple{Items: []any{numel}}, &pickle.Tuple{Items: []any{int64(1)}}, false, hooks}}
}
