package checkpoint

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	savedModelFile  = "saved_model.pb"
	fingerprintFile = "fingerprint.pb"
	variablesPrefix = "variables/variables"
)

func isSavedModel(f folder) bool {
	return f.has(savedModelFile) || f.has(variablesPrefix+".index") || len(f.sub("variables").matching("variables.data-*-of-*")) > 0
}

// proveSavedModel proves a SavedModel. Its files are written in this order: variables' data, their index,
// saved_model.pb, fingerprint.pb (since TensorFlow 2.12, tensorflow/python/saved_model/save.py).
func proveSavedModel(f folder) (string, error) {
	if missing := f.missing(variablesPrefix+".index", savedModelFile); missing != nil {
		return "", &Incomplete{Reason: "not all parts of a SavedModel are there", Waits: missing}
	}
	if err := f.checkMarker(savedModelFile, f.variableFiles()); err != nil {
		return "", err
	}
	if f.has(fingerprintFile) {
		if err := f.checkMarker(fingerprintFile, []string{savedModelFile}); err != nil {
			return "", err
		}
	}
	for _, name := range f.matching(savedModelFile, fingerprintFile) {
		if err := f.proveMessage(name); err != nil {
			return "", err
		}
	}
	checked, unchecked, err := f.proveBundle(variablesPrefix)
	if err != nil {
		return "", err
	}
	f.claimSavedModel()
	text := fmt.Sprintf("the variables' index and data are whole, with the checksums of %d variables, and %s parses to its end", checked, savedModelFile)
	if unchecked > 0 {
		text += fmt.Sprintf("; the checksums of %d variables of other kinds (slices, for example) were not looked at", unchecked)
	}
	return text, nil
}

// variableFiles returns the names of the variables' files in the folder.
func (f folder) variableFiles() []string {
	var names []string
	for _, name := range f.sub("variables").matching("variables.*") {
		names = append(names, "variables/"+name)
	}
	return names
}

func (f folder) claimSavedModel() {
	names := append(f.variableFiles(), savedModelFile, fingerprintFile)
	for name := range f.below() {
		if slices.Contains(names, name) || strings.HasPrefix(name, "assets/") || strings.HasPrefix(name, "assets.extra/") {
			f.done[f.dir+name] = true
		}
	}
}

// proveMessage makes sure that a protocol buffers message ends where the file does. Only the lengths of its
// fields are read.
func (f folder) proveMessage(name string) error {
	return f.read(name, func(r io.ReaderAt, size int64) error {
		if size == 0 {
			return f.broken(name, "it is empty")
		}
		if err := walkMessage(r, size); err != nil {
			return f.inFile(name, err)
		}
		return nil
	})
}

// walkMessage reads the tags and lengths of a message's fields, and skips their contents.
func walkMessage(r io.ReaderAt, size int64) error {
	head := make([]byte, 2*maxVarint)
	for at := int64(0); at < size; {
		n := min(size-at, int64(len(head)))
		if got, err := r.ReadAt(head[:n], at); int64(got) < n {
			return fmt.Errorf("read at %d: %w", at, err)
		}
		m := message(head[:n])
		field, err := m.next()
		if err != nil {
			return broken("the field at byte %d: %v", at, err)
		}
		at += field.headSize + field.size
		if at > size || at < 0 {
			return broken("it is cut off: a field reaches to byte %d, but the file has %d", at, size)
		}
	}
	return nil
}
