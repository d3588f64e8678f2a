package watch

import (
	"context"
	"runtime"
	"slices"
)

const (
	// aheadMost is how many directories are handed over at most, each of which is open.
	aheadMost = 32
	// aheadBatch is how many are handed over at once: to wake another goroutine costs as much as to read one.
	aheadBatch = 8
	// aheadBuffer is how many bytes of names are read at most; the owner reads on.
	aheadBuffer = 32 << 10
)

// ahead sets the watches of directories and reads the names in them while the owner is at others: that is half of
// what a listing asks of the kernel. It does nothing else, and not on network file systems, where each call may
// hang, nor where there are no watches: polling is to take little. It lasts for one slice of work of the owner, at
// whose end all that was handed over has been learnt: no event is looked at meanwhile.
type ahead struct {
	unread chan []*listing
	// read is in the order of handing over, and has room for all.
	read chan *listing
	// batch is yet to be handed over, out was and did not come back, back came back and is yet to be learnt; each
	// is in order.
	batch, out, back []*listing
}

// startAhead begins to read ahead, where there is a processor for it. The function that it returns ends that.
func (o *owner) startAhead(ctx context.Context) (end func()) {
	if runtime.GOMAXPROCS(0) < 2 {
		return func() {}
	}
	a := &ahead{unread: make(chan []*listing, aheadMost), read: make(chan *listing, aheadMost)}
	o.ahead = a
	go func() {
		defer close(a.read)
		for batch := range a.unread {
			for _, l := range batch {
				l.fill(ctx)
				a.read <- l
			}
		}
	}()
	return func() {
		for o.readsAhead() {
			o.learnNext(ctx)
		}
		close(a.unread)
		<-a.read
		o.ahead = nil
	}
}

// readsAhead tells that there is something that was handed over and is not learnt.
func (o *owner) readsAhead() bool {
	return o.ahead != nil && len(o.ahead.batch)+len(o.ahead.out)+len(o.ahead.back) > 0
}

// handOver lets an open directory be read, and be watched before that when it is to be.
func (o *owner) handOver(ctx context.Context, d *dir, fd int) {
	l := o.freeListing()
	l.begin(d, fd)
	if o.followable(d) {
		l.notifier, l.path = o.notifier, o.absolute(d.path())
	}
	a := o.ahead
	d.ahead = true
	a.batch = append(a.batch, l)
	if len(a.batch) < aheadBatch {
		return
	}
	a.send()
	for len(a.out)+len(a.back) > aheadMost-aheadBatch {
		o.learnNext(ctx)
	}
}

// freeListing returns a listing that is not in use.
func (o *owner) freeListing() *listing {
	last := len(o.free) - 1
	if last < 0 {
		return &listing{buffer: make([]byte, aheadBuffer)}
	}
	l := o.free[last]
	o.free = o.free[:last]
	return l
}

// send hands the batch over.
func (a *ahead) send() {
	if len(a.batch) > 0 {
		a.unread <- a.batch
		a.out = append(a.out, a.batch...)
		a.batch = nil
	}
}

// learnNext learns what was handed over first.
func (o *owner) learnNext(ctx context.Context) {
	a := o.ahead
	if len(a.back) == 0 {
		if len(a.out) == 0 {
			a.send()
		}
		o.receive()
	}
	l := a.back[0]
	a.back = slices.Delete(a.back, 0, 1)
	o.enter("list", l.dir, "")
	defer o.pulse.leave()
	o.learn(ctx, l)
	l.close()
	o.free = append(o.free, l)
}

// receive waits for what was handed over first and did not come back. From then on it is known whether it has a
// watch.
func (o *owner) receive() {
	a := o.ahead
	var l *listing
	select {
	case l = <-a.read:
	default:
		call := o.pulse.call.Load()
		o.enter("list", a.out[0].dir, "")
		l = <-a.read
		o.pulse.call.Store(call)
	}
	a.out = slices.Delete(a.out, 0, 1)
	a.back = append(a.back, l)
	l.dir.ahead = false
	if l.notifier != nil {
		o.followed(l.dir, l.unwatched)
	}
}

// await waits until d is not being read. It does not learn what was read.
func (o *owner) await(d *dir) {
	if !d.ahead {
		return
	}
	o.ahead.send()
	for d.ahead {
		o.receive()
	}
}
