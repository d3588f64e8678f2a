package tidy

import "fmt"

// resume writes that a person lets a stopped block go on.
func (p *pass) resume() error {
	stop := p.history.stop(p.block.MaxPerHour)
	if !p.opts.Resume || p.resumed || stop == nil {
		return nil
	}
	d, err := p.destination(stop.dir)
	if err != nil {
		return err
	}
	r := record{ID: newID(), State: stateResumed, Root: bytesName(p.root.Path()), Limit: p.block.MaxPerHour}
	if err := d.journal.add(r); err != nil {
		return err
	}
	r.Time = p.opts.now()
	p.resumed, p.history = true, append(p.history, past{r, stop.dir})
	return nil
}

// stop records that the storm guard stops the block, and tells it.
func (p *pass) stop() error {
	limit := p.block.MaxPerHour
	err := fmt.Errorf("%d moves within an hour: the block is stopped; see whether they were meant; %s", limit, howToGoOn)
	if !p.opts.DryRun {
		last := p.last
		if last == "" {
			last = p.history[len(p.history)-1].dir
		}
		d, openErr := p.destination(last)
		if openErr != nil {
			return openErr
		}
		if err := d.journal.add(record{ID: newID(), State: stateStopped, Root: bytesName(p.root.Path()), Limit: limit, Note: err.Error()}); err != nil {
			return err
		}
	}
	p.emit(Stopped, nil, "", err)
	return nil
}
