package checkpoint

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// What a legacy file begins with (torch/serialization.py, MAGIC_NUMBER and PROTOCOL_VERSION).
const (
	legacyNumber   = "1950a86a20f9469cfc6c" // hexadecimal
	legacyProtocol = 1001
)

const legacyWhole = "legacy torch: the pickles and every storage that they refer to present with its size, the last one ending where " +
	"the file ends; the format has no checksums, so the bytes of the tensors cannot be proven"

// legacyFile reads the format from before torch 1.6: the pickles of a magic number, a version, facts of the
// machine, the object and the storages' keys; then per key the number of elements and the elements.
type legacyFile struct {
	pickleReader
	blobs  map[string]blob
	viewed int64           // bytes of all storages that are views of others
	roots  map[string]root // storages by key, as the object refers to them
}

// root is a storage that is not a view of another.
type root struct {
	itemSize int64
	views    []view
}

// view is a part of a storage that counts as a storage. Torch up to 0.3 wrote such.
type view struct {
	key              string
	offset, elements int64
}

func openLegacy(r io.ReaderAt, size int64) (*Checkpoint, error) {
	l := &legacyFile{pickleReader: pickleReader{source: r, size: size}, blobs: make(map[string]blob), roots: make(map[string]root)}
	c := &Checkpoint{Format: TorchLegacy, NoCRC: true, whole: legacyWhole}
	c.torch = &torchFile{source: r, legacy: true, byteOrder: "little", prefix: "storage "}
	object, err := l.readObject()
	c.Imports = l.imports.list
	if err != nil {
		return c, err
	}
	c.Root, c.Protocol, c.discarded = object.Value, object.Protocol, l.discarded
	if err := l.readStorages(c.Root); err != nil {
		return c, err
	}
	c.torch.setBlobs(newBlobList(slices.Collect(maps.Values(l.blobs)), c.torch.prefix))
	return c, c.torch.checkStorages(c.Root)
}

// readObject reads up to the object, with it.
func (l *legacyFile) readObject() (*pickle.Pickle, error) {
	magic, err := l.next("the magic number of a legacy torch file")
	if err != nil {
		return nil, err
	}
	if n, ok := magic.Value.(*big.Int); !ok || n.Text(16) != legacyNumber {
		return nil, broken("it begins like a legacy torch file, but its magic number is %s", pickle.Kind(magic.Value))
	}
	version, err := l.next("the version of a legacy torch file")
	if err != nil {
		return nil, err
	}
	if version.Value != int64(legacyProtocol) {
		return nil, broken("a legacy torch file of version %.30q instead of %d", fmt.Sprint(version.Value), legacyProtocol)
	}
	machine, err := l.next("the machine's facts in a legacy torch file")
	if err != nil {
		return nil, err
	}
	if err := checkEndian(machine.Value); err != nil {
		return nil, err
	}
	l.discarded = append(l.discarded, machine.Value)
	return l.next("the object in a legacy torch file")
}

// checkEndian refuses what a big-endian machine wrote.
func checkEndian(facts any) error {
	switch little, _ := mapping(facts).Get("little_endian"); little {
	case true:
		return nil
	case false:
		return broken("a legacy torch file of a big-endian machine, which is not read: load it with torch and save it again")
	}
	return broken("a legacy torch file that does not say whether it is little-endian")
}

// readStorages finds where the storages of the object lie.
func (l *legacyFile) readStorages(object any) error {
	if err := l.normalise(object); err != nil {
		return err
	}
	keys, err := l.next("the list of storages in a legacy torch file")
	if err != nil {
		return err
	}
	list, ok := keys.Value.(*pickle.List)
	if !ok {
		return broken("the list of storages in a legacy torch file is %s", pickle.Kind(keys.Value))
	}
	for _, item := range list.Items {
		key, ok := item.(string)
		if !ok {
			return broken("the key of a storage in a legacy torch file is %s", pickle.Kind(item))
		}
		if err := l.readStorage(key); err != nil {
			return err
		}
	}
	if l.pos != l.size {
		return broken("%d bytes follow the last storage, which ends at byte %d", l.size-l.pos, l.pos)
	}
	return nil
}

