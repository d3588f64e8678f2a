package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"os"
	"sync"
	"sync/atomic"

	"github.com/bundlewatch/bundlewatch/internal/archivefile"
	"github.com/bundlewatch/bundlewatch/internal/twinsum"
)

const (
	maxBlocks   = 8 // in memory for one archive: being filled, digested, written
	writers     = 4 // blocks that are written at once: what keeps a disk busy
	leastShared = 64 << 10
)

// Progress is told how many bytes were written since the last call. It may be called from any
// goroutine.
type Progress func(bytes int64)

// output is the archive being written. One goroutine fills its blocks from front to back; others
// digest them, for the archive and for the entry that the bytes belong to; others write them.
type output struct {
	*digests
	file *archivefile.File
	ctx  context.Context
	stop context.CancelCauseFunc

	free  chan *block
	made  int    // blocks
	block *block // that is being filled; nil before the first
	sent  int64  // offset up to which the bytes were handed to the digests
	// shared are ranges that were cloned and reach behind the block that is being filled.
	shared []archivefile.Range

	entry   hash.Hash   // of the bytes that are being filled, nil when nobody asked for it
	full    chan *block // for the writers
	writing sync.WaitGroup
}

// block is free again when it was digested and written.
type block struct {
	*archivefile.Block
	pending atomic.Int32
	free    chan<- *block
}

// passed tells that one of those that need the block is done with it.
func (b *block) passed() {
	if b.pending.Add(-1) == 0 {
		b.free <- b
	}
}

// newOutput makes the archive's file, for about size bytes. Parts of partSize bytes are digested as well, unless it is 0.
func newOutput(ctx context.Context, path string, size, partSize int64, progress Progress) (*output, error) {
	file, err := archivefile.Create(path, size)
	if err != nil {
		return nil, err
	}
	o := &output{digests: newDigests(partSize, !twinsum.Cheaper(), progress), file: file, free: make(chan *block, maxBlocks),
		full: make(chan *block, maxBlocks)}
	o.ctx, o.stop = context.WithCancelCause(ctx)
	for range writers {
		o.writing.Go(o.write)
	}
	return o, nil
}

func (o *output) write() {
	for b := range o.full {
		if o.ctx.Err() == nil {
			if err := o.file.Write(b.Block); err != nil {
				o.stop(err)
			}
		}
		b.passed()
	}
}

// offset returns where in the archive the next byte goes.
func (o *output) offset() int64 {
	if o.block == nil {
		return 0
	}
	return o.block.End()
}

// begin makes what is filled from now on part of an entry and returns its digest, which is complete after
// the next call of begin or end and then [output.settle].
func (o *output) begin() hash.Hash {
	o.hand()
	o.entry = sha256.New()
	return o.entry
}

// end makes what is filled from now on part of no entry.
func (o *output) end() {
	o.hand()
	o.entry = nil
}

// room returns memory for the bytes that follow, at least one.
func (o *output) room() ([]byte, error) {
	if err := cause(o.ctx); err != nil {
		return nil, err
	}
	if o.block == nil || len(o.block.Room()) == 0 {
		if err := o.nextBlock(); err != nil {
			return nil, err
		}
	}
	return o.block.Room(), nil
}

// filled tells that the first n bytes of the room are there.
func (o *output) filled(n int) { o.block.Fill(n) }

func (o *output) append(data []byte) error {
	for len(data) > 0 {
		room, err := o.room()
		if err != nil {
			return err
		}
		n := copy(room, data)
		o.filled(n)
		data = data[n:]
	}
	return nil
}

func (o *output) nextBlock() error {
	at := o.offset()
	o.seal()
	var b *block
	if o.made < maxBlocks && len(o.free) == 0 {
		b = &block{Block: archivefile.NewBlock(), free: o.free}
		o.made++
	} else {
		select {
		case b = <-o.free:
		case <-o.ctx.Done():
			return cause(o.ctx)
		}
	}
	b.Reset(at)
	o.block = b
	for _, r := range o.shared {
		b.Skip(r)
	}
	return nil
}

// hand gives what was filled to the digests.
func (o *output) hand() {
	if o.block == nil || o.sent == o.block.End() {
		return
	}
	o.digests.add(o.block.Since(o.sent), o.entry)
	o.sent = o.block.End()
}

// seal gives the block to the digests and to the writers.
func (o *output) seal() {
	if o.block == nil {
		return
	}
	o.hand()
	o.block.pending.Store(o.users() + 1)
	o.digests.seal(o.block)
	o.full <- o.block
	o.block = nil
}

// share makes the bytes that are filled next share the extents that they have in source, as far as the file
// system can. They are filled all the same, to be digested, but not written.
func (o *output) share(source *os.File, from, size int64) error {
	if size < leastShared {
		return nil
	}
	r, err := o.file.Clone(source, from, o.offset(), size)
	if err != nil || r.Size() == 0 {
		return err
	}
	if o.block != nil {
		o.block.Skip(r)
	}
	o.shared = append(o.shared[:0], r) // what was shared before lies in front of this
	return nil
}

// finish writes what is left and syncs the file, unless err says that the archive is given up. It returns
// the size of the archive.
func (o *output) finish(err error) (int64, error) {
	size := o.offset()
	o.seal()
	if err != nil {
		o.stop(err)
	}
	o.digests.finish()
	close(o.full)
	o.writing.Wait()
	failed := cause(o.ctx)
	o.stop(nil)
	if failed != nil {
		return 0, errors.Join(failed, o.file.Close())
	}
	return size, o.file.Finish(size)
}
