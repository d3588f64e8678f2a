package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// maxDescription is the largest file that is read into memory: an index, a pickle, a JSON file.
const maxDescription = 64 << 20

// treeReader proves a directory, folder by folder.
type treeReader struct {
	open    TreeOpener
	name    string // of the directory itself
	files   map[string]TreeFile
	folders []folder            // that hold files, parents first
	entries map[string][]string // by folder: its files, and its folders with a slash at the end
	done    map[string]bool     // files that are proven
	claimed []string            // folders that are proven with all that is below them
	// payloads are those of the files that were opened; nil when files are to be read for their checksums instead.
	payloads map[string]*Payload
	listing  listing
	imports  importList // of all files
	judged   importList // those that are not the format's own
	tree     *Tree
}

// folder is one folder of a directory.
type folder struct {
	*treeReader
	dir string // "" for the directory itself, else with a slash at the end
}

// findFolders finds the folders that hold files, and what is directly in each.
func (t *treeReader) findFolders() {
	t.folders = []folder{{t, ""}}
	for _, f := range t.tree.Files {
		parent := ""
		for at, c := range f.Path {
			if c != '/' {
				continue
			}
			dir := f.Path[:at+1]
			if _, known := t.entries[dir]; !known {
				t.entries[dir] = nil
				t.entries[parent] = append(t.entries[parent], dir[len(parent):])
				t.folders = append(t.folders, folder{t, dir})
			}
			parent = dir
		}
		t.entries[parent] = append(t.entries[parent], f.Path[len(parent):])
	}
}

// base is the folder's own name.
func (f folder) base() string {
	if f.dir == "" {
		return f.name
	}
	return path.Base(f.dir)
}

// file returns a file of the folder; name may have slashes.
func (f folder) file(name string) (TreeFile, bool) {
	file, ok := f.files[f.dir+name]
	return file, ok
}

func (f folder) has(name string) bool {
	_, ok := f.file(name)
	return ok
}

// below yields all files in the folder and below it by their names in the folder, in order.
func (f folder) below() iter.Seq2[string, TreeFile] {
	return func(yield func(string, TreeFile) bool) {
		all := f.tree.Files
		first, _ := slices.BinarySearchFunc(all, f.dir, func(file TreeFile, dir string) int { return strings.Compare(file.Path, dir) })
		for _, file := range all[first:] {
			name, ok := strings.CutPrefix(file.Path, f.dir)
			if !ok || !yield(name, file) {
				return
			}
		}
	}
}

// matching returns the names of the files directly in the folder, and of folders there with a slash at the end, that
// match one of the patterns of path.Match.
func (f folder) matching(patterns ...string) []string {
	var names []string
	for _, name := range f.entries[f.dir] {
		if matchesAny(patterns, name) {
			names = append(names, name)
		}
	}
	return names
}

// sub is a folder in the folder; it may be missing.
func (f folder) sub(name string) folder { return folder{f.treeReader, f.dir + name + "/"} }

// matchesAny matches a name; one with a slash at the end only by a pattern with one.
func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, _ := path.Match(pattern, name)
		return ok
	})
}

// missing returns the paths of those files that the folder does not have.
func (f folder) missing(names ...string) []string {
	var missing []string
	for _, name := range names {
		if !f.has(name) {
			missing = append(missing, f.dir+name)
		}
	}
	return missing
}

// youngerThan returns those of the names whose files were changed after the marker.
func (f folder) youngerThan(marker string, names []string) []string {
	m, _ := f.file(marker)
	var younger []string
	for _, name := range names {
		if file, ok := f.file(name); ok && file.ModTime > m.ModTime {
			younger = append(younger, name)
		}
	}
	return younger
}

// checkMarker makes sure that the file that the format writes last is the last: it may be of an earlier save into
// the same folder.
func (f folder) checkMarker(marker string, names []string) error {
	if younger := f.youngerThan(marker, names); len(younger) > 0 {
		return &Incomplete{
			Reason: fmt.Sprintf("%.200q is written last, but is older than %.200q: another save into this folder has begun (if the folder was copied without its times, touch %.200q)",
				f.dir+marker, f.dir+younger[0], f.dir+marker),
			Waits: []string{f.dir + marker},
		}
	}
	return nil
}

