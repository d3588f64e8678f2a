package bundle

import (
	"crypto/sha256"
	"hash"
	"runtime"
	"sync"

	"github.com/bundlewatch/bundlewatch/internal/twinsum"
)

const viewsInQueue = 64

// digests are those of an archive, of its entries, and of its parts. The archive's is what all else waits for.
type digests struct {
	archive hash.Hash
	parts   *partSums // nil when nobody asked for them

	progress Progress
	// views are for the digest of the archive, toParts for those of the parts. toEntries are views that were added to the
	// digest of the archive, and not to that of their entry, which is left to another core; nil where both are done at once.
	views, toEntries, toParts chan view
	running                   sync.WaitGroup
}

// view is what the digests are to do next.
type view struct {
	data   []byte        // to be added to the archive's digest
	entry  hash.Hash     // and to this; nil for none
	sealed *block        // was seen to its end
	passed chan struct{} // is closed when all before was digested
}

// done tells that all digests but those of parts are past the view.
func (v view) done() {
	if v.passed != nil {
		close(v.passed)
	}
	if v.sealed != nil {
		v.sealed.passed()
	}
}

func newDigests(partSize int64, apart bool, progress Progress) *digests {
	d := &digests{archive: sha256.New(), progress: progress, views: make(chan view, viewsInQueue)}
	if apart {
		d.toEntries = make(chan view, viewsInQueue)
		d.running.Go(d.digestEntries)
	}
	d.running.Go(d.digest)
	if partSize > 0 {
		d.parts, d.toParts = newPartSums(partSize), make(chan view, viewsInQueue)
		d.running.Go(d.digestParts)
	}
	return d
}

// users returns how many look at each block.
func (d *digests) users() int32 {
	if d.parts != nil {
		return 2
	}
	return 1
}

// add hands over bytes that follow those before, of an entry or of none (nil). They must stay until their block is free.
func (d *digests) add(data []byte, entry hash.Hash) { d.send(view{data: data, entry: entry}) }

// seal tells that no more bytes of the block come.
func (d *digests) seal(b *block) { d.send(view{sealed: b}) }

func (d *digests) send(v view) {
	if d.parts != nil {
		d.toParts <- v
	}
	d.views <- v
}

// settle waits until all entries that ended are digested.
func (d *digests) settle() {
	passed := make(chan struct{})
	d.views <- view{passed: passed}
	<-passed
}

// finish waits until everything is digested.
func (d *digests) finish() {
	close(d.views)
	if d.parts != nil {
		close(d.toParts)
	}
	d.running.Wait()
}

func (d *digests) digest() {
	runtime.LockOSThread() // on one core, as far as the kernel lets it: everything waits for this
	defer runtime.UnlockOSThread()
	apart := d.toEntries != nil
	if apart {
		defer close(d.toEntries)
	}
	for v := range d.views {
		if apart || v.entry == nil {
			d.archive.Write(v.data)
		} else {
			twinsum.Write(d.archive, v.entry, v.data)
		}
		if d.progress != nil && len(v.data) > 0 {
			d.progress(int64(len(v.data)))
		}
		if apart {
			d.toEntries <- v
		} else {
			v.done()
		}
	}
}

func (d *digests) digestEntries() {
	for v := range d.toEntries {
		if v.entry != nil {
			v.entry.Write(v.data)
		}
		v.done()
	}
}

func (d *digests) digestParts() {
	for v := range d.toParts {
		_, _ = d.parts.Write(v.data) // digests do not fail
		if v.sealed != nil {
			v.sealed.passed()
		}
	}
}
