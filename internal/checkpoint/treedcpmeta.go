package checkpoint

import (
	"fmt"
	"io/fs"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// dcpMetadata is what a .metadata says (torch/distributed/checkpoint/metadata.py, Metadata).
type dcpMetadata struct {
	values []dcpValue // in the order of the state_dict
	items  []dcpItem
}

// dcpValue is one entry of the state_dict: a tensor in chunks, or an object.
type dcpValue struct {
	name   string
	tensor bool
	dtype  string // torch's name, "" when it is not said
	shape  []int64
	chunks []dcpChunk
}

// dcpChunk is the part of a tensor that one item holds.
type dcpChunk struct {
	offsets, sizes []int64
	dtype          string
}

// dcpKey names an item: offset is "" for an object, else where its chunk begins.
type dcpKey struct{ name, offset string }

// dcpItem says where the bytes of an item are.
type dcpItem struct {
	key            dcpKey
	file           string // relative to the folder
	offset, length int64
	transformed    bool      // compressed, or changed otherwise
	chunk          *dcpChunk // nil of an object
}

func parseDCP(v any) (*dcpMetadata, error) {
	m := &dcpMetadata{}
	if o, ok := v.(*pickle.Object); !ok || !o.Is("torch.distributed.checkpoint.metadata", "Metadata") {
		return nil, broken("it holds %s instead of torch's Metadata", pickle.Kind(v))
	}
	described, _ := attribute(v, "state_dict_metadata")
	stored, _ := attribute(v, "storage_data")
	values, ok1 := described.(*pickle.Dict)
	items, ok2 := stored.(*pickle.Dict)
	if !ok1 || !ok2 {
		return nil, broken("it has no state_dict_metadata, or does not say where the items are (storage_data)")
	}
	for name, value := range values.All() {
		if err := m.addValue(name, value); err != nil {
			return nil, err
		}
	}
	for key, info := range items.All() {
		if err := m.addItem(key, info); err != nil {
			return nil, err
		}
	}
	return m, m.match()
}

func (m *dcpMetadata) addValue(key, v any) error {
	name, ok := key.(string)
	o, _ := v.(*pickle.Object)
	if !ok || o == nil {
		return broken("its state_dict_metadata has %s for %s", pickle.Kind(v), pickle.Kind(key))
	}
	value := dcpValue{name: name, tensor: o.Is("torch.distributed.checkpoint.metadata", "TensorStorageMetadata")}
	if value.tensor {
		if err := value.parseTensor(o); err != nil {
			return fmt.Errorf("tensor %.200q: %w", name, err)
		}
	}
	m.values = append(m.values, value)
	return nil
}

func (value *dcpValue) parseTensor(o *pickle.Object) (err error) {
	value.dtype = dcpDType(o)
	size, _ := attribute(o, "size")
	if value.shape, err = dimensions(size); err != nil {
		return err
	}
	list, _ := attribute(o, "chunks")
	chunks, ok := list.(*pickle.List)
	if !ok {
		return broken("its chunks are %s instead of a list", pickle.Kind(list))
	}
	for _, item := range chunks.Items {
		chunk := dcpChunk{dtype: value.dtype}
		offsets, _ := attribute(item, "offsets")
		sizes, _ := attribute(item, "sizes")
		if chunk.offsets, err = dimensions(offsets); err != nil {
			return err
		}
		if chunk.sizes, err = dimensions(sizes); err != nil {
			return err
		}
		value.chunks = append(value.chunks, chunk)
	}
	return nil
}

// dcpDType reads the dtype of TensorProperties, which are pickled as the tuple (dtype, layout, …) or as a dict.
func dcpDType(o *pickle.Object) string {
	v, _ := attribute(o, "properties")
	properties, _ := v.(*pickle.Object)
	if properties == nil {
		return ""
	}
	dtype, _ := attribute(properties, "dtype")
	if t, ok := properties.State.(*pickle.Tuple); ok && len(t.Items) > 0 {
		dtype = t.Items[0]
	}
	name, _ := torchName(dtype)
	return name
}

func (m *dcpMetadata) addItem(index, info any) error {
	item := dcpItem{}
	name, _ := attribute(index, "fqn")
	file, _ := attribute(info, "relative_path")
	offset, _ := attribute(info, "offset")
	length, _ := attribute(info, "length")
	var ok1, ok2, ok3, ok4 bool
	item.key.name, ok1 = name.(string)
	item.file, ok2 = file.(string)
	item.offset, ok3 = offset.(int64)
	item.length, ok4 = length.(int64)
	if !ok1 || !ok2 || !ok3 || !ok4 || item.offset < 0 || item.length < 0 {
		return broken("it says that the item of name %s lies in %s at %s, %s long", pickle.Kind(name), pickle.Kind(file), pickle.Kind(offset), pickle.Kind(length))
	}
	if !fs.ValidPath(item.file) || item.file == "." {
		return broken("it says that %.200q lies in %.200q, which is no file of its folder", item.key.name, item.file)
	}
	if transforms, _ := attribute(info, "transform_descriptors"); transforms != nil {
		item.transformed = len(sequence(transforms)) > 0
	}
	if at, _ := attribute(index, "offset"); at != nil {
		offsets, err := dimensions(at)
		if err != nil {
			return fmt.Errorf("item %.200q: %w", item.key.name, err)
		}
		item.key.offset = fmt.Sprint(offsets)
	}
	m.items = append(m.items, item)
	return nil
}

// match gives every item its chunk, and makes sure that every chunk and every object has its item.
func (m *dcpMetadata) match() error {
	stored := make(map[dcpKey]*dcpItem, len(m.items))
	for i := range m.items {
		stored[m.items[i].key] = &m.items[i]
	}
	if len(stored) < len(m.items) {
		return broken("it says of one item twice where it lies")
	}
	for v := range m.values {
		value := &m.values[v]
		if !value.tensor && stored[dcpKey{value.name, ""}] == nil {
			return broken("it does not say where %.200q lies", value.name)
		}
		for c := range value.chunks {
			chunk := &value.chunks[c]
			item := stored[dcpKey{value.name, fmt.Sprint(chunk.offsets)}]
			if item == nil {
				return broken("it does not say where the chunk at %v of %.200q lies", chunk.offsets, value.name)
			}
			item.chunk = chunk
		}
	}
	return nil
}

// tensors lists the tensors as they are when all chunks are put together.
func (m *dcpMetadata) tensors() []Tensor {
	var all []Tensor
	for _, v := range m.values {
		if v.tensor {
			t := Tensor{Name: v.name, DType: v.dtype, Shape: v.shape}
			if n := numel(v.shape); n <= maxNumel {
				t.Bytes = n * itemSizes[v.dtype]
			}
			all = append(all, t)
		}
	}
	return all
}
