package tidy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// pass is one look at a root.
type pass struct {
	*Tidier
	root    *tree.Dir
	values  values
	history history
	// remembered tells that the history was read.
	remembered bool
	repo       *repository
	open       map[string]*destination
	last       string // where the last stray of this pass went
}

// destination is a directory that strays go to, with its record.
type destination struct {
	dir     *tree.Dir
	journal *journal
}

func (p *pass) close() {
	for _, d := range p.open {
		d.journal.close()
		d.dir.Close()
	}
}

// strays returns what is to be moved, but for what the records say of it.
func (p *pass) strays(ctx context.Context) ([]*stray, error) {
	if !p.settled || p.opts.Resume && !p.resumed {
		if _, err := p.remember(ctx); err != nil {
			return nil, err
		}
	}
	names, err := p.candidates(p.root)
	if err != nil {
		return nil, fmt.Errorf("list root %q: %w", p.root.Path(), err)
	}
	return p.filterByGit(ctx, p.chooseAll(names))
}

// tidy moves strays unless the records say otherwise.
func (p *pass) tidy(ctx context.Context, strays []*stray) error {
	if interrupted, err := p.remember(ctx); err != nil || interrupted {
		p.wake(p.opts.now()) // and look again
		return err
	}
	if p.unattended {
		strays = p.without(strays, p.history.putBack)
	}
	if stop := p.history.stop(p.block.MaxPerHour); stop != nil && len(strays) > 0 {
		p.emit(Stopped, nil, "", fmt.Errorf("the block was stopped at %s after %d moves within an hour: see whether they were meant; %s",
			stop.Time.Format(time.RFC3339), stop.Limit, howToGoOn))
		return nil
	}
	return p.moveAll(ctx, strays)
}

// remember reads the records, once in a pass, and brings to an end what a crash has left. It tells whether there was
// anything of that kind.
func (p *pass) remember(ctx context.Context) (interrupted bool, err error) {
	if p.remembered {
		return false, nil
	}
	if p.history, err = p.readHistory(ctx, p.root); err != nil {
		return false, err
	}
	p.remembered = true
	if p.opts.DryRun {
		p.settled = true
		return false, nil
	}
	if err := p.resume(); err != nil {
		return false, err
	}
	return p.settleAll(ctx)
}

// settleAll brings to an end what a crash left.
func (p *pass) settleAll(ctx context.Context) (interrupted bool, err error) {
	for _, open := range p.history.unfinished() {
		if err := p.settle(ctx, open); err != nil {
			return true, fmt.Errorf("bring the move of %q to an end: %w", open.From, err)
		}
		interrupted = true
	}
	p.settled = true
	return interrupted, nil
}

// chooseAll returns the strays among the names, and tells why others that match are left alone.
func (p *pass) chooseAll(names []string) []*stray {
	var strays []*stray
	for _, name := range names {
		s, err := p.choose(p.root, name)
		if err == nil && s != nil {
			err = p.refusedBefore(s)
		}
		switch {
		case err != nil:
			p.emitName(kindOf(err), p.root.Join(name), err)
		case s != nil:
			strays = append(strays, s)
		}
	}
	return strays
}

// without tells why strays are left alone, and returns the others.
func (p *pass) without(strays []*stray, why func(*stray) error) []*stray {
	var rest []*stray
	for _, s := range strays {
		if err := why(s); err != nil {
			p.emit(kindOf(err), s, "", err)
			continue
		}
		rest = append(rest, s)
	}
	return rest
}

// putBack leaves a stray alone that a person has put back.
func (h history) putBack(s *stray) error {
	for _, past := range h {
		if past.State == stateUndone && string(past.From) == s.path() && past.isSame(s.stat) {
			return leave("it was put back by hand")
		}
	}
	return nil
}

// refusedBefore leaves a stray alone that was refused a while ago and has not changed since.
func (p *pass) refusedBefore(s *stray) error {
	r, ok := p.refusals[s.name]
	if !ok || !r.stat.Same(s.stat) || p.opts.now().After(r.until) {
		delete(p.refusals, s.name)
		return nil
	}
	return leave("it was refused (%s), and is tried again after %s", r.err, r.until.Format(time.RFC3339))
}

func (p *pass) filterByGit(ctx context.Context, strays []*stray) ([]*stray, error) {
	if len(strays) == 0 {
		return nil, nil
	}
	var err error
	if p.repo, err = findRepository(p.root.Path()); err != nil {
		return nil, err
	}
	left, err := p.askGit(ctx, p.repo, strays)
	if err != nil {
		return nil, err
	}
	return p.without(strays, func(s *stray) error { return left[s] }), nil
}

// kindOf tells what an error about one stray is: left alone as meant, a disk that fails, or refused.
func kindOf(err error) Kind {
	if errors.As(err, new(*leftError)) || errors.Is(err, errNoRun) || errors.Is(err, fs.ErrNotExist) {
		return Left
	}
	if isDisk(err) {
		return Failed
	}
	return Refused
}

// isDisk tells whether an error is about the disk and not about a stray.
func isDisk(err error) bool {
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.ESTALE, unix.ENOTCONN, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// moveAll moves one stray after the other until the storm guard stops it. A disk that fails ends it.
func (p *pass) moveAll(ctx context.Context, strays []*stray) error {
	if len(strays) == 0 {
		return nil
	}
	if err := p.findRun(); err != nil {
		return err
	}
	done := p.history.moves(p.opts.now().Add(-time.Hour))
	for _, s := range strays {
		if err := ctx.Err(); err != nil {
			return err
		}
		if done >= p.block.MaxPerHour {
			return p.stop()
		}
		moved, err := p.moveOne(ctx, s)
		if moved {
			done++
		}
		if isDisk(err) {
			return nil // it was told, and the next ones would meet the same
		}
	}
	return nil
}

func (p *pass) findRun() error {
	if p.watch == nil {
		return nil
	}
	run, err := activeRun(*p.watch, p.root.Path())
	p.values.run = run
	return err
}

// destination opens a directory for strays and its record.
func (p *pass) destination(target string) (*destination, error) {
	if d := p.open[target]; d != nil {
		return d, nil
	}
	dir, err := open(p.root, target)
	if err != nil {
		return nil, err
	}
	j, err := openJournal(dir, p.opts)
	if err != nil {
		dir.Close()
		return nil, err
	}
	if p.open == nil {
		p.open = make(map[string]*destination)
	}
	p.open[target] = &destination{dir, j}
	if p.last == "" {
		p.stamp = p.values.time
	}
	return p.open[target], nil
}
