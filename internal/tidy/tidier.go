package tidy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// Options are what a pass or an undo needs besides the config.
type Options struct {
	// Tool is the program's name and version, for the records.
	Tool string
	// Emit receives every event, from the goroutine of the call.
	Emit func(Event)
	// DryRun tells what would be moved and changes nothing.
	DryRun bool
	// Resume lets a block go on that the storm guard has stopped.
	Resume bool
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

// Tidier keeps one root tidy. It is used from one goroutine.
type Tidier struct {
	block    config.Tidy
	watch    *config.Watch // whose captures move_to uses; nil for none
	reserved *reserved
	opts     Options
	due      time.Time // when a stray becomes old enough; zero for none
	settled  bool      // what a crash left was looked for
	resumed  bool      // Options.Resume was done
	lost     bool      // the root was missing
	// unattended: no person asked for the pass, so what a person has put back is left alone.
	unattended bool
	stamp      time.Time // the {utc} of a pass that made a directory and moved nothing into it; zero for none
	refusals   map[string]refusal
}

// refusal is a move that was refused after the stray was read.
type refusal struct {
	stat  tree.Stat
	until time.Time
	err   error
}

// refusedFor is how long a stray that did not change is not tried again.
const refusedFor = time.Hour

// New returns the tidier of a block of the config c.
func New(block config.Tidy, c *config.Config, opts Options) *Tidier {
	t := &Tidier{block: block, reserved: newReserved(c), opts: opts, refusals: make(map[string]refusal)}
	for i, w := range c.Watches {
		if block.Watch != "" && w.Name == block.Watch {
			t.watch = &c.Watches[i]
		}
	}
	return t
}

// wake asks for a pass at a time.
func (t *Tidier) wake(at time.Time) {
	if t.due.IsZero() || at.Before(t.due) {
		t.due = at
	}
}

func (t *Tidier) emit(kind Kind, s *stray, to string, reason error) {
	e := Event{Kind: kind, Root: t.block.Root, To: to}
	if s != nil {
		e.From, e.Bytes, e.Digest, e.Git = s.path(), s.bytes, s.digest, s.git
	}
	if reason != nil {
		e.Reason = reason.Error()
	}
	t.opts.Emit(e)
}

func (t *Tidier) emitName(kind Kind, path string, reason error) {
	t.opts.Emit(Event{Kind: kind, Root: t.block.Root, From: path, Reason: reason.Error()})
}

// Pass looks at the root once and moves what is to be moved. What happens is told by events. It returns when the
// next stray becomes old enough, zero when none is waited for; the error is ctx's.
func (t *Tidier) Pass(ctx context.Context) (due time.Time, err error) {
	t.due = time.Time{}
	root, err := tree.Open(t.block.Root)
	if err != nil {
		t.lost = true
		t.emit(RootGone, nil, "", err)
		return time.Time{}, ctx.Err()
	}
	defer root.Close()
	if t.lost {
		t.lost = false
		t.emit(RootBack, nil, "", nil)
	}
	unlock, err := lock(ctx, root)
	if err == nil {
		defer unlock()
		err = t.pass(ctx, root)
	}
	if err != nil && ctx.Err() == nil {
		kind := Refused
		if isDisk(err) {
			kind = Failed
		}
		t.emit(kind, nil, "", err)
	}
	return t.due, ctx.Err()
}

func (t *Tidier) pass(ctx context.Context, root *tree.Dir) error {
	p := &pass{Tidier: t, root: root, values: values{time: t.opts.now(), host: hostname()}}
	if !t.stamp.IsZero() {
		p.values.time = t.stamp
	}
	defer p.close()
	strays, err := p.strays(ctx)
	if err != nil || len(strays) == 0 {
		return err
	}
	return p.tidy(ctx, strays)
}

const howToGoOn = "`bundlewatch tidy --resume` lets it go on, and so does another max_per_hour"

// lock waits for other passes over the same root, of this process or another, for a while. Where the file system
// has no locks there is none.
func lock(ctx context.Context, root *tree.Dir) (unlock func(), err error) {
	for end := time.Now().Add(lockPatience); ; {
		err := unix.Flock(root.Fd(), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = unix.Flock(root.Fd(), unix.LOCK_UN) }, nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return func() {}, nil
		case time.Now().After(end):
			return nil, fmt.Errorf("lock root %q: another instance has been tidying it for %v", root.Path(), lockPatience)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

const lockPatience = 30 * time.Second
