package checkpoint

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// maxScattered bounds a tensor whose elements do not lie in the order of its indexes: they are gathered.
const maxScattered = 1 << 28 // bytes

// TensorDigest returns the SHA-256, in hex, of the elements of a tensor of this checkpoint in the order of
// its indexes: two tensors of one dtype and shape with equal elements have equal digests, whatever their
// strides and storages. It is "" where the elements cannot be told: sparse and quantized tensors, formats
// whose layout is not read.
func (c *Checkpoint) TensorDigest(ctx context.Context, t Tensor) (string, error) {
	sum := sha256.New()
	switch {
	case c.Format == SafeTensors:
		var body int64
		for _, other := range c.tensors {
			body += other.Bytes
		}
		return finishDigest(sum, copySection(ctx, sum, c.source, c.Size-body+t.offset, t.Bytes))
	case c.torch == nil || t.Kind != "" && t.Kind != "parameter" || itemSizes[t.DType] == 0:
		return "", nil
	}
	b, found := c.torch.find(t.Storage)
	item := itemSizes[t.DType]
	switch {
	case !found:
		return "", nil
	case isDense(t):
		return finishDigest(sum, copySection(ctx, sum, c.source, b.offset+t.offset*item, t.Bytes))
	case t.Bytes > maxScattered:
		return "", nil
	}
	g := &gatherer{ctx: ctx, source: c.source, from: b.offset, tensor: t, item: item, out: bufio.NewWriterSize(sum, 1<<16)}
	return finishDigest(sum, g.gather())
}

func finishDigest(sum hash.Hash, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// isDense tells whether the elements lie in the order of the indexes, without gaps.
func isDense(t Tensor) bool {
	expected := int64(1)
	for i := len(t.Shape) - 1; i >= 0; i-- {
		if t.Shape[i] != 1 && t.stride[i] != expected {
			return numel(t.Shape) == 0
		}
		expected *= t.Shape[i]
	}
	return true
}

func copySection(ctx context.Context, w io.Writer, r io.ReaderAt, offset, size int64) error {
	section := io.NewSectionReader(r, offset, size)
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(w, section, min(left, 4<<20))
		if left -= n; err != nil {
			return fmt.Errorf("read %d bytes at %d: %w", size, offset, err)
		}
	}
	return nil
}

// gatherer writes the elements of a tensor in the order of its indexes, one by one.
type gatherer struct {
	ctx    context.Context
	source io.ReaderAt
	from   int64 // offset of the storage in the file
	tensor Tensor
	item   int64
	out    *bufio.Writer

	window []byte // of the storage, around the last element
	at     int64  // offset of the window in the storage
}

func (g *gatherer) gather() error {
	index := make([]int64, len(g.tensor.Shape))
	for range numel(g.tensor.Shape) {
		at := g.tensor.offset
		for i, x := range index {
			at += x * g.tensor.stride[i]
		}
		if err := g.element(at * g.item); err != nil {
			return err
		}
		for i := len(index) - 1; i >= 0; i-- {
			if index[i]++; index[i] < g.tensor.Shape[i] {
				break
			}
			index[i] = 0
		}
	}
	return g.out.Flush()
}

// element writes the element at an offset of the storage.
func (g *gatherer) element(offset int64) error {
	if offset < g.at || offset+g.item > g.at+int64(len(g.window)) {
		if err := g.ctx.Err(); err != nil {
			return err
		}
		if cap(g.window) == 0 {
			g.window = make([]byte, 1<<16)
		}
		g.window, g.at = g.window[:cap(g.window)], offset
		n, err := g.source.ReadAt(g.window, g.from+offset)
		if int64(n) < g.item {
			return fmt.Errorf("read an element at %d: %w", g.from+offset, err)
		}
		g.window = g.window[:n]
	}
	_, err := g.out.Write(g.window[offset-g.at : offset-g.at+g.item])
	return err
}

// Digest returns the SHA-256, in hex, of the whole file.
func (c *Checkpoint) Digest() (string, error) {
	sum := sha256.New()
	return finishDigest(sum, copySection(context.Background(), sum, c.source, 0, c.Size))
}
