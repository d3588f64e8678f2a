package checkpoint

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// storage is one run of raw bytes that tensors are views of: the record <prefix>/data/<key>.
type storage struct {
	key string
	elementKind
	elements int64
	bytes    int64
	place    int // in torchFile.blobs
}

// elementKind is what the class of a storage tells of its elements.
type elementKind struct {
	dtype string // "" in an untyped storage, which is counted in bytes
	size  int64  // bytes
}

// storageTypes maps torch's storage classes to their element types (torch/storage.py).
var storageTypes = map[string]string{
	"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
	"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
	"BoolStorage": "bool", "ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64",
	"QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32", "QUInt4x2Storage": "quint4x2",
	"QUInt2x4Storage": "quint2x4",
}

// itemSizes are the bytes of one element. What torch packs several to a byte (bits and 4-bit
// kinds) counts one byte an element of its storage.
var itemSizes = map[string]int64{
	"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
	"uint16": 2, "uint32": 4, "uint64": 8, "bool": 1, "complex128": 16, "complex64": 8, "complex32": 4, "bcomplex32": 4,
	"qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1,
	"float8_e4m3fn": 1, "float8_e4m3fnuz": 1, "float8_e5m2": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1,
	"bits8": 1, "bits16": 2, "bits1x8": 1, "bits2x4": 1, "bits4x2": 1,
}

// dtypeCode is the element type of a storage in one byte.
type dtypeCode uint8

var dtypeNames = append([]string{""}, slices.Sorted(maps.Values(storageTypes))...)

var dtypeCodes = func() map[string]dtypeCode {
	codes := make(map[string]dtypeCode)
	for i, name := range dtypeNames {
		codes[name] = dtypeCode(i)
	}
	return codes
}()

func (c dtypeCode) name() string { return dtypeNames[c] }

// readStorage reads the persistent id ('storage', StorageType, key, location, numel).
func (f *torchFile) readStorage(id *pickle.PersistentID) (storage, error) {
	t, ok := id.ID.(*pickle.Tuple)
	if !ok || len(t.Items) != 5 || t.Items[0] != "storage" {
		return storage{}, broken("the pickle refers to %s outside of it, which is no storage", pickle.Kind(id.ID))
	}
	class, ok1 := t.Items[1].(*pickle.Global)
	key, ok2 := t.Items[2].(string)
	_, ok3 := t.Items[3].(string)
	elements, ok4 := t.Items[4].(int64)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return storage{}, broken("a storage is described by (%s, %s, %s, %s) instead of (type, key, location, size)",
			pickle.Kind(t.Items[1]), pickle.Kind(t.Items[2]), pickle.Kind(t.Items[3]), pickle.Kind(t.Items[4]))
	}
	return f.storage(class, key, elements)
}

// storage finds what a pickle refers to as a storage of that class, key and size.
func (f *torchFile) storage(class *pickle.Global, key string, elements int64) (storage, error) {
	if elements < 0 || len(key) > maxKey {
		return storage{}, broken("a storage is described by a size of %d and the key %.300q", elements, key)
	}
	if class != f.class {
		kind, err := readClass(class, key)
		if err != nil {
			return storage{}, err
		}
		f.class, f.elements = class, kind
	}
	s := storage{key: key, elementKind: f.elements, elements: elements, bytes: elements * f.elements.size}
	var err error
	s.place, err = f.checkStorage(s)
	return s, err
}

// readClass reads the class of the storage of that key.
func readClass(class *pickle.Global, key string) (elementKind, error) {
	dtype, known := storageTypes[class.Name]
	switch {
	case class.Module != "torch" && !strings.HasPrefix(class.Module, "torch."):
		return elementKind{}, broken("storage %q has the foreign type %q", key, class.String())
	case known:
		return elementKind{dtype, itemSizes[dtype]}, nil
	case class.Name != "UntypedStorage" && class.Name != "_UntypedStorage":
		return elementKind{}, broken("storage %q has the unknown type %q", key, class.String())
	}
	return elementKind{"", 1}, nil
}

// maxKey is the longest key of a storage, in bytes. Torch's are decimal numbers.
const maxKey = 255

