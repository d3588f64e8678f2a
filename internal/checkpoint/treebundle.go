package checkpoint

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"slices"
)

// bundleEntry says where a tensor of a TensorFlow checkpoint is
// (tensorflow/core/protobuf/tensor_bundle.proto, BundleEntryProto).
type bundleEntry struct {
	name         string
	dtype        uint64
	shape        []int64
	shard        int64
	offset, size int64 // in bytes, in the shard's file
	crc          uint32
	sliced       bool // the bytes are in entries of their own, whose names are binary
}

// bundleTypes are TensorFlow's types by torch's names (tensorflow/core/framework/types.proto).
var bundleTypes = map[uint64]string{
	1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64", 9: "int64", 10: "bool",
	11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 17: "uint16", 18: "complex128", 19: "float16", 20: "resource",
	21: "variant", 22: "uint32", 23: "uint64", 24: "float8_e5m2", 25: "float8_e4m3fn",
}

// checked tells whether it is known what the saved CRC is of.
func (e bundleEntry) checked() bool {
	dtype := bundleTypes[e.dtype]
	return dtype != "" && dtype != "resource" && dtype != "variant" && !e.sliced
}

// proveBundle proves the TensorFlow checkpoint <prefix>.index with its data files. It returns how many tensors
// have their checksum, and how many could not be checked.
func (f folder) proveBundle(prefix string) (checked, unchecked int, err error) {
	name := prefix + ".index"
	data, err := f.description(name)
	if err != nil {
		return 0, 0, err
	}
	shards, entries, err := parseBundle(data)
	if err == nil {
		err = f.record(name, nil, bundleTensors(entries))
	}
	if err != nil {
		return 0, 0, f.inFile(name, err)
	}
	files := make([]string, shards)
	for i := range files {
		files[i] = fmt.Sprintf("%s.data-%05d-of-%05d", prefix, i, shards)
	}
	if missing := f.missing(files...); missing != nil {
		return 0, 0, &Incomplete{Reason: "data files of the variables are not there: they were deleted, or the index is of another save", Waits: missing}
	}
	byShard := make([][]bundleEntry, shards)
	for _, e := range entries {
		byShard[e.shard] = append(byShard[e.shard], e)
	}
	for i, file := range files {
		n, err := f.proveData(file, byShard[i])
		if err != nil {
			return 0, 0, err
		}
		checked += n
	}
	return checked, len(entries) - checked, nil
}

// proveData checks the size of a data file and the CRC of its tensors; it returns the number of these.
func (f folder) proveData(name string, entries []bundleEntry) (checked int, err error) {
	err = f.read(name, func(r io.ReaderAt, size int64) error {
		slices.SortFunc(entries, func(a, b bundleEntry) int {
			return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.size, b.size))
		})
		end := int64(0)
		for _, e := range entries {
			if e.size > 0 && e.offset < end {
				return f.broken(name, "the index says that %.200q lies where another variable does", e.name)
			}
			end = max(end, e.offset+e.size)
		}
		if end != size {
			return f.broken(name, "it has %d bytes, but the index says %d", size, end)
		}
		for _, e := range entries {
			if !e.checked() {
				continue
			}
			if err := e.checkCRC(r); err != nil {
				return f.inFile(name, err)
			}
			checked++
		}
		return nil
	})
	return checked, err
}

func (e bundleEntry) checkCRC(r io.ReaderAt) error {
	sum := crc32.New(castagnoli)
	in := bufio.NewReaderSize(io.NewSectionReader(r, e.offset, e.size), 1<<16)
	if bundleTypes[e.dtype] == "string" {
		if err := e.sumLengths(sum, in); err != nil {
			return err
		}
	}
	if _, err := io.Copy(sum, in); err != nil {
		return fmt.Errorf("read variable %.200q: %w", e.name, err)
	}
	if want := unmaskCRC(e.crc); want != sum.Sum32() {
		return &Broken{Record: fmt.Sprintf("%.200s", e.name), Err: errCorrupt,
			Reason: fmt.Sprintf("its bytes have CRC-32C %08x, but %08x was saved with them: the content is corrupt", sum.Sum32(), want)}
	}
	return nil
}

