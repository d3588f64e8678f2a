package checkpoint

import (
	"encoding/binary"
	"io"
	"maps"
	"math/big"
	"slices"
	"strconv"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

const legacyTarWhole = "legacy torch tar: its four members inside of the file, every storage and tensor described in them present " +
	"with its size; the format has no checksums, so the bytes of the tensors cannot be proven"

// legacyTar reads what torch wrote before 0.1.10: a tar of the pickles sys_info and pickle, of the
// storages, and of the tensors that are views of them. The object refers to tensors and storages by numbers
// (torch/serialization.py, legacy_load).
type legacyTar struct {
	source  io.ReaderAt
	members map[string]part
	imports importList
	blobs   map[string]blob

	discarded []any
	values    map[string]any // tensors as calls and storages as ids, by number
}

func openLegacyTar(r io.ReaderAt, size int64, parts []part) (*Checkpoint, error) {
	f := &torchFile{source: r, legacy: true, byteOrder: "little", prefix: "storage "}
	c := &Checkpoint{Format: TorchLegacy, NoCRC: true, whole: legacyTarWhole, torch: f}
	l := &legacyTar{source: r, blobs: make(map[string]blob), members: make(map[string]part), values: make(map[string]any)}
	for _, p := range parts {
		if _, again := l.members[p.name]; again {
			return nil, broken("a tar with two members %q", p.name)
		}
		l.members[p.name] = p
	}
	object, err := l.read()
	c.Imports = l.imports.list
	if err != nil {
		return c, err
	}
	c.Root, c.Protocol, c.discarded = object.Value, object.Protocol, l.discarded
	if c.Root, err = l.resolve(c.Root); err != nil {
		return c, err
	}
	f.setBlobs(newBlobList(slices.Collect(maps.Values(l.blobs)), f.prefix))
	return c, f.checkStorages(c.Root)
}

func (l *legacyTar) read() (*pickle.Pickle, error) {
	if err := l.readMember("sys_info", l.readFacts); err != nil {
		return nil, err
	}
	if err := l.readMember("storages", l.readStorages); err != nil {
		return nil, err
	}
	if err := l.readMember("tensors", l.readTensors); err != nil {
		return nil, err
	}
	var object *pickle.Pickle
	err := l.readMember("pickle", func(p *pickleReader) (err error) {
		object, err = p.next("the object in a legacy torch tar")
		return err
	})
	return object, err
}

// readMember reads a member, to its last byte.
func (l *legacyTar) readMember(name string, read func(*pickleReader) error) error {
	m, ok := l.members[name]
	if !ok {
		return broken("a legacy torch tar without its member %q", name)
	}
	p := &pickleReader{source: l.source, pos: m.offset, size: m.offset + m.size}
	err := read(p)
	l.discarded = append(l.discarded, p.discarded...)
	if tooMany := l.imports.add(p.imports.list, 0); tooMany != nil {
		return tooMany
	}
	if err != nil {
		return &Broken{Record: name, Reason: err.Error(), Err: err}
	}
	if p.pos != p.size {
		return brokenRecord(name, "%d bytes follow what should be its end", p.size-p.pos)
	}
	return nil
}

func (l *legacyTar) readFacts(p *pickleReader) error {
	facts, err := p.next("the machine's facts in a legacy torch tar")
	if err != nil {
		return err
	}
	p.discarded = append(p.discarded, facts.Value)
	return checkEndian(facts.Value)
}

// readCount reads the pickled number of things that follow.
func readCount(p *pickleReader, what string) (int64, error) {
	count, err := p.next("the number of " + what)
	if err != nil {
		return 0, err
	}
	n, ok := count.Value.(int64)
	if !ok || n < 0 || n > maxTensors {
		return 0, broken("the number of %s is %s, not a count up to %d", what, pickle.Kind(count.Value), maxTensors)
	}
	return n, nil
}

// readTriple reads a pickled tuple of three.
func readTriple(p *pickleReader, what string) ([]any, error) {
	read, err := p.next(what)
	if err != nil {
		return nil, err
	}
	t, ok := read.Value.(*pickle.Tuple)
	if !ok || len(t.Items) != 3 {
		return nil, broken("%s is described by %s", what, pickle.Kind(read.Value))
	}
	p.discarded = append(p.discarded, t)
	return t.Items, nil
}

// readStorages reads (key, location, type), the number of elements and the elements of each storage, and then
// the views (key, key of the storage, offset, elements).
func (l *legacyTar) readStorages(p *pickleReader) error {
	count, err := readCount(p, "storages")
	if err != nil {
		return err
	}
	sizes := make(map[string]int64) // of an element
	for range count {
		if err := l.readStorage(p, sizes); err != nil {
			return err
		}
	}
	views, err := p.next("the views of storages")
	if err != nil {
		return err
	}
	list, ok := views.Value.(*pickle.List)
	if !ok || len(list.Items) > maxTensors {
		return broken("the views of storages are %s, not a list of up to %d", pickle.Kind(views.Value), maxTensors)
	}
	room := p.size // views can overlap, but are not more than the file together
	for _, item := range list.Items {
		b, err := l.addView(item, sizes)
		if err != nil {
			return err
		}
		if room -= b.size; room < 0 {
			return broken("storages that are views of each other add up to more than the file")
		}
	}
	return nil
}

// addView makes a storage of (key, key of another, offset, elements), a part of the other.
func (l *legacyTar) addView(item any, sizes map[string]int64) (blob, error) {
	t, ok := item.(*pickle.Tuple)
	if !ok || len(t.Items) != 4 {
		return blob{}, broken("a view of a storage is described by %s", pickle.Kind(item))
	}
	key, ok1 := number(t.Items[0])
	root, ok2 := number(t.Items[1])
	offset, ok3 := t.Items[2].(int64)
	elements, ok4 := t.Items[3].(int64)
	itemSize, known := sizes[root]
	whole := l.blobs[root]
	if !ok1 || !ok2 || !ok3 || !ok4 || !known || l.values[key] != nil || offset < 0 || elements < 0 ||
		offset > whole.size/itemSize || elements > whole.size/itemSize-offset {
		return blob{}, broken("a view of a storage is described by (%s, %s, %s, %s) instead of (number, number of a storage, offset in it, elements)",
			pickle.Kind(t.Items[0]), pickle.Kind(t.Items[1]), pickle.Kind(t.Items[2]), pickle.Kind(t.Items[3]))
	}
	id := l.values[root].(*pickle.PersistentID).ID.(*pickle.Tuple)
	b := blob{record: "storage " + key, offset: whole.offset + offset*itemSize, size: elements * itemSize}
	l.blobs[key] = b
	l.values[key] = &pickle.PersistentID{ID: &pickle.Tuple{Items: []any{"storage", id.Items[1], key, id.Items[3], elements}}}
	return b, nil
}

func (l *legacyTar) readStorage(p *pickleReader, sizes map[string]int64) error {
	items, err := readTriple(p, "a storage")
	if err != nil {
		return err
	}
	key, ok1 := number(items[0])
	class, ok2 := items[2].(*pickle.Global)
	if !ok1 || !ok2 {
		return broken("a storage is described by (%s, %s, %s) instead of (number, location, type)",
			pickle.Kind(items[0]), pickle.Kind(items[1]), pickle.Kind(items[2]))
	}
	count, err := p.bytes(8)
	if err != nil {
		return err
	}
	elements, itemSize := int64(binary.LittleEndian.Uint64(count)), max(itemSizes[storageTypes[class.Name]], 1)
	if elements < 0 || elements > p.size/itemSize {
		return broken("storage %s is said to have %d elements, more than the file has bytes", key, uint64(elements))
	}
	b := blob{record: "storage " + key, offset: p.pos, size: elements * itemSize}
	if _, again := l.blobs[key]; again {
		return broken("storage %s occurs twice", key)
	}
	l.blobs[key], sizes[key] = b, itemSize
	l.values[key] = &pickle.PersistentID{ID: &pickle.Tuple{Items: []any{"storage", class, key, items[1], elements}}}
	return p.skip(b.size)
}

// number returns a number that tensors and storages are referred to by: the address that they had.
func number(v any) (string, bool) {
	switch t := v.(type) {
	case int64:
		return strconv.FormatInt(t, 10), true
	case *big.Int:
		return t.String(), t.BitLen() <= 64
	case string:
		_, err := strconv.ParseUint(t, 10, 64)
		return t, err == nil
	}
	return "", false
}

func (l *legacyTar) readTensors(p *pickleReader) error {
	count, err := readCount(p, "tensors")
	if err != nil {
		return err
	}
	for range count {
		if err := l.readTensor(p); err != nil {
			return err
		}
	}
	return nil
}

// readTensor reads (key, key of the storage, type), and then the number of dimensions in 8 bytes, the shape, the
// stride and the offset, in 8 bytes each.
func (l *legacyTar) readTensor(p *pickleReader) error {
	items, err := readTriple(p, "a tensor")
	if err != nil {
		return err
	}
	key, ok1 := number(items[0])
	storage, ok2 := number(items[1])
	id, ok3 := l.values[storage].(*pickle.PersistentID)
	if _, again := l.values[key]; again || !ok1 || !ok2 || !ok3 {
		return broken("a tensor is described by (%s, %s, %s) instead of (number, number of a storage, type)",
			pickle.Kind(items[0]), pickle.Kind(items[1]), pickle.Kind(items[2]))
	}
	dims, err := p.bytes(8)
	if err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(dims)) // the upper half was never used
	if n > maxDimensions {
		return broken("tensor %s has %d dimensions", key, n)
	}
	numbers, err := p.bytes(8 * (2*n + 1))
	if err != nil {
		return err
	}
	shape, numbers := int64s(numbers, n)
	stride, numbers := int64s(numbers, n)
	l.values[key] = &pickle.Object{
		Class: &pickle.Global{Module: "torch._utils", Name: "_rebuild_tensor_v2"},
		Args: []any{id, int64(binary.LittleEndian.Uint64(numbers)), shape, stride, false,
			&pickle.Object{Class: &pickle.Global{Module: "collections", Name: "OrderedDict"}}},
	}
	return nil
}

