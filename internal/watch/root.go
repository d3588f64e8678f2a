package watch

import (
	"time"

	"golang.org/x/sys/unix"
)

// openRoot opens the root and begins with nothing known about it.
func (o *owner) openRoot() error {
	o.enter("open", nil, "")
	defer o.pulse.leave()
	t, err := openTree(o.opts.Root)
	if err != nil {
		return err
	}
	fd, err := t.root(unix.O_PATH)
	if err != nil {
		t.close()
		return err
	}
	defer unix.Close(fd)
	o.tree = t
	o.chain = chain{tree: t, ops: o.chain.ops}
	o.table = openMountTable()
	o.mounts = map[place]*mount{}
	o.failed = map[*dir]error{}
	o.queue = nil
	o.top = &dir{name: ".", id: t.stat.id()}
	o.ids = map[fileID]*dir{o.top.id: o.top}
	o.dirs = 1
	o.settleOn(o.top, o.mountOf(fd, t.at, "."))
	o.degraded, o.logged = nil, false
	o.urgentTook = 0
	o.nextUrgent = time.Now()
	return nil
}

// checkRoot tells when the root is gone, is back, or is another directory than before, and looks for
// what was mounted below it.
func (o *owner) checkRoot() {
	o.nextRoot = o.nextRootCheck(time.Now())
	if o.tree != nil {
		o.enter("check", nil, "")
		err := o.tree.current(o.opts.Root)
		o.chain.ops += 2
		o.pulse.leave()
		if err == nil {
			if o.table.changed() {
				o.remounts()
			}
			return
		}
		o.loseRoot(err)
		o.nextRoot = o.nextRootCheck(time.Now())
	}
	err := o.openRoot()
	if err != nil {
		o.tellLost(err)
		return
	}
	if o.lost != "" {
		o.lost = ""
		o.announce(Fact{Kind: RootBack})
	}
}

// nextRootCheck is when the root is checked again. One with a watch tells most of what happens to it; what is left, such as a
// mount, can wait until the processor is awake for others that work at whole seconds.
func (o *owner) nextRootCheck(now time.Time) time.Time {
	if o.tree != nil && o.top.watched {
		return now.Add(maxRootCheck - time.Duration(now.UnixNano()%int64(maxRootCheck)))
	}
	return now.Add(min(max(o.opts.Settle, minRootCheck), maxRootCheck))
}

// checkRootSoon makes the next turn check the root.
func (o *owner) checkRootSoon() { o.nextRoot = time.Now() }

func (o *owner) loseRoot(err error) {
	o.tellLost(err)
	o.forget(o.top)
	o.closeRoot()
}

// tellLost tells that the root is gone, once for each reason.
func (o *owner) tellLost(err error) {
	if o.lost == err.Error() {
		return
	}
	o.lost = err.Error()
	o.announce(Fact{Kind: RootGone, Reason: err})
}

// closeRoot closes all that is open.
func (o *owner) closeRoot() {
	if o.tree == nil {
		return
	}
	for _, f := range o.due {
		f.release()
	}
	o.due = nil
	if o.notifier != nil {
		o.notifier.close()
		o.notifier = nil
	}
	if o.pass != nil {
		o.scanStarted = time.Time{}
	}
	o.chain.drop()
	o.tree.close()
	o.table.close()
	o.tree, o.top, o.table, o.pass = nil, nil, nil, nil
	o.mounts, o.ids, o.failed, o.queue = nil, nil, nil, nil
	o.dirs, o.watches = 0, 0
	o.walkLeft, o.roundLeft, o.again = false, false, false
	o.nextEvents, o.nextHeal = time.Time{}, time.Time{}
	o.nextPoll, o.nextWalk, o.nextUrgent = time.Time{}, time.Time{}, time.Time{}
}
