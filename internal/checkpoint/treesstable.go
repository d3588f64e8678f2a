package checkpoint

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// An SSTable is a file of blocks of sorted keys, and a block that indexes them, found by a footer of 48 bytes
// (leveldb's doc/table_format.md; TensorFlow: tensorflow/core/lib/io/table.cc).
const (
	tableFooter  = 48
	tableMagic   = 0xdb4775248b80fb57
	blockTrailer = 5 // kind of compression, CRC-32C
)

// tableEntry is one pair of a table. Value lies in the table's bytes.
type tableEntry struct {
	key   string
	value []byte
}

// readTable returns the entries of a table in their order, after checking every block's CRC.
func readTable(data []byte) ([]tableEntry, error) {
	if len(data) < tableFooter || binary.LittleEndian.Uint64(data[len(data)-8:]) != tableMagic {
		return nil, broken("it has no footer of an SSTable at its end: it is cut off, or no index of TensorFlow's")
	}
	footer := message(data[len(data)-tableFooter : len(data)-8])
	if _, err := readBlock(data, &footer); err != nil { // of metadata: empty in TensorFlow's
		return nil, err
	}
	index, err := readBlock(data, &footer)
	if err != nil {
		return nil, err
	}
	handles, err := blockEntries(index, len(data))
	if err != nil {
		return nil, err
	}
	var all []tableEntry
	keys, blocks := 0, 0
	for _, h := range handles {
		handle := message(h.value)
		block, err := readBlock(data, &handle)
		if err != nil {
			return nil, err
		}
		if blocks += len(block) + blockTrailer; blocks > len(data) {
			return nil, broken("its blocks overlap")
		}
		entries, err := blockEntries(block, maxListingBytes-keys)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			keys += len(e.key)
		}
		if all = append(all, entries...); len(all) > maxTensors {
			return nil, broken("it has more than %d entries", maxTensors)
		}
	}
	return all, nil
}

// readBlock returns the block that a handle (offset and size as varints) points to.
func readBlock(data []byte, handle *message) ([]byte, error) {
	offset, err1 := handle.varint()
	size, err2 := handle.varint()
	room := uint64(len(data) - tableFooter)
	if err1 != nil || err2 != nil || offset > room || size > room-offset || room-offset-size < blockTrailer {
		return nil, broken("a block of %d bytes at %d is not inside of its %d bytes", size, offset, len(data))
	}
	end := offset + size
	kind := data[end]
	want, got := unmaskCRC(binary.LittleEndian.Uint32(data[end+1:])), crc32.Checksum(data[offset:end+1], castagnoli)
	if want != got {
		return nil, &Broken{Err: errCorrupt, Reason: fmt.Sprintf("its block at %d has CRC-32C %08x, but %08x was saved with it: the content is corrupt", offset, got, want)}
	}
	if kind != 0 {
		return nil, broken("its block at %d is compressed, which TensorFlow never does", offset)
	}
	return data[offset:end], nil
}

// unmaskCRC undoes what leveldb and TensorFlow do to a CRC that is stored beside its bytes
// (tensorflow/core/lib/hash/crc32c.h, Mask).
func unmaskCRC(masked uint32) uint32 {
	const delta = 0xa282ead8
	rotated := masked - delta
	return rotated>>17 | rotated<<15
}

// blockEntries returns the pairs of a block, whose keys may have maxKeys bytes together. A key is stored as what it
// has after the one before.
func blockEntries(block []byte, maxKeys int) ([]tableEntry, error) {
	if len(block) < 4 {
		return nil, broken("a block has %d bytes", len(block))
	}
	restarts := uint64(binary.LittleEndian.Uint32(block[len(block)-4:]))
	if restarts > uint64(len(block)-4)/4 {
		return nil, broken("a block of %d bytes says that it has %d restarts", len(block), restarts)
	}
	rest := message(block[:len(block)-4-4*int(restarts)])
	var entries []tableEntry
	key := ""
	for len(rest) > 0 {
		shared, err1 := rest.varint()
		fresh, err2 := rest.varint()
		size, err3 := rest.varint()
		room := uint64(len(rest))
		if err1 != nil || err2 != nil || err3 != nil || shared > uint64(len(key)) || fresh > room || size > room-fresh {
			return nil, broken("an entry reaches beyond its block")
		}
		key = key[:shared] + string(rest[:fresh])
		if maxKeys -= len(key); maxKeys < 0 {
			return nil, broken("it has more than %d bytes of names", maxListingBytes)
		}
		if len(entries) == maxTensors {
			return nil, broken("a block has more than %d entries", maxTensors)
		}
		entries = append(entries, tableEntry{key, rest[fresh : fresh+size]})
		rest = rest[fresh+size:]
	}
	return entries, nil
}
