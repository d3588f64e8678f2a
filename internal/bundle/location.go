package bundle

import (
	"fmt"
	"io"
	"os"
)

// Location is where a bundle, an archive or a checkpoint is: a [Path], or a [*Distant].
type Location interface {
	fmt.Stringer
	// open opens the archive or the checkpoint for reading.
	open() (*opened, error)
}

// opened is a file that is read.
type opened struct {
	io.ReaderAt
	size   int64
	bundle bool // it is that of a bundle, so that it has to be an archive
	close  func()
}

// Path is a file, or the directory of a bundle.
type Path string

// String implements [fmt.Stringer].
func (p Path) String() string { return string(p) }

func (p Path) open() (*opened, error) {
	file, err := archivePath(string(p))
	if err != nil {
		return nil, err
	}
	f, size, err := openFile(file)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(string(p))
	return &opened{ReaderAt: f, size: size, bundle: err == nil && info.IsDir(), close: func() { f.Close() }}, nil
}

// Distant is a bundle that is in no local directory. Its archive is read in ranges, as little as is needed.
type Distant struct {
	Name     string                             // for people
	Manifest func() ([]byte, error)             // reads all of it
	Archive  func() (io.ReaderAt, int64, error) // opens it, and tells its size in bytes
}

// String implements [fmt.Stringer].
func (d *Distant) String() string { return d.Name }

func (d *Distant) open() (*opened, error) {
	r, size, err := d.Archive()
	if err != nil {
		return nil, err
	}
	return &opened{ReaderAt: r, size: size, bundle: true, close: func() {}}, nil
}

// Inspect lists what is in the bundle, as [Inspect] does.
func (d *Distant) Inspect() (*Inspection, error) {
	in := &Inspection{Path: d.Name, Kind: "bundle", Pickles: []PickleView{}}
	data, err := d.Manifest()
	if err != nil {
		return nil, fmt.Errorf("inspect %q: %w", d.Name, err)
	}
	in.Manifest = &Manifest{}
	if err := parseManifest(data, in.Manifest); err != nil {
		return nil, fmt.Errorf("inspect %q: read manifest: %w", d.Name, err)
	}
	o, err := d.open()
	if err != nil {
		return nil, fmt.Errorf("inspect %q: %w", d.Name, err)
	}
	defer o.close()
	in.Bytes = o.size
	a, err := openArchive(o, o.size)
	if err != nil {
		return nil, fmt.Errorf("inspect %q: %w", d.Name, err)
	}
	return in, in.inspectArchive(a)
}
