package checkpoint

import (
	"fmt"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// Tensor describes one tensor of a checkpoint.
type Tensor struct {
	Name    string  `json:"name"`
	DType   string  `json:"dtype"` // torch's name, such as "float32"; "?" when the file does not say
	Shape   []int64 `json:"shape"`
	Bytes   int64   `json:"bytes"`             // numel times the element's size; 0 when unknown
	Storage string  `json:"storage,omitempty"` // key of the storage that it is a view of; tied tensors share it
	Kind    string  `json:"kind,omitempty"`    // what it is besides a plain dense tensor: "parameter", "sparse", "quantized", …

	stride []int64
	offset int64 // in elements from the start of the storage
}

// dense describes the arguments of torch._utils._rebuild_tensor_v2 and its relatives.
type dense struct {
	storage storage
	dtype   string
	offset  int64
	shape   []int64
	stride  []int64
}

// tensor describes the tensor that a pickled value is; ok is false when it is none.
func (c *Checkpoint) tensor(name string, v any) (t Tensor, ok bool, err error) {
	o, isObject := v.(*pickle.Object)
	if !isObject {
		return Tensor{}, false, nil
	}
	class, isGlobal := o.Class.(*pickle.Global)
	if !isGlobal || !isTensorModule(class.Module) {
		return Tensor{}, false, nil
	}
	t, ok, err = c.rebuild(class.Name, o)
	t.Name = name
	if err != nil {
		err = fmt.Errorf("tensor %q: %w", name, err)
	}
	return t, ok, err
}

func isTensorModule(module string) bool {
	return module == "torch._utils" || module == "torch._tensor"
}

// rebuild understands the functions that torch's tensors pickle themselves as (torch/_utils.py).
func (c *Checkpoint) rebuild(function string, o *pickle.Object) (Tensor, bool, error) {
	switch function {
	case "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3":
		t, err := c.denseTensor(o.Args)
		return t, true, err
	case "_rebuild_qtensor":
		t, err := c.denseTensor(o.Args)
		t.Kind = "quantized"
		return t, true, err
	case "_rebuild_parameter", "_rebuild_parameter_with_state":
		if len(o.Args) == 0 {
			return Tensor{}, true, broken("a parameter without data")
		}
		t, ok, err := c.tensor("", o.Args[0])
		if ok && t.Kind == "" {
			t.Kind = "parameter"
		}
		return t, true, err
	case "_rebuild_from_type_v2":
		return c.subclass(o)
	}
	if kind, ok := strings.CutPrefix(function, "_rebuild_"); ok {
		return Tensor{DType: "?", Kind: strings.TrimSuffix(kind, "_tensor")}, true, nil
	}
	return Tensor{}, false, nil
}

// subclass reads (function, type, args, state) of a tensor of a subclass, or with attributes.
func (c *Checkpoint) subclass(o *pickle.Object) (Tensor, bool, error) {
	if len(o.Args) < 3 {
		return Tensor{}, true, broken("a tensor subclass without data")
	}
	args, ok := o.Args[2].(*pickle.Tuple)
	if !ok {
		return Tensor{}, true, broken("the arguments of a tensor subclass are %s", pickle.Kind(o.Args[2]))
	}
	return c.tensor("", &pickle.Object{Class: o.Args[0], Args: args.Items})
}

func (c *Checkpoint) denseTensor(args []any) (Tensor, error) {
	d, err := c.readDense(args)
	if err != nil {
		return Tensor{}, err
	}
	return Tensor{DType: d.dtype, Shape: d.shape, Bytes: numel(d.shape) * itemSizes[d.dtype], Storage: d.storage.key,
		stride: d.stride, offset: d.offset}, nil
}

// readDense reads (storage, offset, shape, stride, …) and makes sure that the view lies inside its
// storage.
func (c *Checkpoint) readDense(args []any) (dense, error) {
	if len(args) < 4 {
		return dense{}, broken("a tensor with %d arguments instead of 4 or more", len(args))
	}
	id, ok := args[0].(*pickle.PersistentID)
	if !ok {
		return dense{}, broken("a tensor whose storage is %s", pickle.Kind(args[0]))
	}
	s, err := c.readStorage(id)
	if err != nil {
		return dense{}, err
	}
	d := dense{storage: s, dtype: s.dtype}
	if d.offset, ok = args[1].(int64); !ok || d.offset < 0 {
		return dense{}, broken("a tensor whose offset is %v", args[1])
	}
	if d.shape, err = dimensions(args[2]); err != nil {
		return dense{}, err
	}
	if d.stride, err = dimensions(args[3]); err != nil {
		return dense{}, err
	}
	if d.dtype == "" {
		d.dtype = untypedDType(args)
	}
	return d, d.checkExtent()
}

// untypedDType finds the dtype argument of _rebuild_tensor_v3, used for dtypes that have no storage
// class of their own.
func untypedDType(args []any) string {
	for _, a := range args[4:] {
		if g, ok := a.(*pickle.Global); ok && g.Module == "torch" {
			return g.Name
		}
	}
	return "?"
}

const maxDimensions = 64 // of a tensor, torch's own limit

func dimensions(v any) ([]int64, error) {
	items, ok := sequence(v)
	if !ok || len(items) > maxDimensions {
		return nil, broken("a tensor whose shape or stride is %s", pickle.Kind(v))
	}
	dims := make([]int64, len(items))
	for i, item := range items {
		n, ok := item.(int64)
		if !ok || n < 0 || n > 1<<56 {
			return nil, broken("a tensor with the dimension %v", item)
		}
		dims[i] = n
	}
	return dims, nil
}

// sequence returns the items of a tuple, a list or a torch.Size.
func sequence(v any) ([]any, bool) {
	switch t := v.(type) {
	case *pickle.Tuple:
		return t.Items, true
	case *pickle.List:
		return t.Items, true
	case *pickle.Object:
		if t.Is("torch", "Size") && len(t.Args) == 1 {
			return sequence(t.Args[0])
		}
	}
	return nil, false
}

// checkExtent makes sure that the last element lies inside the storage. With stride 0 or overlaps
// that is less than numel elements.
func (d dense) checkExtent() error {
	if len(d.stride) != len(d.shape) {
		return broken("a tensor with %d dimensions and %d strides", len(d.shape), len(d.stride))
	}
	elements := d.storage.elements
	if d.storage.dtype == "" {
		size := itemSizes[d.dtype]
		if size == 0 {
			return nil
		}
		elements /= size
	}
	last := d.offset
	for i, n := range d.shape {
		if n == 0 {
			return nil
		}
		if d.stride[i] > 0 && (n-1) > (elements-last)/d.stride[i] {
			last = elements
			break
		}
		last += (n - 1) * d.stride[i]
	}
	if last >= elements {
		return broken("a tensor of shape %v reaches beyond the %d elements of storage %q", d.shape, elements, d.storage.key)
	}
	return nil
}

func numel(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		if d == 0 {
			return 0
		}
		if n > (1<<62)/d {
			return 1 << 62 // of a tensor with stride 0: nothing that size is ever allocated
		}
		n *= d
	}
	return n
}