// sumLengths adds to the checksum what precedes the bytes of strings: the length of each as a varint, which counts
// as a number of 4 bytes, or 8 if it is larger; then the masked CRC of these
// (tensorflow/core/util/tensor_bundle/tensor_bundle.cc, WriteStringTensor).
func (e bundleEntry) sumLengths(sum hash.Hash32, in *bufio.Reader) error {
	for range numel(e.shape) {
		length, err := binary.ReadUvarint(in)
		if err != nil {
			return &Broken{Record: fmt.Sprintf("%.200s", e.name), Reason: "the lengths of its strings are cut off", Err: err}
		}
		number := binary.LittleEndian.AppendUint64(nil, length)
		if length <= math.MaxUint32 {
			number = number[:4]
		}
		sum.Write(number)
	}
	return nil
}

// maxShards bounds the data files that an index can name.
const maxShards = 1 << 16

// parseBundle reads an index: the header, which has the empty key, says how many data files there are.
func parseBundle(data []byte) (shards int64, entries []bundleEntry, err error) {
	table, err := readTable(data)
	if err != nil {
		return 0, nil, err
	}
	if len(table) == 0 || table[0].key != "" {
		return 0, nil, broken("it has no header")
	}
	if shards, err = bundleShards(table[0].value); err != nil {
		return 0, nil, err
	}
	for _, pair := range table[1:] {
		e := bundleEntry{name: pair.key}
		if err := e.parse(pair.value); err != nil {
			return 0, nil, broken("its entry %.200q: %v", pair.key, err)
		}
		if e.offset < 0 || e.size < 0 || e.offset > 1<<60 || e.size > 1<<60 || e.shard < 0 || e.shard >= shards {
			return 0, nil, broken("its entry %.200q lies at %d in data file %d of %d, %d long", pair.key, e.offset, e.shard, shards, e.size)
		}
		entries = append(entries, e)
	}
	return shards, entries, nil
}

func bundleShards(header message) (int64, error) {
	shards, bigEndian := int64(0), false
	err := header.each(func(f field) error {
		switch f.number {
		case 1:
			shards = int64(f.value)
		case 2:
			bigEndian = f.value != 0
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, broken("its header: %v", err)
	case shards < 1 || shards > maxShards:
		return 0, broken("its header says that there are %d data files", shards)
	case bigEndian:
		return 0, broken("it was written on a big-endian machine, which is not read")
	}
	return shards, nil
}

func (e *bundleEntry) parse(m message) error {
	return m.each(func(f field) (err error) {
		switch f.number {
		case 1:
			e.dtype = f.value
		case 2:
			e.shape, err = bundleShape(f.bytes)
		case 3:
			e.shard = int64(f.value)
		case 4:
			e.offset = int64(f.value)
		case 5:
			e.size = int64(f.value)
		case 6:
			e.crc = uint32(f.value)
		case 7:
			e.sliced = true
		}
		return err
	})
}

// bundleShape reads a TensorShapeProto: its field 2 are the dimensions, whose field 1 is the size.
func bundleShape(m message) ([]int64, error) {
	var shape []int64
	err := m.each(func(f field) error {
		if f.number != 2 {
			return nil
		}
		size := int64(0)
		err := message(f.bytes).each(func(f field) error {
			if f.number == 1 {
				size = int64(f.value)
			}
			return nil
		})
		if size < 0 || len(shape) == maxDimensions {
			return broken("its shape is out of range")
		}
		shape = append(shape, size)
		return err
	})
	return shape, err
}

// bundleTensors lists the entries that are tensors of their own.
func bundleTensors(entries []bundleEntry) []Tensor {
	var tensors []Tensor
	for _, e := range entries {
		if len(e.name) > 0 && e.name[0] == 0 { // a slice of another entry's tensor
			continue
		}
		t := Tensor{Name: e.name, DType: bundleTypes[e.dtype], Shape: e.shape, Bytes: e.size}
		if t.DType == "" {
			t.DType = "?"
		}
		tensors = append(tensors, t)
	}
	return tensors
}
