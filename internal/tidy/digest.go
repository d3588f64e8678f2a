package tidy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// digest reads the whole stray. Of a link it is the digest of its text, of a directory that of a listing with
// the digests of what is in it.
func (s *stray) read(ctx context.Context) error {
	var err error
	switch s.shape {
	case shapeFile:
		s.digest, err = fileDigest(ctx, s.dir, s.name, s.stat)
	case shapeSymlink:
		var target string
		target, err = s.dir.Readlink(s.name)
		s.digest = textDigest(target)
	case shapeDir:
		s.digest, err = s.readInside(ctx)
	}
	return err
}

func textDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (s *stray) readInside(ctx context.Context) (string, error) {
	top, err := s.dir.Sub(s.name)
	if err != nil {
		return "", err
	}
	defer top.Close()
	for i := range s.inside {
		e := &s.inside[i]
		switch {
		case e.stat.IsRegular():
			if err := e.read(ctx, top); err != nil {
				return "", err
			}
		case e.stat.IsLink():
			e.digest = textDigest(e.target)
		}
	}
	return listingDigest(s.inside), nil
}

func (e *entry) read(ctx context.Context, top *tree.Dir) error {
	dir, err := top.Descend(path.Dir(e.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	e.digest, err = fileDigest(ctx, dir, path.Base(e.path), e.stat)
	return err
}

// listingDigest covers names, kinds and contents; not times, modes and owners.
func listingDigest(entries []entry) string {
	h := sha256.New()
	for _, e := range entries {
		fmt.Fprintf(h, "%s %d:%s %s\n", shapeOf(e.stat), len(e.path), e.path, e.digest)
	}
	return digestOf(h)
}

// fileDigest reads a file that must be the one of a state.
func fileDigest(ctx context.Context, dir *tree.Dir, name string, want tree.Stat) (string, error) {
	f, st, err := dir.OpenFile(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if !st.Same(want) {
		return "", leave("it changed while it was looked at")
	}
	h := sha256.New()
	if _, err := io.Copy(h, &quietReader{ctx: ctx, f: f}); err != nil {
		return "", fmt.Errorf("read %q: %w", f.Name(), err)
	}
	if st, err = tree.StatFile(f); err == nil && !st.Same(want) {
		err = leave("it changed while it was read")
	}
	return digestOf(h), err
}

// quietReader reads a file and does not keep in memory what it has read: that is for training.
type quietReader struct {
	ctx  context.Context
	f    *os.File
	done int64
}

const readPiece = 8 << 20

// Read implements io.Reader.
func (r *quietReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.f.Read(b)
	if before := r.done / readPiece; n > 0 {
		if r.done += int64(n); r.done/readPiece != before {
			_ = unix.Fadvise(int(r.f.Fd()), before*readPiece, readPiece, unix.FADV_DONTNEED)
		}
	}
	return n, err
}
