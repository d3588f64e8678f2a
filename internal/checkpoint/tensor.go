package checkpoint

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
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

// AppendIndented appends what json.MarshalIndent returns for the tensor, with that prefix and two spaces for each level.
func (t *Tensor) AppendIndented(b []byte, prefix string) []byte {
	field := func(separator, name string) {
		b = append(append(append(append(b, separator...), prefix...), name...), ": "...)
	}
	text := func(s string) { b = appendJSONText(b, s) }
	field("{\n", `  "name"`)
	text(t.Name)
	field(",\n", `  "dtype"`)
	text(t.DType)
	field(",\n", `  "shape"`)
	b = appendCounts(b, t.Shape, prefix)
	field(",\n", `  "bytes"`)
	b = strconv.AppendInt(b, t.Bytes, 10)
	if t.Storage != "" {
		field(",\n", `  "storage"`)
		text(t.Storage)
	}
	if t.Kind != "" {
		field(",\n", `  "kind"`)
		text(t.Kind)
	}
	return append(append(append(b, '\n'), prefix...), '}')
}

func appendCounts(b []byte, counts []int64, prefix string) []byte {
	if len(counts) == 0 {
		if counts == nil {
			return append(b, "null"...)
		}
		return append(b, "[]"...)
	}
	for i, n := range counts {
		separator := ",\n"
		if i == 0 {
			separator = "[\n"
		}
		b = append(append(append(b, separator...), prefix...), "    "...)
		b = strconv.AppendInt(b, n, 10)
	}
	return append(append(append(b, '\n'), prefix...), "  ]"...)
}

// appendJSONText appends a text as encoding/json writes it.
func appendJSONText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // cannot fail for a string
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// dense describes the arguments of torch._utils._rebuild_tensor_v2 and its relatives.
type dense struct {
	storage storage
	elementKind
	offset int64
	shape  []int64
	stride []int64
}

// maxWraps is how deep tensors may be wrapped in each other: a parameter of a sparse tensor of dense ones.
const maxWraps = 8

// tensor describes the tensor that a pickled value is; ok is false when it is none.
func (f *torchFile) tensor(name string, v any) (t Tensor, ok bool, err error) {
	t, ok, err = f.rebuild(v, 0)
	t.Name = name
	if err != nil {
		err = fmt.Errorf("tensor %.200q: %w", name, err)
	}
	return t, ok, err
}

// rebuildCall returns the call of a function that torch's tensors pickle themselves as, and the
// function's name.
func rebuildCall(v any) (o *pickle.Object, function string) {
	if t, ok := v.(*pickle.TensorCall); ok {
		v = t.Object()
	}
	o, ok := v.(*pickle.Object)
	if !ok {
		return nil, ""
	}
	g, ok := o.Class.(*pickle.Global)
	if !ok || (g.Module != "torch._utils" && g.Module != "torch._tensor") || !strings.HasPrefix(g.Name, "_rebuild_") {
		return nil, ""
	}
	return o, g.Name
}

// rebuild understands the functions that torch's tensors pickle themselves as (torch/_utils.py).
func (f *torchFile) rebuild(v any, wraps int) (Tensor, bool, error) {
	if t, ok := v.(*pickle.TensorCall); ok && !t.Changed() && wraps <= maxWraps {
		tensor, err := f.plainTensor(t)
		return tensor, true, err
	}
	o, function := rebuildCall(v)
	switch {
	case o == nil:
		return Tensor{}, false, nil
	case o.New || o.Built || o.Items != nil || o.Appended != nil:
		return Tensor{}, true, broken("the pickle changes the tensor after it was made, which torch never writes")
	case wraps > maxWraps:
		return Tensor{}, true, broken("tensors are wrapped in each other more than %d times", maxWraps)
	}
	switch function {
	case "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3":
		t, err := f.denseTensor(function, o.Args)
		return t, true, err
	case "_rebuild_parameter", "_rebuild_parameter_with_state":
		return f.parameter(o.Args, wraps)
	case "_rebuild_from_type_v2":
		return f.subclass(o.Args, wraps)
	}
	t, err := f.special(function, o.Args, wraps)
	return t, true, err
}

func (f *torchFile) parameter(args []any, wraps int) (Tensor, bool, error) {
	if len(args) == 0 {
		return Tensor{}, true, broken("a parameter without data")
	}
	t, ok, err := f.rebuild(args[0], wraps+1)
	if ok && t.Kind == "" {
		t.Kind = "parameter"
	}
	return t, ok, err
}

