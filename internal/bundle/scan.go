package bundle

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"

	"github.com/bundlewatch/bundlewatch/internal/twinsum"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// scan is what one pass over the file of an archive tells.
type scan struct {
	*archive       // nil where the file is none
	broken   error // why
	file     io.ReadCloser
	size     int64
	whole    Digest
	entries  map[*zipfile.Entry]*entrySum // those that are stored
}

// entrySum is the digest of an entry, of whose bytes so many are to come.
type entrySum struct {
	entry *zipfile.Entry
	left  int64
	sum   hash.Hash
	crc   uint32
}

// openScan opens a file for [scan.run]. What is returned is to be closed. The error is about a file that cannot be opened.
func openScan(path string) (*scan, error) {
	f, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	s := &scan{file: f, size: size, whole: Digest{Name: filepath.Base(path)}, entries: make(map[*zipfile.Entry]*entrySum)}
	s.archive, s.broken = openArchive(f, size)
	return s, nil
}

// close may be called on nil.
func (s *scan) close() {
	if s != nil {
		s.file.Close()
	}
}

// stored are the entries that are stored, as they lie in the file.
func (s *scan) stored() []*entrySum {
	if s.archive == nil {
		return nil
	}
	var all []*entrySum
	for i := range s.directory.Entries {
		if e := &s.directory.Entries[i]; e.Method == zipfile.Stored {
			s.entries[e] = &entrySum{entry: e, left: e.Size, sum: sha256.New()}
			all = append(all, s.entries[e])
		}
	}
	slices.SortFunc(all, func(a, b *entrySum) int { return cmp.Compare(a.entry.Data, b.entry.Data) })
	return all
}

// run reads the file from front to back, for its own digest, those of the entries, and those of parts unless that is nil.
func (s *scan) run(ctx context.Context, parts *partSums) error {
	whole, buffer := sha256.New(), make([]byte, scanBuffer)
	left := s.stored()
	for {
		n, err := io.ReadFull(contextReader{ctx, s.file}, buffer)
		left = s.take(whole, buffer[:n], left)
		if parts != nil {
			_, _ = parts.Write(buffer[:n]) // digests do not fail
		}
		s.whole.Bytes += int64(n)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			s.whole.SHA256 = hex.EncodeToString(whole.Sum(nil))
			return nil
		case err != nil:
			return err
		}
	}
}

const scanBuffer = 512 << 10 // bytes

// take adds the next bytes of the file, and returns the entries that go on behind them.
func (s *scan) take(whole hash.Hash, data []byte, left []*entrySum) []*entrySum {
	at := s.whole.Bytes
	for len(data) > 0 && len(left) > 0 {
		e := left[0]
		if between := min(e.entry.Data-at, int64(len(data))); between > 0 {
			whole.Write(data[:between])
			data, at = data[between:], at+between
			continue
		}
		n := min(e.left, int64(len(data)))
		twinsum.Write(whole, e.sum, data[:n])
		e.crc = crc32.Update(e.crc, crc32.IEEETable, data[:n])
		data, at = data[n:], at+n
		if e.left -= n; e.left == 0 {
			left = left[1:]
		}
	}
	whole.Write(data)
	return left
}

// digest returns the SHA-256 of a whole entry, of which the CRC was checked.
func (s *scan) digest(ctx context.Context, e *zipfile.Entry) (Digest, error) {
	sum, ok := s.entries[e]
	if !ok {
		return s.archive.digest(ctx, e)
	}
	read := e.Size - sum.left
	return Digest{Name: e.Name, Bytes: read, SHA256: hex.EncodeToString(sum.sum.Sum(nil))}, checkContent(e, read, sum.crc)
}

// scanRegular scans the archive of a bundle, which has to be a regular file itself. Its parts are digested where that is
// asked for.
func scanRegular(ctx context.Context, path string, parts *partSums) (*scan, error) {
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	s, err := openScan(path)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, parts); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}
