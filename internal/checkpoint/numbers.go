package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// maxNumbers bounds a tensor that is read as numbers: statistics, not weights.
const maxNumbers = 1 << 16

// CIStatistics returns what PtychoPINN saves as ckpt['ci_statistics'], its tensors flattened to lists
// of floats (float32 values widened), or nil when the checkpoint has none
// (ptycho_torch/model.py, on_save_checkpoint).
func (c *Checkpoint) CIStatistics() (*pickle.Dict, error) {
	root := mapping(c.Root)
	v, _ := root.Get("ci_statistics")
	d := mapping(v)
	if d == nil || c.torch == nil {
		return nil, nil
	}
	lists := &pickle.Dict{}
	for name, item := range d.All() {
		numbers, err := c.torch.numbers(item)
		if err != nil {
			return nil, fmt.Errorf("read ci_statistics[%.60q]: %w", keyText(name), err)
		}
		lists.Set(name, numbers)
	}
	return lists, nil
}

// numbers flattens a tensor, in the order of its indexes. A list or a number is taken as it is.
func (f *torchFile) numbers(v any) (any, error) {
	t, ok, err := f.tensor("", v)
	if err != nil {
		return nil, err
	}
	if !ok {
		switch v.(type) {
		case float64, int64:
			return &pickle.List{Items: []any{v}}, nil
		case *pickle.List, nil:
			return v, nil
		}
		return nil, broken("it is %s, not a tensor", pickle.Kind(v))
	}
	decode, size := float32At, int64(4)
	switch {
	case t.Kind != "" && t.Kind != "parameter":
		return nil, broken("a %s tensor, which is not read as numbers", t.Kind)
	case t.DType == "float64":
		decode, size = float64At, 8
	case t.DType != "float32":
		return nil, broken("a tensor of %s instead of float32 or float64", t.DType)
	}
	if f.byteOrder == "big" {
		return nil, broken("a big-endian tensor, which is not read as numbers")
	}
	return f.flatten(t, decode, size)
}

func (f *torchFile) flatten(t Tensor, decode func([]byte) float64, size int64) (any, error) {
	n := numel(t.Shape)
	if n > maxNumbers {
		return nil, broken("%d numbers, more than the %d that are read", n, maxNumbers)
	}
	data, err := f.readBlob(t.Storage, maxNumbers*16)
	if err != nil {
		return nil, err
	}
	list := &pickle.List{Items: make([]any, 0, n)}
	index := make([]int64, len(t.Shape))
	for range n {
		at := t.offset
		for i, x := range index {
			at += x * t.stride[i]
		}
		list.Items = append(list.Items, decode(data[at*size:]))
		for i := len(index) - 1; i >= 0; i-- {
			if index[i]++; index[i] < t.Shape[i] {
				break
			}
			index[i] = 0
		}
	}
	return list, nil
}

func float32At(b []byte) float64 {
	return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
}

func float64At(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }
