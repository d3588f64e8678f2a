package bucket

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
	"github.com/bundlewatch/bundlewatch/internal/pagecache"
)

// ErrDamaged tells that a file of the local bundle is not what its digest says.
var ErrDamaged = fmt.Errorf("%w: bundlewatch verify shows where", backlog.ErrDamaged)

// Local is a published bundle on the local disk, with its files open.
type Local struct {
	place   string
	archive string // SHA-256
	sums    string // SHA-256 of SHA256SUMS
	head    *bundle.Head
	files   []*localFile // the archive first
}

// largeFile is the size in bytes from which a file is read past the page cache, which belongs to training.
const largeFile = 4 << 20

type localFile struct {
	name   string // base
	path   string // in the store, below data/<place>/
	size   int64
	digest string
	file   *os.File
	source io.ReaderAt       // the file, or pages
	pages  *pagecache.Reader // nil of a file that is small

	md5s    map[int64][][md5.Size]byte // by size of part, 0 for the whole
	vouched bool                       // the store took it just now and attested its digest; known of small files alone

	mu     sync.Mutex
	parts  map[int64][][sha256.Size]byte // digests by size of part
	given  int64                         // size of the parts whose digests are in the manifest, 0 for none
	stands int64                         // size of the parts that the store has it in, 0 as long as that is not known
}

// OpenLocal opens the bundle in a directory, to be published at a place. Only what is small is read.
func OpenLocal(dir, place string) (_ *Local, err error) {
	head, manifest, err := bundle.ReadHead(dir)
	if err != nil {
		return nil, err
	}
	if err := bundle.CheckSums(dir, head, manifest); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	l := &Local{place: place, archive: head.Archive.SHA256, head: head}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	sums, digests, err := bundle.ReadSums(dir)
	if err != nil {
		return nil, err
	}
	l.sums = hexSum(sums)
	if err := l.add(dir, bundle.ArchiveName, l.archive, l.archive+"/"); err != nil {
		return nil, err
	}
	if a := l.files[0]; a.size != head.Archive.Bytes {
		return nil, fmt.Errorf("%w: the archive has %d bytes instead of %d", ErrDamaged, a.size, head.Archive.Bytes)
	}
	if p := head.Parts; p != nil {
		if err := l.files[0].takeParts(p); err != nil {
			return nil, err
		}
	}
	digests[bundle.SumsName] = l.sums
	for _, name := range []string{bundle.ManifestName, bundle.TreeName, bundle.SumsName} {
		if err := l.add(dir, name, digests[name], l.archive+"/"+l.sums+"/"); err != nil {
			return nil, err
		}
	}
	return l, l.addSignature(dir)
}

// addSignature adds the file that not every bundle has, and that no digest is written of.
func (l *Local) addSignature(dir string) error {
	err := l.add(dir, bundle.SignatureName, "", l.archive+"/"+l.sums+"/")
	switch {
	case errors.Is(err, fs.ErrNotExist) && l.head.Provenance.SignedBy == "":
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		return err
	}
	f := l.files[len(l.files)-1]
	if f.size > maxSmall {
		return fmt.Errorf("%w: %s has %d bytes, more than the %d of any such file", ErrDamaged, f.name, f.size, maxSmall)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f.source, 0, f.size)); err != nil {
		return fmt.Errorf("read %q: %w", f.file.Name(), err)
	}
	f.digest = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// has tells whether the small files that a name names are those of the bundle.
func (l *Local) has(n *Name) bool {
	if n.Sums != l.sums || len(n.Files) != len(l.files) {
		return false
	}
	return !slices.ContainsFunc(n.Files, func(s Stored) bool {
		return !slices.ContainsFunc(l.files, func(f *localFile) bool { return f.path == s.Path && f.digest == s.SHA256 })
	})
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (l *Local) add(dir, name, digest, folder string) error {
	// A link would make a file elsewhere part of the bundle; a pipe would be waited for.
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%w: %s is a symbolic link", ErrDamaged, name)
	}
	if err != nil {
		return err
	}
	l.files = append(l.files, &localFile{name: name, path: folder + name, digest: digest, file: f, parts: map[int64][][sha256.Size]byte{}})
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no regular file", ErrDamaged, name)
	}
	if err != nil {
		return err
	}
	last := l.files[len(l.files)-1]
	last.size, last.source = info.Size(), f
	if last.size >= largeFile {
		last.pages = pagecache.NewReader(f, info.Size())
		last.source = last.pages
	}
	return nil
}

// Place returns where the bundle is published, and Archive the SHA-256 of its archive.
func (l *Local) Place() string { return l.place }

// Archive returns the SHA-256 of the archive in hex.
func (l *Local) Archive() string { return l.archive }

// Size returns the bytes of all files.
func (l *Local) Size() (n int64) {
	for _, f := range l.files {
		n += f.size
	}
	return n
}

// Close closes the files, and leaves the page cache as it was.
func (l *Local) Close() {
	for _, f := range l.files {
		if f.pages != nil {
			f.pages.Drop()
		}
		f.file.Close()
	}
}

// takeParts accepts digests that were computed when the archive was written.
func (f *localFile) takeParts(p *bundle.Parts) error {
	if p.Size < 1 || int64(len(p.SHA256)) != (f.size+p.Size-1)/p.Size {
		return fmt.Errorf("%w: the manifest has %d digests of parts of %d bytes for an archive of %d", ErrDamaged, len(p.SHA256), p.Size, f.size)
	}
	sums := make([][sha256.Size]byte, len(p.SHA256))
	for i, text := range p.SHA256 {
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != sha256.Size {
			return fmt.Errorf("%w: digest %d of the parts in the manifest is none", ErrDamaged, i+1)
		}
		sums[i] = [sha256.Size]byte(raw)
	}
	f.parts[p.Size], f.given = sums, p.Size
	return nil
}

