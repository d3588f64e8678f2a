package tidy

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/lease"
	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// transfer is the way of one stray from a name in one directory to a free name in another: a move, or its undo.
type transfer struct {
	stray *stray // with its digest
	to    *tree.Dir
	as    string
	r     record
	write func(record) error // to the journal, synced
	// name returns the n-th name to try.
	name func(n int) string
}

// arrivedError is what there is to say of a stray that has arrived all the same.
type arrivedError struct{ error }

func (e *arrivedError) Unwrap() error { return e.error }

// arrivedWith returns an [*arrivedError], or nil where there is nothing to say.
func arrivedWith(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return &arrivedError{err}
	}
	return nil
}

func hasArrived(err error) bool { return err == nil || errors.As(err, new(*arrivedError)) }

// errNameGone tells that the old name of a stray is another file's by now.
var errNameGone = errors.New("something came under its old name meanwhile, which is left alone")

// run makes the transfer. Its record is written before each attempt. After an error the stray is where it was,
// unless that is an [*arrivedError].
func (x *transfer) run(ctx context.Context) error {
	for n := 1; ; n++ {
		if x.as = x.name(n); x.as == "" {
			return fmt.Errorf("its name is taken in %q: %w", x.to.Path(), tree.ErrExists)
		}
		if _, err := x.to.Stat(x.as); err == nil {
			continue
		}
		if taken, err := x.attempt(ctx); !taken {
			return err
		}
	}
}

// attempt tries one name, unless that is taken at the last moment.
func (x *transfer) attempt(ctx context.Context) (taken bool, err error) {
	there, err := x.to.Self()
	if err != nil {
		return false, err
	}
	if there.Dev != x.stray.stat.Dev {
		return x.copy(ctx)
	}
	if err := x.announce("rename"); err != nil {
		return false, err
	}
	if err := x.ready(); err != nil {
		return false, err
	}
	err = x.stray.dir.RenameNew(x.stray.name, x.to, x.as)
	if errors.Is(err, unix.EXDEV) { // the same disk, mounted twice
		return x.copy(ctx)
	}
	if err != nil {
		return errors.Is(err, tree.ErrExists), err
	}
	if err := x.checkArrival(); err != nil {
		return false, err
	}
	return false, arrivedWith(x.to.Sync(), x.stray.dir.Sync())
}

// announce writes the intent. The target is that of the record's own side: undo does not change it.
func (x *transfer) announce(method string) error {
	x.r.Method = method
	if x.r.State == stateIntent {
		x.r.To = bytesName(x.to.Join(x.as))
	}
	return x.write(x.r)
}

// ready looks once more, at the last moment: nobody has it open, and it is what was looked at.
func (x *transfer) ready() error {
	if err := x.stray.inUse(); err != nil {
		return err
	}
	return x.stray.unchanged()
}

// checkArrival puts back what took the stray's name between the last look and the rename.
func (x *transfer) checkArrival() error {
	st, err := x.to.Stat(x.as)
	if err == nil && st.SameContent(x.stray.stat) {
		return nil
	}
	if err != nil {
		return arrivedWith(fmt.Errorf("look at what was moved: %w", err))
	}
	if back := x.to.RenameNew(x.as, x.stray.dir, x.stray.name); back != nil {
		return fmt.Errorf("another file took its name and was moved to %q; it cannot be put back: %w", x.to.Join(x.as), back)
	}
	return leave("it was replaced or changed at the last moment")
}

// copy makes the transfer across file systems: a copy under a name of its own, read back and compared, then the
// target's name, and only then the end of the original, which is first taken out of everybody's reach.
func (x *transfer) copy(ctx context.Context) (taken bool, err error) {
	if err := x.announce("copy"); err != nil {
		return false, err
	}
	part := x.r.part()
	err = x.stray.copyTo(ctx, x.to, part)
	if err == nil {
		err = x.compare(ctx, part)
	}
	if err == nil {
		err = x.ready()
	}
	if err == nil {
		err = x.to.RenameNew(part, x.to, x.as)
		taken = errors.Is(err, tree.ErrExists)
	}
	if err != nil {
		return taken, errors.Join(err, removeAll(x.to, part))
	}
	if err := x.to.Sync(); err != nil {
		return false, errors.Join(err, removeAll(x.to, x.as))
	}
	return false, x.endOriginal()
}

// compare reads the copy back from the disk.
func (x *transfer) compare(ctx context.Context, part string) error {
	copied, err := look(x.to, part)
	if err == nil {
		err = copied.read(ctx)
	}
	if err != nil {
		return fmt.Errorf("read the copy back: %w", err)
	}
	if copied.digest != x.stray.digest || copied.bytes != x.stray.bytes {
		return fmt.Errorf("the copy in %q is not what was read (%s instead of %s): the disk or the original changed", x.to.Path(), copied.digest, x.stray.digest)
	}
	return nil
}

// endOriginal removes the original of a copy that is whole. It is removed by a name that nobody else knows and
// after it was made sure that nobody has it open, so what is written to it is never lost.
func (x *transfer) endOriginal() error {
	from, aside := x.stray.dir, x.r.aside()
	err := from.SetAside(x.stray.name, aside, x.stray.stat.SameContent)
	if err != nil {
		return x.originalChanged(err)
	}
	original := *x.stray
	original.name = aside
	if err := original.endable(x.stray); err != nil {
		return x.takeBack(err)
	}
	removed, err := removeListed(from, aside, original.inside)
	if err != nil && removed == 0 {
		return x.takeBack(err)
	}
	if err != nil {
		return &unfinishedError{err}
	}
	return arrivedWith(from.Sync())
}

// takeBack gives what was set aside its name again, and removes the copy.
func (x *transfer) takeBack(cause error) error {
	from, aside := x.stray.dir, x.r.aside()
	if err := from.RenameNew(aside, from, x.stray.name); err != nil {
		return arrivedWith(fmt.Errorf("%w; what it is now is %q, because its name was taken: %w", cause, from.Join(aside), err))
	}
	return errors.Join(cause, removeAll(x.to, x.as), x.to.Sync())
}

// unfinishedError tells that a stray is whole at its new place and partly at its old one. Its record stays without an
// end, as after a crash.
type unfinishedError struct{ error }

func (e *unfinishedError) Unwrap() error { return e.error }

func isUnfinished(err error) bool { return errors.As(err, new(*unfinishedError)) }

// originalChanged decides what becomes of a copy whose original could not be set aside: an original that is there
// needs no copy; of one that is gone the copy is all there is.
func (x *transfer) originalChanged(cause error) error {
	st, err := x.stray.dir.Stat(x.stray.name)
	if err == nil && st.ID() == x.stray.stat.ID() {
		return errors.Join(cause, removeAll(x.to, x.as), x.to.Sync())
	}
	return arrivedWith(errNameGone)
}

// endable tells whether what was set aside is still as it was copied, and nobody can change it any more.
func (s *stray) endable(was *stray) error {
	now, err := look(s.dir, s.name)
	if err != nil {
		return err
	}
	if !now.stat.SameContent(was.stat) || !equalInside(now.inside, was.inside) {
		return leave("it changed while it was copied")
	}
	switch {
	case s.shape == shapeFile:
		use, err := probe(s.dir, s.name)
		if err != nil || use != lease.Writers {
			return err
		}
		return leave("it was opened for writing while it was copied")
	case s.shape == shapeDir:
		return now.inUse()
	}
	return nil
}
