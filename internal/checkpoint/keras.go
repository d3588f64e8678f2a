package checkpoint

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

const (
	kerasWeights = "model.weights.h5"
	maxKerasJSON = 64 << 20
	kerasWhole   = "Keras: the zip's end record, every local header and entry; metadata.json and config.json are JSON; the HDF5 superblock of " +
		kerasWeights + "; CRC-32 of every file checked while it was read"
)

// isKeras tells whether a zip is what Keras writes as .keras, or a part of it
// (keras/src/saving/saving_lib.py).
func isKeras(d *zipfile.Directory) bool {
	return d.Find(kerasWeights) != nil || d.Find("metadata.json") != nil && d.Find("config.json") != nil
}

func (c *Checkpoint) openKeras() (*Checkpoint, error) {
	c.Format, c.whole = Keras, kerasWhole
	var facts struct {
		Version string `json:"keras_version"`
	}
	if err := c.readJSON("metadata.json", &facts); err != nil {
		return nil, err
	}
	var config struct {
		Class string `json:"class_name"`
	}
	if err := c.readJSON("config.json", &config); err != nil {
		return nil, err
	}
	c.holds = fmt.Sprintf("a Keras model of class %.60q, saved by Keras %.20q", config.Class, facts.Version)
	return c, c.proveKerasWeights()
}

// readJSON reads a JSON file of a zip.
func (c *Checkpoint) readJSON(name string, v any) error {
	e := c.directory.Find(name)
	switch {
	case e == nil:
		return brokenRecord(name, "it is missing in what looks like a .keras file")
	case e.Size > maxKerasJSON:
		return brokenRecord(name, "its %d bytes are more than the %d that are read", e.Size, maxKerasJSON)
	}
	if err := checkEntry(c.source, e); err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(contentOf(c.source, e), e.Size))
	if err != nil {
		return inflateError(e, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return &Broken{Record: name, Reason: fmt.Sprintf("it is no JSON: %v", err), Err: err}
	}
	return nil
}

// proveKerasWeights proves the HDF5 file inside. Of a compressed one only the superblock is looked at.
func (c *Checkpoint) proveKerasWeights() error {
	e := c.directory.Find(kerasWeights)
	if e == nil {
		return brokenRecord(kerasWeights, "it is missing in what looks like a .keras file")
	}
	if e.Method == zipfile.Stored {
		_, err := proveHDF5(io.NewSectionReader(c.source, e.Data, e.Size), e.Size)
		return blame(c.source, e, err)
	}
	content := contentOf(c.source, e)
	head := make([]byte, min(e.Size, hdf5HeadBytes))
	if _, err := io.ReadFull(content, head); err != nil {
		return inflateError(e, err)
	}
	s, err := parseSuperblock(head)
	if err == nil {
		err = s.check(e.Size)
	}
	return blame(c.source, e, err)
}