// subclass reads (function, type, args, state) of a tensor of a subclass, or with attributes.
func (f *torchFile) subclass(args []any, wraps int) (Tensor, bool, error) {
	if len(args) < 3 {
		return Tensor{}, true, broken("a tensor subclass without data")
	}
	inner, ok := args[2].(*pickle.Tuple)
	if !ok {
		return Tensor{}, true, broken("the arguments of a tensor subclass are %s", pickle.Kind(args[2]))
	}
	return f.rebuild(&pickle.Object{Class: args[0], Args: inner.Items}, wraps+1)
}

// special describes the tensors that are more, or less, than a view of a storage.
func (f *torchFile) special(function string, args []any, wraps int) (Tensor, error) {
	switch function {
	case "_rebuild_qtensor":
		t, err := f.denseTensor(function, args)
		if err == nil && len(args) > 4 {
			_, err = f.inner(args[4], wraps)
		}
		t.Kind = "quantized"
		return t, err
	case "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor":
		if len(args) < 2 {
			return Tensor{}, broken("a sparse tensor without data")
		}
		t, err := f.inner(args[1], wraps)
		t.Kind = "sparse"
		return t, err
	case "_rebuild_meta_tensor_no_storage":
		return metaTensor(args)
	}
	kind := strings.TrimSuffix(strings.TrimPrefix(function, "_rebuild_"), "_tensor")
	_, err := f.inner(&pickle.Tuple{Items: args}, wraps)
	return Tensor{DType: "?", Kind: kind}, err
}

// inner describes a tensor that is made of others: of the dtype of the last (the values of a sparse
// tensor), of all their bytes, and of the shape that is beside them.
func (f *torchFile) inner(v any, wraps int) (Tensor, error) {
	parts, ok := v.(*pickle.Tuple)
	if !ok {
		return Tensor{}, broken("the parts of a tensor are %s, not a tuple", pickle.Kind(v))
	}
	whole := Tensor{DType: "?"}
	for _, item := range parts.Items {
		part, isTensor, err := f.rebuild(item, wraps+1)
		if err != nil {
			return whole, err
		}
		if isTensor {
			whole.DType, whole.Bytes = part.DType, whole.Bytes+part.Bytes
		} else if _, isShape := shapeItems(item); isShape {
			if whole.Shape, err = dimensions(item); err != nil {
				return whole, err
			}
		}
	}
	return whole, nil
}

// metaTensor describes (dtype, shape, stride, …) of a tensor without data.
func metaTensor(args []any) (Tensor, error) {
	if len(args) < 2 {
		return Tensor{}, broken("a meta tensor without a shape")
	}
	shape, err := dimensions(args[1])
	dtype, ok := torchName(args[0])
	if !ok {
		dtype = "?"
	}
	return Tensor{DType: dtype, Shape: shape, Kind: "meta"}, err
}

func (f *torchFile) denseTensor(function string, args []any) (Tensor, error) {
	d, err := f.readDense(function, args)
	return d.tensor(), err
}

// plainTensor describes the call that torch writes for a plain tensor.
func (f *torchFile) plainTensor(t *pickle.TensorCall) (Tensor, error) {
	s, err := f.storage(t.Storage())
	if err != nil {
		return Tensor{}, err
	}
	offset, shape, stride := t.View()
	d, err := f.viewOf(s, s.plain(), offset, shape, stride)
	return d.tensor(), err
}

func (d dense) tensor() Tensor {
	return Tensor{DType: d.dtype, Shape: d.shape, Bytes: numel(d.shape) * d.size, Storage: d.storage.key,
		stride: d.stride, offset: d.offset}
}

// readDense reads (storage, offset, shape, stride, …) and makes sure that the view lies inside its
// storage.
func (f *torchFile) readDense(function string, args []any) (dense, error) {
	if len(args) < 4 {
		return dense{}, broken("a tensor with %d arguments instead of 4 or more", len(args))
	}
	id, ok := args[0].(*pickle.PersistentID)
	if !ok {
		return dense{}, broken("a tensor whose storage is %s", pickle.Kind(args[0]))
	}
	s, err := f.readStorage(id)
	if err != nil {
		return dense{}, err
	}
	elements, err := denseElements(function, args, s)
	if err != nil {
		return dense{}, err
	}
	offset, ok := args[1].(int64)
	if !ok {
		return dense{}, broken("a tensor whose offset is not a count of elements but %s", pickle.Kind(args[1]))
	}
	return f.viewOf(s, elements, offset, args[2], args[3])
}

