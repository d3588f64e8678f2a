package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strings"
)

const (
	orbaxCheckpoint = "_CHECKPOINT_METADATA"
	orbaxTree       = "_METADATA"
	orbaxCommitted  = "commit_success.txt"
	ocdbtManifest   = "manifest.ocdbt"
	ocdbtProcess    = "ocdbt.process_"
	orbaxJSON       = "metadata" // of an item that is JSON (JsonCheckpointHandler)
)

func isOrbax(f folder) bool {
	return f.has(orbaxCheckpoint) || f.has(orbaxTree) || f.has(ocdbtManifest) || len(f.matching(ocdbtProcess+"*/")) > 0
}

// proveOrbax proves a folder of Orbax's with all that is below it: one checkpoint, or a step of several items.
func proveOrbax(f folder) (string, error) {
	f.claim()
	if err := f.checkCommitted(); err != nil {
		return "", err
	}
	for name, file := range f.below() {
		if file.Size == 0 && path.Base(name) != orbaxCommitted {
			return "", f.broken(name, "it is empty")
		}
	}
	for _, below := range f.folders {
		if !strings.HasPrefix(below.dir, f.dir) {
			continue
		}
		if err := below.checkArrays(); err != nil {
			return "", err
		}
	}
	return "orbax has committed it, and the manifests of its arrays have their checksums; the arrays themselves, and whether a file of them is missing, cannot be told without reading the database", nil
}

// checkCommitted looks for what Orbax writes when it is finished, and for the items that it says it wrote.
func (f folder) checkCommitted() error {
	if !f.has(orbaxCheckpoint) && !f.has(orbaxCommitted) {
		return &Incomplete{Reason: "orbax has not committed this checkpoint", Waits: f.missing(orbaxCheckpoint)}
	}
	if !f.has(orbaxCheckpoint) {
		return nil
	}
	object, err := f.object(orbaxCheckpoint)
	if err != nil {
		return err
	}
	if at := object["commit_timestamp_nsecs"]; (at == nil || string(at) == "null") && !f.has(orbaxCommitted) {
		return &Incomplete{Reason: fmt.Sprintf("orbax has begun this checkpoint, but not committed it: commit_timestamp_nsecs in %.200q is null", f.dir+orbaxCheckpoint), Waits: []string{f.dir + orbaxCommitted}}
	}
	var items map[string]json.RawMessage
	if json.Unmarshal(object["item_handlers"], &items) != nil {
		return f.checkOnlyItem()
	}
	return f.checkItems(items)
}

// checkOnlyItem makes sure that a checkpoint without named items has its description.
func (f folder) checkOnlyItem() error {
	arrays := f.has(ocdbtManifest) || len(f.matching(ocdbtProcess+"*/", "d/")) > 0
	if missing := f.missing(orbaxTree); missing != nil && arrays {
		return &Incomplete{Reason: "the description of the arrays is not there: it was deleted", Waits: missing}
	}
	return nil
}

func (f folder) checkItems(items map[string]json.RawMessage) error {
	var waits []string
	for name := range items {
		if path.Base(name) != name || name == "." || name == ".." {
			return f.broken(orbaxCheckpoint, "it names the item %.200q, which is no folder in its folder", name)
		}
		item := f.sub(name)
		if len(item.entries[item.dir]) == len(item.matching(orbaxCommitted)) {
			waits = append(waits, item.dir)
			continue
		}
		if err := item.checkOnlyItem(); err != nil {
			return err
		}
		if item.has(orbaxJSON) && strings.Contains(string(items[name]), "Json") {
			if err := item.checkJSON(orbaxJSON); err != nil {
				return err
			}
		}
	}
	if len(waits) == 0 {
		return nil
	}
	slices.Sort(waits)
	return &Incomplete{Reason: "items of this step are not there: they were deleted", Waits: waits}
}

// checkArrays proves what is directly in one folder: the description of a tree of arrays, a database.
func (f folder) checkArrays() error {
	if f.has(orbaxTree) {
		object, err := f.object(orbaxTree)
		if err != nil {
			return err
		}
		if missing := f.missing(ocdbtManifest); missing != nil && string(object["use_ocdbt"]) == "true" {
			return &Incomplete{Reason: "the arrays are in a database whose manifest is not there", Waits: missing}
		}
	}
	isDatabase := strings.HasPrefix(f.base(), ocdbtProcess) && len(f.matching("d/")) > 0
	if missing := f.missing(ocdbtManifest); missing != nil && isDatabase {
		return &Incomplete{Reason: "a process has written arrays, but not the manifest of its database", Waits: missing}
	}
	if f.has(ocdbtManifest) {
		return f.checkDatabase()
	}
	return nil
}

// checkDatabase proves the manifest of an OCDBT database, and that it has data files.
func (f folder) checkDatabase() error {
	data, err := f.description(ocdbtManifest)
	if err != nil {
		return err
	}
	if err := checkManifest(data); err != nil {
		return f.inFile(ocdbtManifest, err)
	}
	if len(f.matching("d/")) == 0 {
		return &Incomplete{Reason: "a database has a manifest, but no data", Waits: []string{f.dir + "d/"}}
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkManifest proves a manifest: magic 0x0cdb3a2a (big-endian), its length (8 bytes), content, CRC-32C of all
// before (tensorstore/kvstore/ocdbt/format, "manifest" in its documentation).
func checkManifest(data []byte) error {
	const magic, frame = 0x0cdb3a2a, 4 + 8 + 4
	switch {
	case len(data) < frame || binary.BigEndian.Uint32(data) != magic:
		return broken("it is no manifest of an OCDBT database: it begins with %q", data[:min(len(data), 4)])
	case binary.LittleEndian.Uint64(data[4:]) != uint64(len(data)):
		return broken("it has %d bytes, but says that it has %d", len(data), binary.LittleEndian.Uint64(data[4:]))
	}
	end := len(data) - 4
	want, got := binary.LittleEndian.Uint32(data[end:]), crc32.Checksum(data[:end], castagnoli)
	if want != got {
		return &Broken{Err: errCorrupt, Reason: fmt.Sprintf("its bytes have CRC-32C %08x, but %08x was saved with them: the content is corrupt", got, want)}
	}
	return nil
}