// int64s reads n numbers as a tuple, and returns the bytes behind them.
func int64s(b []byte, n int64) (*pickle.Tuple, []byte) {
	t := &pickle.Tuple{Items: make([]any, n)}
	for i := range t.Items {
		t.Items[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return t, b[8*n:]
}

// resolve puts the tensors and storages into the object in the places of their numbers.
func (l *legacyTar) resolve(root any) (any, error) {
	r := &resolver{values: l.values, tensors: make(map[any]bool)}
	for _, v := range l.values {
		r.tensors[v] = true
	}
	if v, ok := r.valueOf(root); ok {
		root = v
	}
	walk(root, func(node any) bool {
		if id, ok := node.(*pickle.PersistentID); ok {
			return isModule(id)
		}
		if r.tensors[node] {
			return false
		}
		r.children(node)
		return r.err == nil
	})
	return root, r.err
}

// resolver replaces numbers of tensors and storages by what they stand for.
type resolver struct {
	values  map[string]any
	tensors map[any]bool // the values
	err     error
}

// valueOf returns what a reference stands for; ok is false for other values.
func (r *resolver) valueOf(v any) (value any, ok bool) {
	id, isID := v.(*pickle.PersistentID)
	if !isID || isModule(id) || r.tensors[v] {
		return nil, false
	}
	if key, isNumber := number(id.ID); isNumber && r.values[key] != nil {
		return r.values[key], true
	}
	r.err = broken("the pickle refers to %s outside of it, which is no tensor and no storage of the tar", pickle.Kind(id.ID))
	return nil, false
}

// children replaces the references that a value holds directly, but for keys of dicts.
func (r *resolver) children(node any) {
	switch t := node.(type) {
	case *pickle.List:
		r.items(t.Items)
	case *pickle.Tuple:
		r.items(t.Items)
	case *pickle.Dict:
		r.pairs(t)
	case *pickle.TensorCall:
		r.items(t.Object().Args)
	case *pickle.Object:
		r.items(t.Args)
		r.items(t.Appended)
		r.pairs(t.Items)
		r.pairs(t.Kwargs)
		if v, ok := r.valueOf(t.State); ok {
			t.State = v
		}
	}
}

func (r *resolver) items(items []any) {
	for i, item := range items {
		if v, ok := r.valueOf(item); ok {
			items[i] = v
		}
	}
}

func (r *resolver) pairs(d *pickle.Dict) {
	for k, item := range d.All() {
		if v, ok := r.valueOf(item); ok {
			d.Set(k, v)
		}
	}
}