// viewOf makes sure that a view lies inside its storage.
func (f *torchFile) viewOf(s storage, elements elementKind, offset int64, shape, stride any) (d dense, err error) {
	d = dense{storage: s, elementKind: elements, offset: offset}
	if d.offset < 0 {
		return dense{}, broken("a tensor whose offset is not a count of elements but %d", offset)
	}
	if d.shape, err = f.shapes.read(shape); err != nil {
		return dense{}, err
	}
	if d.stride, err = f.shapes.read(stride); err != nil {
		return dense{}, err
	}
	return d, d.checkExtent()
}

// shapes keep the last shapes and strides that were read: many tensors have the same, and share them.
type shapes struct {
	tuples [64]*pickle.Tuple
	dims   [64][]int64
	next   int
}

func (s *shapes) read(v any) ([]int64, error) {
	t, ok := v.(*pickle.Tuple)
	if !ok {
		return dimensions(v)
	}
	if i := slices.Index(s.tuples[:], t); i >= 0 {
		return s.dims[i], nil
	}
	dims, err := dimensions(v)
	if err == nil {
		s.next = (s.next + 1) % len(s.tuples)
		s.tuples[s.next], s.dims[s.next] = t, dims
	}
	return dims, err
}

// plain is what a plain tensor takes the elements for. Untyped storages count as uint8.
func (k elementKind) plain() elementKind {
	return elementKind{cmp.Or(k.dtype, "uint8"), k.size}
}

// denseElements finds the element type: the storage's, or the seventh argument of _rebuild_tensor_v3, which
// is used for types that have no storage class of their own.
func denseElements(function string, args []any, s storage) (elementKind, error) {
	if function != "_rebuild_tensor_v3" {
		return s.plain(), nil
	}
	if len(args) > 6 {
		if dtype, ok := torchName(args[6]); ok {
			return elementKind{dtype, itemSizes[dtype]}, nil
		}
	}
	return elementKind{}, broken("a tensor without the dtype that %s takes", function)
}

// torchName returns the name of something in the module torch, such as a dtype.
func torchName(v any) (string, bool) {
	g, ok := v.(*pickle.Global)
	if !ok || g.Module != "torch" {
		return "", false
	}
	return g.Name, true
}

const maxDimensions = 64 // of a tensor, torch's own limit

func dimensions(v any) ([]int64, error) {
	items, ok := shapeItems(v)
	if !ok || len(items) > maxDimensions {
		return nil, broken("a tensor whose shape or stride is %s", pickle.Kind(v))
	}
	dims := make([]int64, len(items))
	for i, item := range items {
		n, ok := item.(int64)
		if !ok || n < 0 || n > 1<<56 {
			return nil, broken("a tensor with a dimension that is %s out of range", pickle.Kind(item))
		}
		dims[i] = n
	}
	return dims, nil
}

// shapeItems returns the items of a tuple or a torch.Size. A list is none: the pickle could change it
// after the tensor was made of it.
func shapeItems(v any) ([]any, bool) {
	if o, ok := v.(*pickle.Object); ok && o.Is("torch", "Size") && len(o.Args) == 1 {
		v = o.Args[0]
	}
	if t, ok := v.(*pickle.Tuple); ok {
		return t.Items, true
	}
	return nil, false
}

// checkExtent makes sure that the last element lies inside the storage. With stride 0 or overlaps
// that is less than numel elements.
func (d dense) checkExtent() error {
	if len(d.stride) != len(d.shape) {
		return broken("a tensor with %d dimensions and %d strides", len(d.shape), len(d.stride))
	}
	if numel(d.shape) > maxNumel {
		return broken("a tensor of shape %v has too many elements to be real", d.shape)
	}
	if slices.Contains(d.shape, 0) {
		return nil
	}
	if d.size == 0 {
		return nil // a dtype of a later torch: the storage as such was found whole
	}
	elements := d.storage.bytes / d.size
	last := d.offset
	for i, n := range d.shape {
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

// maxNumel bounds the elements of a tensor, so that its bytes can be counted. With stride 0 a tensor can
// have far more elements than its storage.
const maxNumel = 1 << 56

// numel returns the number of elements, or more than maxNumel when there are more.
func numel(shape []int64) int64 {
	if slices.Contains(shape, 0) {
		return 0
	}
	n := int64(1)
	for _, d := range shape {
		if n > maxNumel/d {
			return maxNumel + 1
		}
		n *= d
	}
	return n
}