// plan returns the size of the parts that the file is sent in, 0 for one request: that of the digests which are there,
// if it is one that stores take.
func (f *localFile) plan(partSize int64) int64 {
	if f.size <= partSize {
		return 0
	}
	if n := len(f.parts[f.given]); f.given >= min(MinPartSize, partSize) && n > 1 && n <= maxParts {
		return f.given
	}
	return bundle.PartSize(f.size, partSize)
}

// digests returns those of the parts of a size. What nobody computed yet is read now, and held against the digest
// of the whole.
func (f *localFile) digests(ctx context.Context, size int64) ([][sha256.Size]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sums, known := f.parts[size]; known {
		return sums, nil
	}
	whole := sha256.New()
	var sums [][sha256.Size]byte
	buffer := make([]byte, 1<<20)
	for offset := int64(0); offset < f.size; offset += size {
		part := sha256.New()
		r := contextReader{ctx, io.NewSectionReader(f.source, offset, min(size, f.size-offset))}
		if _, err := io.CopyBuffer(io.MultiWriter(part, whole), r, buffer); err != nil {
			return nil, fmt.Errorf("read %q: %w", f.file.Name(), err)
		}
		sums = append(sums, [sha256.Size]byte(part.Sum(nil)))
	}
	if got := hex.EncodeToString(whole.Sum(nil)); got != f.digest {
		return nil, fmt.Errorf("%w: %q has the SHA-256 %s instead of %s", ErrDamaged, f.file.Name(), got, f.digest)
	}
	f.parts[size] = sums
	return sums, nil
}

// md5Of returns the MD5s of the parts of a size, or with 0 of the whole in one. They are for stores that attest nothing
// better, so they are computed when they are asked for, in a read that is held against the SHA-256 of the whole.
func (f *localFile) md5Of(ctx context.Context, size int64) ([][md5.Size]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sums, known := f.md5s[size]; known {
		return sums, nil
	}
	whole := sha256.New()
	var sums [][md5.Size]byte
	buffer := make([]byte, 1<<20)
	for offset, step := int64(0), cmp.Or(size, max(f.size, 1)); offset < f.size || len(sums) == 0; offset += step {
		part := md5.New()
		r := contextReader{ctx, io.NewSectionReader(f.source, offset, min(step, f.size-offset))}
		if _, err := io.CopyBuffer(io.MultiWriter(part, whole), r, buffer); err != nil {
			return nil, fmt.Errorf("read %q: %w", f.file.Name(), err)
		}
		sums = append(sums, [md5.Size]byte(part.Sum(nil)))
	}
	if got := hex.EncodeToString(whole.Sum(nil)); got != f.digest {
		return nil, fmt.Errorf("%w: %q has the SHA-256 %s instead of %s", ErrDamaged, f.file.Name(), got, f.digest)
	}
	if f.md5s == nil {
		f.md5s = make(map[int64][][md5.Size]byte)
	}
	f.md5s[size] = sums
	return sums, nil
}

// etag is the one that the file has in a store whose ETags are MD5s, in parts of a size or with 0 in one.
func (f *localFile) etag(ctx context.Context, size int64) (string, error) {
	sums, err := f.md5Of(ctx, size)
	if err != nil {
		return "", err
	}
	if size == 0 {
		return hex.EncodeToString(sums[0][:]), nil
	}
	return objectstore.CompositeETag(sums), nil
}

// bears tells whether an ETag that is an MD5 is that of this file, in whatever parts it was sent.
func (f *localFile) bears(ctx context.Context, etag string) (bool, error) {
	_, number, composite := strings.Cut(etag, "-")
	sizes := []int64{0}
	if composite {
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 1 {
			return false, nil
		}
		sizes = f.sizes(n)
	}
	for _, size := range sizes {
		own, err := f.etag(ctx, size)
		if err != nil {
			return false, err
		}
		if own == etag {
			f.stands = size
			return true, nil
		}
	}
	return false, nil
}

type contextReader struct {
	context.Context
	io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.Err(); err != nil {
		return 0, context.Cause(c.Context)
	}
	return c.Reader.Read(b)
}

// whole returns the digest of the file.
func (f *localFile) whole() (sum [sha256.Size]byte) {
	_, _ = hex.Decode(sum[:], []byte(f.digest)) // one by the check of the sums
	return sum
}

// attests tells whether a checksum that a store attests is that of this file, in whatever parts it was sent.
func (f *localFile) attests(ctx context.Context, checksum string) (bool, error) {
	_, number, composite := strings.Cut(checksum, "-")
	if !composite {
		sum := f.whole()
		return checksum == base64.StdEncoding.EncodeToString(sum[:]), nil
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 1 {
		return false, nil
	}
	for _, size := range f.sizes(n) {
		sums, err := f.digests(ctx, size)
		if err != nil {
			return false, err
		}
		if objectstore.Composite(sums) == checksum {
			f.stands = size
			return true, nil
		}
	}
	return false, nil
}

// sizes returns what parts may have been when there were n: those that are known first, then powers of two.
func (f *localFile) sizes(n int64) (sizes []int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for size, sums := range f.parts {
		if int64(len(sums)) == n {
			sizes = append(sizes, size)
		}
	}
	for size := int64(1 << 20); size <= 5<<30; size *= 2 {
		if (f.size+size-1)/size == n && f.parts[size] == nil {
			sizes = append(sizes, size)
		}
	}
	return sizes
}
