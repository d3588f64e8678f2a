package tidy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// outcome is where a stray is after a crash.
type outcome int

const (
	stayed  outcome = iota // under its old name, as it was
	arrived                // under its new name, as it was
	lost                   // under neither
)

// crossing is a transfer that a crash may have interrupted.
type crossing struct {
	ctx  context.Context
	from *tree.Dir
	name string
	to   *tree.Dir
	as   string
	r    record
}

// settle finds out how far the crossing came, by the files themselves, and brings it to a state that is either the
// one before it or the one after it. What it removes is a copy of what is there.
func (c *crossing) settle() (outcome, error) {
	if err := removeAll(c.to, c.r.part()); err != nil {
		return lost, err
	}
	there, err := c.whole(c.to, c.as)
	if err != nil {
		return lost, err
	}
	if err := c.settleAside(there != nil); err != nil {
		return lost, err
	}
	here, err := c.whole(c.from, c.name)
	if err != nil {
		return lost, err
	}
	switch {
	case here == nil && there == nil:
		return lost, nil
	case here == nil || there != nil && !c.isTwin(here, there):
		return arrived, nil
	case there != nil:
		if err := removeAll(c.to, c.as); err != nil {
			return lost, err
		}
		return stayed, errors.Join(c.to.Sync())
	}
	return stayed, nil
}

// isTwin tells whether what is under the old name is the original of what is under the new one: a second name of
// the same file, or what a copy was made of.
func (c *crossing) isTwin(here, there *stray) bool {
	return here.stat.ID() == there.stat.ID() || c.r.Method == "copy" && here.stat.Ino == c.r.Inode
}

// settleAside ends what was set aside: with a whole copy it is removed, without one it gets its name back.
func (c *crossing) settleAside(copied bool) error {
	if _, err := c.from.Stat(c.r.aside()); err != nil {
		return ifThere(err)
	}
	aside, err := c.whole(c.from, c.r.aside())
	if err != nil {
		return err
	}
	if copied && aside != nil {
		return errors.Join(removeAll(c.from, c.r.aside()), c.from.Sync())
	}
	if copied && c.r.Kind == shapeDir {
		return c.settlePartlyRemoved()
	}
	if err := c.from.RenameNew(c.r.aside(), c.from, c.name); err != nil {
		return fmt.Errorf("give %q its name back: %w", c.from.Join(c.r.aside()), err)
	}
	return c.from.Sync()
}

// settlePartlyRemoved goes on with the removal of a directory whose copy is whole: of what is left, only what is
// in the copy too is removed.
func (c *crossing) settlePartlyRemoved() error {
	copied, err := c.read(c.to, c.as)
	if err != nil {
		return err
	}
	left, err := c.read(c.from, c.r.aside())
	if err != nil {
		return err
	}
	known := make(map[string]string)
	for _, e := range copied.inside {
		known[e.path] = string(shapeOf(e.stat)) + e.digest
	}
	for _, e := range left.inside {
		if what, ok := known[e.path]; !ok || what != string(shapeOf(e.stat))+e.digest {
			return fmt.Errorf("%q in %q is in no copy: look at it and remove what is left by hand", e.path, left.path())
		}
	}
	if _, err := removeListed(c.from, c.r.aside(), left.inside); err != nil {
		return err
	}
	return c.from.Sync()
}

// whole returns what is under a name, if it is what the record says; nil if not.
func (c *crossing) whole(dir *tree.Dir, name string) (*stray, error) {
	s, err := c.read(dir, name)
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*leftError)) {
		return nil, nil
	}
	if err != nil || s.shape != c.r.Kind || s.bytes != c.r.Size || s.digest != c.r.Digest {
		return nil, err
	}
	return s, nil
}

func (c *crossing) read(dir *tree.Dir, name string) (*stray, error) {
	s, err := look(dir, name)
	if err != nil {
		return nil, err
	}
	if s.shape == "" {
		return nil, leave("it is a pipe, a socket or a device")
	}
	return s, s.read(c.ctx)
}

// settle brings the move of a record to an end.
func (p *pass) settle(ctx context.Context, open past) error {
	d, err := p.destination(open.dir)
	if err != nil {
		return err
	}
	r := open.record
	c := &crossing{ctx: ctx, from: p.root, name: filepath.Base(string(r.From)), to: d.dir, as: filepath.Base(string(r.To)), r: r}
	where, err := c.settle()
	if err != nil {
		return err
	}
	reason := errors.New("a move that was interrupted has ended: the file was moved")
	switch where {
	case arrived:
		if r, err = p.finish(ctx, d, r, nil); err != nil {
			reason = fmt.Errorf("%w; %w", reason, err)
		}
	case stayed:
		reason = errors.New("a move was interrupted before the file was moved")
		err = d.giveUp(r, reason)
	case lost:
		reason = errors.New("a move was interrupted, and the file is neither at its old nor at its new place: somebody has moved or changed it since")
		err = d.giveUp(r, reason)
	}
	p.opts.Emit(Event{Kind: Recovered, Root: p.block.Root, From: string(r.From), To: string(r.To), Bytes: r.Size, Digest: r.Digest, Git: r.Git, Reason: reason.Error()})
	if where == arrived {
		return nil
	}
	return err
}