// checkStorage makes sure that a storage has its record, of the right size, and is always referred to as the same. It returns the
// place of the record in blobs.
func (f *torchFile) checkStorage(s storage) (place int, err error) {
	if place = f.next(s.key); place < 0 {
		return place, brokenRecord(f.prefix+s.key, "it is missing, though the pickle refers to it")
	}
	b, use := f.blobs.at(place), &f.uses[place]
	switch {
	case s.elements > b.size || b.size != s.bytes:
		return place, brokenRecord(b.record, "it has %d bytes, but the pickle says %d", b.size, s.bytes)
	case b.hasCRC && b.crc == 0 && b.size > 0:
		return place, brokenRecord(b.record, "its %d bytes were reserved but never written (torch.serialization.skip_data): it has no CRC, while other records have", b.size)
	case use.referred && use.dtype.name() != s.dtype:
		return place, brokenRecord(b.record, "the pickle refers to it as %d elements of %q and as %d of %q", b.size/max(itemSizes[use.dtype.name()], 1), use.dtype.name(), s.elements, s.dtype)
	case !use.referred:
		use.referred, use.dtype = true, dtypeCodes[s.dtype]
	}
	return place, nil
}

// eachStorage visits the storages that a value refers to, as often as it does, in the order of the pickle. With
// modules, references to classes of modules are passed over.
func (f *torchFile) eachStorage(v any, modules bool, visit func(storage)) error {
	var err error
	walk(v, func(node any) bool {
		var s storage
		var broken error
		switch t := node.(type) {
		case *pickle.TensorCall:
			if t.Changed() {
				return err == nil
			}
			class, key, elements := t.Storage()
			s, broken = f.storage(class, key, elements)
		case *pickle.PersistentID:
			if modules && isModule(t) {
				return err == nil
			}
			s, broken = f.readStorage(t)
		default:
			return err == nil
		}
		if broken != nil {
			err = cmp.Or(err, broken)
			return false
		}
		visit(s)
		return false
	})
	return err
}

// checkStorages makes sure that every storage that the pickle refers to has its record, of the right
// size, and is always referred to as the same.
func (f *torchFile) checkStorages(root any) error {
	return f.eachStorage(root, f.legacy, func(storage) {})
}

// storagesOf returns the places of the storages that a value refers to, each once, in the order of first reference.
func (f *torchFile) storagesOf(v any) (places []uint32, err error) {
	seen := make([]bool, len(f.uses))
	err = f.eachStorage(v, false, func(s storage) {
		if !seen[s.place] {
			seen[s.place] = true
			places = append(places, uint32(s.place))
		}
	})
	return places, err
}

// walk visits the containers, objects, persistent ids and imports in a value, each once, parents before
// children, in the order of the pickle. visit returns false to leave a node's children out. Short tuples
// of scalars, such as shapes, are left out: they are many and hold nothing.
func walk(v any, visit func(node any) bool) { walkUnseen(make(map[any]bool), v, visit) }

// walkUnseen is walk that leaves out what was seen in earlier walks.
func walkUnseen(seen map[any]bool, v any, visit func(node any) bool) {
	todo := pickle.NewWalk(v)
	for node, ok := todo.Next(); ok; node, ok = todo.Next() {
		switch t := node.(type) {
		case *pickle.Tuple, *pickle.List, *pickle.Dict, *pickle.Set, *pickle.Object, *pickle.TensorCall, *pickle.PersistentID:
			if tuple, ok := t.(*pickle.Tuple); ok && isShort(tuple) || seen[node] {
				continue
			}
			if !pickle.IsSingle(node) {
				seen[node] = true
			}
		case *pickle.Global:
		default:
			continue
		}
		if visit(node) {
			todo.Into(node)
		}
	}
}

// isShort tells whether a tuple is cheap enough to be looked at each time, and holds scalars only.
func isShort(t *pickle.Tuple) bool {
	if len(t.Items) > 8 {
		return false
	}
	for _, item := range t.Items {
		switch item.(type) {
		case nil, bool, int64, float64, string:
		default:
			return false
		}
	}
	return true
}
