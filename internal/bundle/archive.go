package bundle

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	gopath "path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// maxSmall bounds the entries that are read into memory: pickles, manifests, config files.
const maxSmall = 64 << 20

// archive is a wts.h5.zip opened for reading: ours, or one that upstream's trainer wrote.
type archive struct {
	source    io.ReaderAt
	directory *zipfile.Directory
}

// openFile opens a regular file for reading and tells its size. It never waits for the other end of a pipe.
func openFile(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %q: it is no regular file", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func openArchive(r io.ReaderAt, size int64) (*archive, error) {
	d, err := zipfile.Read(r, size)
	if err != nil {
		return nil, err
	}
	a := &archive{source: r, directory: d}
	if d.Find(rootManifestName) == nil {
		return nil, fmt.Errorf("a zip without %s, so no %s", rootManifestName, ArchiveName)
	}
	return a, nil
}

// ours tells whether the archive was written by this program.
func (a *archive) ours() bool { return a.directory.Find(innerName) != nil }

// inMember tells whether an entry is in the folder of a role.
func (a *archive) inMember(name string) bool {
	return strings.Contains(name, "/") && !strings.HasPrefix(name, ownFolder) && !strings.HasSuffix(name, "/")
}

// content returns the bytes of an entry, unpacked.
func (a *archive) content(e *zipfile.Entry) io.Reader {
	packed := io.NewSectionReader(a.source, e.Data, e.Packed)
	if e.Method == zipfile.Deflated {
		return io.LimitReader(flate.NewReader(packed), e.Size+1)
	}
	return packed
}

// read returns a small entry, with its CRC checked.
func (a *archive) read(e *zipfile.Entry) ([]byte, error) {
	if e.Size > maxSmall {
		return nil, fmt.Errorf("%d bytes are more than the %d that are read", e.Size, int64(maxSmall))
	}
	data, err := io.ReadAll(a.content(e))
	if err != nil {
		return nil, err
	}
	return data, checkContent(e, int64(len(data)), crc32.ChecksumIEEE(data))
}

func checkContent(e *zipfile.Entry, size int64, sum uint32) error {
	if size != e.Size {
		return fmt.Errorf("unpacks to %d bytes instead of %d", size, e.Size)
	}
	if sum != e.CRC32 {
		return checkpoint.ErrCRC(e.Name, e.CRC32, sum)
	}
	return nil
}

// digest reads a whole entry, checks its CRC and returns its SHA-256.
func (a *archive) digest(ctx context.Context, e *zipfile.Entry) (Digest, error) {
	crc := crc32.NewIEEE()
	d, err := hashReader(ctx, e.Name, io.TeeReader(a.content(e), crc))
	if err != nil {
		return Digest{}, err
	}
	return d, checkContent(e, d.Bytes, crc.Sum32())
}

const hashBuffer = 64 << 10 // bytes: an archive has many small entries

func hashReader(ctx context.Context, name string, r io.Reader) (Digest, error) {
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, contextReader{ctx, r}, make([]byte, hashBuffer))
	if err != nil {
		return Digest{}, err
	}
	return Digest{Name: name, Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// contextReader stops reading when the context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// checkpoint opens the torch zip that an entry holds. A compressed entry is unpacked into an
// unnamed temporary file first; done releases it.
func (a *archive) checkpoint(e *zipfile.Entry) (c *checkpoint.Checkpoint, done func(), err error) {
	if e.Method == zipfile.Stored {
		c, err = checkpoint.Open(io.NewSectionReader(a.source, e.Data, e.Size), e.Size)
		return c, func() {}, err
	}
	f, err := os.CreateTemp("", "bundlewatch-*.pth")
	if err != nil {
		return nil, nil, err
	}
	done = func() { f.Close() }
	if err := os.Remove(f.Name()); err != nil {
		done()
		return nil, nil, err
	}
	n, err := io.Copy(f, a.content(e))
	if err == nil && n != e.Size {
		err = fmt.Errorf("unpacks to %d bytes or more instead of %d", n, e.Size)
	}
	if err == nil {
		c, err = checkpoint.Open(f, n)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return c, done, nil
}

// pickle reads an entry that is a plain pickle.
func (a *archive) pickle(name string) (*pickle.Pickle, []byte, error) {
	e := a.directory.Find(name)
	if e == nil {
		return nil, nil, errors.New("it is missing")
	}
	data, err := a.read(e)
	if err != nil {
		return nil, nil, err
	}
	p, err := pickle.Decode(data)
	if err == nil && p.Size != len(data) {
		err = fmt.Errorf("%d bytes follow the end of the pickle", len(data)-p.Size)
	}
	return p, data, err
}

// roles returns the models that manifest.dill lists.
func (a *archive) roles() ([]string, error) {
	p, _, err := a.pickle(rootManifestName)
	if err != nil {
		return nil, err
	}
	root, ok := p.Value.(*pickle.Dict)
	if !ok {
		return nil, fmt.Errorf("it holds %s, not a dict", pickle.Kind(p.Value))
	}
	v, _ := root.Get("models")
	list, ok := v.(*pickle.List)
	if !ok {
		return nil, fmt.Errorf("its models are %s, not a list", pickle.Kind(v))
	}
	var roles []string
	for _, item := range list.Items {
		role, ok := item.(string)
		if !ok || role == "" || strings.ContainsAny(role, "/\x00") {
			return nil, fmt.Errorf("a model is named %s", pickle.Kind(item))
		}
		roles = append(roles, role)
	}
	return roles, nil
}

// layoutDiffers tells where the bytes around the contents are not those that this program writes,
// or -1. Together with the CRCs of the contents that covers every byte of the archive.
func (a *archive) layoutDiffers() (int64, error) {
	var l zipfile.Layout
	for _, e := range a.directory.Entries {
		at := l.Offset()
		local := l.Add(zipfile.Header{Name: e.Name, Size: e.Size, CRC32: e.CRC32, Place: placeOf(e.Name, e.Size)})
		if off, err := a.differs(at, local); off >= 0 || err != nil {
			return off, err
		}
	}
	return a.differs(l.Offset(), l.End())
}

func (a *archive) differs(at int64, want []byte) (int64, error) {
	got := make([]byte, len(want))
	if n, err := a.source.ReadAt(got, at); n < len(got) {
		return at + int64(n), nilIfEOF(err)
	}
	if bytes.Equal(got, want) {
		return -1, nil
	}
	for i := range got {
		if got[i] != want[i] {
			return at + int64(i), nil
		}
	}
	return -1, nil
}

func nilIfEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// entries are the digests of all entries that a member has.
func (m innerMember) entries() []Digest {
	if len(m.Files) > 0 {
		return m.Files
	}
	return []Digest{m.Digest}
}

// tree opens the directory that a member carries.
func (a *archive) tree(m innerMember) (*checkpoint.Tree, error) {
	var files []checkpoint.TreeFile
	for _, d := range m.Files {
		path, ok := strings.CutPrefix(d.Name, m.Name)
		if !ok {
			return nil, fmt.Errorf("the manifest lists %q, which is outside of it", d.Name)
		}
		files = append(files, checkpoint.TreeFile{Path: path, Size: d.Bytes})
	}
	open := func(path string) (io.ReaderAt, int64, func() error, error) {
		e := a.directory.Find(m.Name + path)
		if e == nil || e.Method != zipfile.Stored {
			return nil, 0, nil, fmt.Errorf("%q is missing", path)
		}
		return io.NewSectionReader(a.source, e.Data, e.Size), e.Size, func() error { return nil }, nil
	}
	return checkpoint.OpenTree(open, files, gopath.Base(m.Name))
}
