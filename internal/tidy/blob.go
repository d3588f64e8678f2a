package tidy

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// holds tells whether the stray itself has the content that an entry of the index names, as it is.
func (s *stray) holds(ctx context.Context, repo *repository, item indexItem) bool {
	rel := strings.TrimPrefix(string(item.Path), repo.prefix)
	dir, err := s.dir.Descend(path.Dir(rel))
	if err != nil {
		return false
	}
	defer dir.Close()
	name := path.Base(rel)
	if item.Mode == "120000" {
		target, err := dir.Readlink(name)
		return err == nil && blobName(strings.NewReader(target), int64(len(target)), item.Blob) == item.Blob
	}
	return fileBlob(ctx, dir, name, item.Blob) == item.Blob
}

func fileBlob(ctx context.Context, dir *tree.Dir, name, like string) string {
	f, st, err := dir.OpenFile(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	return blobName(&quietReader{ctx: ctx, f: f}, st.Size, like)
}

// blobName returns the name that git gives to content, by the hash that another name was made with.
func blobName(content io.Reader, size int64, like string) string {
	var h hash.Hash = sha1.New()
	if len(like) == 2*sha256.Size {
		h = sha256.New()
	}
	fmt.Fprintf(h, "blob %d\x00", size)
	if _, err := io.Copy(h, content); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}
