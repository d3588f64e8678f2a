package checkpoint

import (
	"encoding/binary"
	"errors"
)

// message is what is left to read of a protocol buffers message (protobuf.dev, "Encoding").
type message []byte

// field is one field of a message, or its beginning when the message is not whole in memory.
type field struct {
	number   uint64
	value    uint64 // of a varint or a fixed number
	bytes    []byte // of a field with a length, as far as they are there
	headSize int64  // of tag and length
	size     int64  // of what follows them
}

const maxVarint = 10 // bytes

var (
	errCutOff = errors.New("it is cut off")
	errWire   = errors.New("it is of no kind that protocol buffers have")
)

// next reads the tag, and the length or the number. It does not step over the bytes of a field with a length.
func (m *message) next() (field, error) {
	before := len(*m)
	tag, err := m.varint()
	if err != nil {
		return field{}, err
	}
	f := field{number: tag >> 3}
	switch tag & 7 {
	case 0:
		f.value, err = m.varint()
	case 1:
		f.value, err = m.fixed(8)
	case 2:
		var length uint64
		if length, err = m.varint(); err == nil && length > 1<<62 {
			err = errCutOff
		}
		f.size = int64(length)
		f.bytes = (*m)[:min(len(*m), int(min(length, 1<<31)))]
	case 5:
		f.value, err = m.fixed(4)
	default:
		err = errWire
	}
	if f.number == 0 && err == nil {
		err = errWire
	}
	f.headSize = int64(before - len(*m))
	return f, err
}

func (m *message) varint() (uint64, error) {
	v, n := binary.Uvarint(*m)
	if n <= 0 {
		return 0, errCutOff
	}
	*m = (*m)[n:]
	return v, nil
}

func (m *message) fixed(size int) (uint64, error) {
	if len(*m) < size {
		return 0, errCutOff
	}
	var b [8]byte
	copy(b[:], (*m)[:size])
	*m = (*m)[size:]
	return binary.LittleEndian.Uint64(b[:]), nil
}

// each calls use with every field of a message that is whole in memory.
func (m message) each(use func(field) error) error {
	for len(m) > 0 {
		f, err := m.next()
		if err != nil {
			return err
		}
		if int64(len(m)) < f.size {
			return errCutOff
		}
		m = m[f.size:]
		if err := use(f); err != nil {
			return err
		}
	}
	return nil
}