// read calls use with an open file. The file must still be as the listing showed it.
func (f folder) read(name string, use func(r io.ReaderAt, size int64) error) (err error) {
	full := f.dir + name
	listed, ok := f.files[full]
	if !ok {
		return &Incomplete{Reason: "a file is missing", Waits: []string{full}}
	}
	r, size, closeFile, err := f.open(full)
	if errors.Is(err, fs.ErrNotExist) {
		return &Incomplete{Reason: "a file vanished since the directory was listed", Waits: []string{full}}
	}
	if err != nil {
		return fmt.Errorf("open %.200q: %w", full, err)
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	if size != listed.Size {
		return &Incomplete{Reason: fmt.Sprintf("%.200q changes: it had %d bytes when the directory was listed, and has %d now", full, listed.Size, size)}
	}
	return use(r, size)
}

// description returns the content of a file that describes others.
func (f folder) description(name string) ([]byte, error) {
	var data []byte
	err := f.read(name, func(r io.ReaderAt, size int64) error {
		if size > maxDescription {
			return f.broken(name, "its %d bytes are more than the %d that are read", size, maxDescription)
		}
		data = make([]byte, size)
		if n, err := r.ReadAt(data, 0); n < len(data) {
			return fmt.Errorf("read %.200q: %w", f.dir+name, err)
		}
		return nil
	})
	return data, err
}

// broken is the error for a damaged file.
func (f folder) broken(name, format string, args ...any) error {
	return f.inFile(name, broken(format, args...))
}

// inFile says which file an error is about.
func (f folder) inFile(name string, err error) error {
	return fmt.Errorf("file %.200q: %w", f.dir+name, err)
}

// prove opens a checkpoint that is a file, proves it with its checksums, lists its tensors and imports, and lets
// use, if any, look at it.
func (f folder) prove(name string, use func(*Checkpoint, []Tensor) error) error {
	return f.read(name, func(r io.ReaderAt, size int64) error {
		c, tensors, err := f.openFile(name, r, size)
		if err == nil {
			err = f.record(name, c.Imports, tensors)
		}
		if err == nil && use != nil {
			err = use(c, tensors)
		}
		if err != nil {
			return f.inFile(name, err)
		}
		f.done[f.dir+name] = true
		return nil
	})
}

// openFile opens a checkpoint, and proves its checksums unless copying its payload does so.
func (f folder) openFile(name string, r io.ReaderAt, size int64) (*Checkpoint, []Tensor, error) {
	if f.payloads == nil {
		return proveBytes(r, size)
	}
	c, err := Open(r, size)
	if err != nil {
		return nil, nil, err
	}
	if f.payloads[f.dir+name], err = c.Verbatim(); err != nil {
		return nil, nil, err
	}
	tensors, err := c.AllTensors()
	return c, tensors, err
}

// proveBytes opens a checkpoint and proves its checksums.
func proveBytes(r io.ReaderAt, size int64) (*Checkpoint, []Tensor, error) {
	c, err := Open(r, size)
	if err != nil {
		return nil, nil, err
	}
	if err := c.CheckRecords(); err != nil {
		return nil, nil, err
	}
	tensors, err := c.AllTensors()
	return c, tensors, err
}

// layOut lays out a file that is not yet.
func (f folder) layOut(name string) error {
	if f.payloads[f.dir+name] != nil {
		return nil
	}
	return f.read(name, func(r io.ReaderAt, size int64) (err error) {
		f.payloads[f.dir+name], err = wholeFile(r, size)
		return err
	})
}

// wholeFile lays out a file of any kind, byte for byte.
func wholeFile(r io.ReaderAt, size int64) (*Payload, error) {
	return (&Checkpoint{source: r, Size: size}).Verbatim()
}

// record takes over what a file imports and which tensors it has.
func (f folder) record(name string, imports []pickle.Import, tensors []Tensor) error {
	if err := f.recordImports(name, imports); err != nil {
		return err
	}
	for _, tensor := range tensors {
		tensor.Name = f.dir + name + "/" + tensor.Name
		if err := f.listing.add(tensor); err != nil {
			return err
		}
	}
	return nil
}

func (f folder) recordImports(name string, imports []pickle.Import) error {
	own := ownImports(path.Base(name))
	judged := slices.DeleteFunc(slices.Clone(imports), func(i pickle.Import) bool { return own[i.String()] && !strings.Contains(i.Name, ".") })
	return cmp.Or(f.imports.add(imports, 0), f.judged.add(judged, 0))
}

// claim marks a folder as proven, with all that is below it.
func (f folder) claim() { f.claimed = append(f.claimed, f.dir) }

// claimedBelow tells whether a path lies in a folder that is proven with all that is below it.
func (t *treeReader) claimedBelow(path string) bool {
	return slices.ContainsFunc(t.claimed, func(dir string) bool { return strings.HasPrefix(path, dir) })
}
