package checkpoint

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// metadataName is the file that torch.distributed.checkpoint writes last.
const metadataName = ".metadata"

func isDCP(f folder) bool { return len(f.matching("*.distcp", metadataName)) > 0 }

func proveDCP(f folder) (string, error) {
	if missing := f.missing(metadataName); missing != nil {
		return "", &Incomplete{Reason: "torch writes .metadata last, and it is not there yet", Waits: missing}
	}
	m, err := f.readDCP()
	if err != nil {
		return "", err
	}
	byFile := make(map[string][]dcpItem)
	for _, item := range m.items {
		byFile[item.file] = append(byFile[item.file], item)
	}
	names := slices.Sorted(maps.Keys(byFile))
	if missing := f.missing(names...); missing != nil {
		return "", &Incomplete{Reason: "files that .metadata names are not there: they were deleted, or .metadata is of another save", Waits: missing}
	}
	if err := f.checkMarker(metadataName, append(f.matching("*.distcp"), names...)); err != nil {
		return "", err
	}
	transformed := 0
	for _, name := range names {
		n, err := f.proveItems(name, byFile[name])
		if err != nil {
			return "", err
		}
		transformed += n
	}
	return m.describe(len(names), transformed), nil
}

func (m *dcpMetadata) describe(files, transformed int) string {
	text := fmt.Sprintf("all %d items that .metadata names are in their %d files, each with its checksums and the shape that .metadata says, and .metadata is the last file; that they are of one save is told by its age alone", len(m.items), files)
	if transformed > 0 {
		text += fmt.Sprintf("; the content of %d items is compressed and was not looked at", transformed)
	}
	return text
}

// readDCP reads .metadata and takes over its imports and tensors.
func (f folder) readDCP() (*dcpMetadata, error) {
	data, err := f.description(metadataName)
	if err != nil {
		return nil, err
	}
	p, err := pickle.Decode(data)
	if err != nil {
		return nil, f.inFile(metadataName, &Broken{Reason: err.Error() + describeImports(p.Imports), Err: err})
	}
	if p.Size != len(data) {
		return nil, f.broken(metadataName, "%d bytes follow the end of the pickle", len(data)-p.Size)
	}
	m, err := parseDCP(p.Value)
	if err == nil {
		err = f.record(metadataName, p.Imports, m.tensors())
	}
	if err != nil {
		return nil, f.inFile(metadataName, err)
	}
	f.done[f.dir+metadataName] = true
	return m, nil
}

// proveItems proves the items of one file, and returns how many of them are in a form that cannot be read.
func (f folder) proveItems(name string, items []dcpItem) (transformed int, err error) {
	err = f.read(name, func(r io.ReaderAt, size int64) error {
		slices.SortFunc(items, func(a, b dcpItem) int {
			return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.length, b.length))
		})
		end := int64(0)
		for _, item := range items {
			switch {
			case item.offset > size || item.length > size-item.offset:
				return f.broken(name, "it has %d bytes, but .metadata says that %.200q has %d at %d", size, item.key.name, item.length, item.offset)
			case item.offset < end && item.length > 0:
				return f.broken(name, ".metadata says that %.200q lies where another item does", item.key.name)
			case item.transformed:
				transformed++
			default:
				if err := f.proveItem(name, item, io.NewSectionReader(r, item.offset, item.length)); err != nil {
					return f.inFile(name, fmt.Errorf("item %.200q: %w", item.key.name, err))
				}
			}
			end = item.offset + item.length
		}
		return nil
	})
	f.done[f.dir+name] = true
	return transformed, err
}

// proveItem proves one item: a torch zip of its own, of one tensor that is a chunk of a larger one, or of an object.
func (f folder) proveItem(name string, item dcpItem, r *io.SectionReader) error {
	if item.length == 0 && item.chunk == nil {
		return nil
	}
	c, tensors, err := proveBytes(r, item.length)
	if err != nil {
		return err
	}
	if err := f.recordImports(name, c.Imports); err != nil || item.chunk == nil {
		return err
	}
	if len(tensors) != 1 || !slices.Equal(tensors[0].Shape, item.chunk.sizes) {
		return broken("it does not hold one tensor of shape %v, as .metadata says", item.chunk.sizes)
	}
	if got := tensors[0].DType; got != item.chunk.dtype && item.chunk.dtype != "" {
		return broken("it is a tensor of %s, but .metadata says %s", got, item.chunk.dtype)
	}
	return nil
}
