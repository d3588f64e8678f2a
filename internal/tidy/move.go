package tidy

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// maxTries is how many names of a stray are tried.
const maxTries = 10_000

// moveOne moves a stray and tells what became of it.
func (p *pass) moveOne(ctx context.Context, s *stray) (moved bool, err error) {
	target, err := p.prepare(s)
	if err == nil && p.opts.DryRun {
		p.emit(Ready, s, filepath.Join(p.absolute(target), freeName(s.name, 1)), nil)
		return true, nil
	}
	var r record
	if err == nil {
		r, err = p.move(ctx, s, target)
	}
	if r.State == stateMoved {
		p.last, p.stamp = target, time.Time{}
		p.emit(Moved, s, string(r.To), err)
		return true, nil
	}
	if r.To != "" && kindOf(err) == Refused {
		p.refusals[s.name] = refusal{stat: s.stat, until: p.opts.now().Add(refusedFor), err: err}
	}
	p.emit(kindOf(err), s, "", err)
	return false, err
}

// prepare returns where a stray goes, if it may go there and nobody has it open.
func (p *pass) prepare(s *stray) (target string, err error) {
	if target, err = p.target(p.values, s.name); err != nil {
		return "", err
	}
	to := p.absolute(target)
	if within(s.path(), to) {
		return "", leave("it is where strays are moved to")
	}
	if err := p.reserved.checkMembers(filepath.Join(to, s.name), s); err != nil {
		return "", leave("at its new place, %q, a watch would take it: %s", filepath.Join(to, s.name), err)
	}
	return target, s.inUse()
}

// move moves a stray. The record that it returns is of state moved when the stray has arrived; an error then tells
// what else there is to say.
func (p *pass) move(ctx context.Context, s *stray, target string) (record, error) {
	if err := s.read(ctx); err != nil {
		return record{}, err
	}
	d, err := p.destination(target)
	if err != nil {
		return record{}, err
	}
	r := newRecord(p.root.Path(), s, p.opts.now())
	if s.git == GitTracked {
		r.Top, r.Index = bytesName(p.repo.top), s.index
	}
	x := &transfer{stray: s, to: d.dir, r: r, write: d.journal.add, name: func(n int) string {
		if n > maxTries {
			return ""
		}
		return freeName(s.name, n)
	}}
	err = x.run(ctx)
	if isUnfinished(err) {
		p.settled = false // the next pass brings it to its end
		return x.r, err
	}
	if !hasArrived(err) {
		return x.r, errors.Join(err, d.giveUp(x.r, err))
	}
	return p.finish(ctx, d, x.r, err)
}

// giveUp records that an announced move did not take place.
func (d *destination) giveUp(r record, cause error) error {
	if r.To == "" {
		return nil
	}
	r.State, r.Note = stateNotMoved, cause.Error()
	return d.journal.add(r)
}

// finish does what comes after a move: the index of git, the line for people, the end of the record.
func (p *pass) finish(ctx context.Context, d *destination, r record, remark error) (record, error) {
	if len(r.Index) > 0 {
		if err := p.removeFromIndex(ctx, r); err != nil {
			remark = errors.Join(remark, fmt.Errorf("it is still in the index of git: %w", err))
		}
	}
	if err := note(d.dir, pageLine(r)); err != nil {
		remark = errors.Join(remark, err)
	}
	if r.State = stateMoved; remark != nil {
		r.Note = remark.Error()
	}
	return r, errors.Join(remark, d.journal.add(r))
}

func (p *pass) removeFromIndex(ctx context.Context, r record) (err error) {
	repo := p.repo
	if repo == nil {
		if repo, err = findRepository(p.root.Path()); err != nil {
			return err
		}
	}
	if repo == nil || repo.top != string(r.Top) {
		return fmt.Errorf("the repository %q is gone", r.Top)
	}
	return repo.unindex(ctx, r.Index)
}
