package checkpoint

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

const npzWhole = "npz: the zip's end record, every local header and entry; every array's header, and as many bytes as its dtype and shape " +
	"ask for; CRC-32 of every array checked while it was read"

// isNPZ tells whether a zip holds numpy arrays and nothing else.
func isNPZ(entries []zipfile.Entry) bool {
	for _, e := range entries {
		if !strings.HasSuffix(e.Name, ".npy") {
			return false
		}
	}
	return len(entries) > 0
}

// openNPZ holds the header of each array against the size of its record.
func (c *Checkpoint) openNPZ() (*Checkpoint, error) {
	c.Format, c.whole = NPZ, npzWhole
	var found listing
	var imports importList
	for i := range c.directory.Entries {
		e := &c.directory.Entries[i]
		t, err := c.readNPZArray(e, &imports)
		c.Imports = imports.list
		if err != nil {
			return c, err
		}
		t.Name = strings.TrimSuffix(e.Name, ".npy")
		if err := found.add(t); err != nil {
			return c, err
		}
	}
	c.tensors, c.holds = found.tensors, fmt.Sprintf("numpy arrays: %d", len(found.tensors))
	return c, nil
}

func (c *Checkpoint) readNPZArray(e *zipfile.Entry, imports *importList) (Tensor, error) {
	content := contentOf(c.source, e)
	a, err := readNPYHeader(content)
	if err != nil {
		return Tensor{}, blame(c.source, e, err)
	}
	rest := e.Size - a.header
	switch {
	case a.object:
		return a.tensor, c.readNPZObjects(e, content, rest, imports)
	case rest != a.tensor.Bytes:
		return Tensor{}, brokenRecord(e.Name, "%d bytes follow its header, but dtype %s and shape %v ask for %d", rest, a.tensor.DType, a.tensor.Shape, a.tensor.Bytes)
	}
	return a.tensor, nil
}

// readNPZObjects reads the pickle that an array of objects is, for what it would import.
func (c *Checkpoint) readNPZObjects(e *zipfile.Entry, content io.Reader, size int64, imports *importList) error {
	if size > pickle.MaxSize {
		return brokenRecord(e.Name, "a pickle of %d bytes is larger than the %d that are read", size, pickle.MaxSize)
	}
	data, err := io.ReadAll(io.LimitReader(content, size))
	if err != nil {
		return inflateError(e, err)
	}
	p := &pickleReader{source: bytes.NewReader(data), size: int64(len(data))}
	_, err = p.next("an array of objects")
	if tooMany := imports.add(p.imports.list, 0); tooMany != nil {
		return tooMany
	}
	if err == nil && p.pos != size {
		err = broken("%d bytes follow the pickle of an array of objects", size-p.pos)
	}
	return blame(c.source, e, err)
}
