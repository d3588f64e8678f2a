package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/bundlewatch/bundlewatch/internal/archivefile"
)

const (
	maxBlocks    = 8 // in memory for one archive: being filled, digested, written
	writers      = 4 // blocks that are written at once: what keeps a disk busy
	leastShared  = 64 << 10
	viewsInQueue = 64
)

// Progress is told how many bytes were written since the last call. It may be called from any
// goroutine.
type Progress func(bytes int64)

// output is the archive being written. One goroutine fills its blocks from front to back; two others
// digest them, for the entry that the bytes belong to and for the archive; others write what was
// digested.
type output struct {
	file     *archivefile.File
	progress Progress
	ctx      context.Context
	stop     context.CancelCauseFunc

	free  chan *block
	made  int    // blocks
	block *block // that is being filled; nil before the first
	sent  int64  // offset up to which the bytes were handed to the digests
	// shared are ranges that were cloned and reach behind the block that is being filled.
	shared []archivefile.Range

	archive hash.Hash
	entry   hash.Hash // of the bytes that are being filled, nil when nobody asked for it
	parts   *partSums // nil when nobody asked for them
	// toEntry, toArchive and toParts feed the digests, full the writers.
	toEntry, toArchive, toParts chan view
	full                        chan *block
	digesting, writing          sync.WaitGroup
}

// block is written when all digests have passed it.
type block struct {
	*archivefile.Block
	pending atomic.Int32
}

// view is what a digest is to do next.
type view struct {
	data   []byte        // to be added to sum
	sum    io.Writer     //
	sealed *block        // was seen to its end
	passed chan struct{} // is closed when all before was digested
}

// newOutput makes the archive's file, for about size bytes. Parts of partSize bytes are digested as well, unless it is 0.
func newOutput(ctx context.Context, path string, size, partSize int64, progress Progress) (*output, error) {
	file, err := archivefile.Create(path, size)
	if err != nil {
		return nil, err
	}
	o := &output{file: file, progress: progress, free: make(chan *block, maxBlocks), archive: sha256.New(),
		toEntry: make(chan view, viewsInQueue), toArchive: make(chan view, viewsInQueue), full: make(chan *block, maxBlocks)}
	o.ctx, o.stop = context.WithCancelCause(ctx)
	o.digesting.Go(func() { o.digest(o.toEntry, nil) })
	o.digesting.Go(func() { o.digest(o.toArchive, progress) })
	if partSize > 0 {
		o.parts, o.toParts = newPartSums(partSize), make(chan view, viewsInQueue)
		o.digesting.Go(func() { o.digest(o.toParts, nil) })
	}
	for range writers {
		o.writing.Go(o.write)
	}
	return o, nil
}

func (o *output) digest(views <-chan view, progress Progress) {
	for v := range views {
		if len(v.data) > 0 {
			_, _ = v.sum.Write(v.data) // digests do not fail
			if progress != nil {
				progress(int64(len(v.data)))
			}
		}
		if v.passed != nil {
			close(v.passed)
		}
		if v.sealed != nil && v.sealed.pending.Add(-1) == 0 {
			o.full <- v.sealed
		}
	}
}

func (o *output) write() {
	for b := range o.full {
		if o.ctx.Err() == nil {
			if err := o.file.Write(b.Block); err != nil {
				o.stop(err)
			}
		}
		o.free <- b
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
	o.send()
	o.entry = sha256.New()
	return o.entry
}

// end makes what is filled from now on part of no entry.
func (o *output) end() {
	o.send()
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
		b = &block{Block: archivefile.NewBlock()}
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

// send hands what was filled to the digests.
func (o *output) send() {
	if o.block == nil || o.sent == o.block.End() {
		return
	}
	data := o.block.Since(o.sent)
	o.sent = o.block.End()
	o.toArchive <- view{data: data, sum: o.archive}
	if o.parts != nil {
		o.toParts <- view{data: data, sum: o.parts}
	}
	if o.entry != nil {
		o.toEntry <- view{data: data, sum: o.entry}
	}
}

// seal gives the block to the digests, and by them to the writers.
func (o *output) seal() {
	if o.block == nil {
		return
	}
	o.send()
	queues := o.queues()
	o.block.pending.Store(int32(len(queues)))
	for _, q := range queues {
		q <- view{sealed: o.block}
	}
	o.block = nil
}

// queues are those of all digests.
func (o *output) queues() []chan view {
	if o.parts != nil {
		return []chan view{o.toArchive, o.toParts, o.toEntry}
	}
	return []chan view{o.toArchive, o.toEntry}
}

// settle waits until all entries that ended are digested.
func (o *output) settle() {
	passed := make(chan struct{})
	o.toEntry <- view{passed: passed}
	<-passed
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
	for _, q := range o.queues() {
		close(q)
	}
	o.digesting.Wait()
	close(o.full)
	o.writing.Wait()
	failed := cause(o.ctx)
	o.stop(nil)
	if failed != nil {
		return 0, errors.Join(failed, o.file.Close())
	}
	return size, o.file.Finish(size)
}
