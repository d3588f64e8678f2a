package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"
)

// Parts are digests of the archive in parts of one size, the last of which may be smaller: what a store of objects
// is told before it gets them.
type Parts struct {
	Size   int64    `json:"part_size" doc:"bytes of a part"`
	SHA256 []string `json:"sha256" doc:"SHA-256 of each part in hex"`
}

// maxParts is what S3 allows in one object.
const maxParts = 10_000

// PartSize returns the size of the parts that a file of so many bytes is sent in: want, or so many times twice of it
// that there are no more than 10,000.
func PartSize(size, want int64) int64 {
	for (size+want-1)/want > maxParts {
		want *= 2
	}
	return want
}

// partSums digests a stream in parts.
type partSums struct {
	size, left int64
	sum        hash.Hash
	sums       []string
}

func newPartSums(size int64) *partSums { return &partSums{size: size, left: size, sum: sha256.New()} }

// Write implements [io.Writer].
func (p *partSums) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		take := min(int64(len(b)), p.left)
		p.sum.Write(b[:take])
		b = b[take:]
		if p.left -= take; p.left == 0 {
			p.end()
		}
	}
	return n, nil
}

func (p *partSums) end() {
	p.sums = append(p.sums, hex.EncodeToString(p.sum.Sum(nil)))
	p.sum.Reset()
	p.left = p.size
}

// finish returns the digests, nil of a stream that is no longer than one part.
func (p *partSums) finish() *Parts {
	if p == nil {
		return nil
	}
	if p.left < p.size {
		p.end()
	}
	if len(p.sums) < 2 {
		return nil
	}
	return &Parts{Size: p.size, SHA256: p.sums}
}

// claimedParts returns what computes the digests that the manifest in a directory claims, nil where it claims none.
func claimedParts(dir string) *partSums {
	h, _, err := ReadHead(dir)
	if err != nil || h.Parts == nil || h.Parts.Size < 1 {
		return nil
	}
	return newPartSums(h.Parts.Size)
}

// hold tells whether the digests of what was written are those that were claimed.
func (p *partSums) hold(claimed *Parts) bool {
	got := p.finish()
	if claimed == nil || got == nil {
		return claimed == nil && got == nil
	}
	return claimed.Size == got.Size && slices.Equal(claimed.SHA256, got.SHA256)
}