// readStorage passes over one storage, and finds its views.
func (l *legacyFile) readStorage(key string) error {
	r, known := l.roots[key]
	if _, again := l.blobs[key]; again || !known {
		return broken("the list of storages names %.60q, which the pickle does not refer to, or twice", key)
	}
	count, err := l.bytes(8)
	if err != nil {
		return err
	}
	elements := int64(binary.LittleEndian.Uint64(count))
	if elements < 0 || elements > l.size/r.itemSize {
		return broken("storage %.60q is said to have %d elements, more than the file has bytes", key, uint64(elements))
	}
	b := blob{record: "storage " + key, offset: l.pos, size: elements * r.itemSize}
	if err := l.skip(b.size); err != nil {
		return err
	}
	l.blobs[key] = b
	for _, v := range r.views {
		if err := l.addView(b, v, r.itemSize); err != nil {
			return err
		}
	}
	return nil
}

func (l *legacyFile) addView(b blob, v view, itemSize int64) error {
	elements := b.size / itemSize
	if v.offset > elements || v.elements > elements-v.offset {
		return broken("storage %.60q is a view of %d elements at %d of one that has %d", v.key, v.elements, v.offset, elements)
	}
	part := blob{record: "storage " + v.key, offset: b.offset + v.offset*itemSize, size: v.elements * itemSize}
	if known, again := l.blobs[v.key]; again {
		if known != part {
			return broken("storage %.60q is described in two ways", v.key)
		}
		return nil
	}
	if l.viewed += part.size; l.viewed > l.size {
		return broken("storages that are views of each other add up to more than the file")
	}
	l.blobs[v.key] = part
	return nil
}

// normalise makes of the references to storages, ('storage', type, key, location, size, view), those of torch's
// zips: without the view, which becomes a storage of its own.
func (l *legacyFile) normalise(object any) error {
	var err error
	walk(object, func(node any) bool {
		id, ok := node.(*pickle.PersistentID)
		if !ok || err != nil {
			return err == nil
		}
		if isModule(id) {
			return true
		}
		err = l.normaliseID(id)
		return false
	})
	return err
}

// isModule tells whether an id is ('module', class, file, source), which stands for the class of a module
// that was saved as a whole.
func isModule(id *pickle.PersistentID) bool {
	t, ok := id.ID.(*pickle.Tuple)
	return ok && len(t.Items) == 4 && t.Items[0] == "module"
}

func (l *legacyFile) normaliseID(id *pickle.PersistentID) error {
	t, ok := id.ID.(*pickle.Tuple)
	if !ok || len(t.Items) != 6 || t.Items[0] != "storage" {
		return broken("the pickle refers to %s outside of it, which is no storage of a legacy torch file", pickle.Kind(id.ID))
	}
	class, ok1 := t.Items[1].(*pickle.Global)
	key, ok2 := t.Items[2].(string)
	size, ok3 := t.Items[4].(int64)
	if !ok1 || !ok2 || !ok3 || len(key) > maxKey {
		return broken("a storage is described by (%s, %s, …, %s) instead of (type, key, location, size)",
			pickle.Kind(t.Items[1]), pickle.Kind(t.Items[2]), pickle.Kind(t.Items[4]))
	}
	rootKey := key
	r, known := l.roots[rootKey]
	if !known {
		r.itemSize = max(itemSizes[storageTypes[class.Name]], 1)
	}
	if t.Items[5] != nil {
		v, err := readView(t.Items[5])
		if err != nil {
			return err
		}
		r.views, key, size = append(r.views, v), v.key, v.elements
	}
	l.roots[rootKey] = r
	id.ID = &pickle.Tuple{Items: []any{"storage", class, key, t.Items[3], size}}
	return nil
}

// readView reads (key, offset, elements).
func readView(v any) (view, error) {
	t, ok := v.(*pickle.Tuple)
	if !ok || len(t.Items) != 3 {
		return view{}, broken("a view of a storage is described by %s", pickle.Kind(v))
	}
	key, ok1 := t.Items[0].(string)
	offset, ok2 := t.Items[1].(int64)
	elements, ok3 := t.Items[2].(int64)
	if !ok1 || !ok2 || !ok3 || offset < 0 || elements < 0 || len(key) > maxKey {
		return view{}, broken("a view of a storage is described by (%s, %s, %s) instead of (key, offset, size)",
			pickle.Kind(t.Items[0]), pickle.Kind(t.Items[1]), pickle.Kind(t.Items[2]))
	}
	return view{key, offset, elements}, nil
}
