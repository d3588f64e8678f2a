package watch

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// openRoot opens the root and begins with nothing known about it.
func (o *owner) openRoot() error {
	t, err := openTree(o.opts.Root)
	if err != nil {
		return err
	}
	o.tree = t
	o.top = &dir{path: ".", id: t.stat.id(), on: filesystemAt(int(t.top.Fd()))}
	o.dirs = map[string]*dir{".": o.top}
	o.ids = map[fileID]*dir{o.top.id: o.top}
	o.queue = nil
	o.source = o.opts.Source
	if o.source == Auto {
		o.source = Inotify
		if o.top.on.network {
			o.source = Poll
		}
	}
	o.degraded, o.logged = nil, false
	o.listTook = 0
	o.startNotifier()
	o.nextList = time.Now()
	return nil
}

// checkRoot tells when the root is gone, is back, or is another directory than before.
func (o *owner) checkRoot() {
	o.nextRoot = time.Now().Add(min(max(o.opts.Settle, minRootCheck), maxRootCheck))
	if o.tree != nil {
		err := o.tree.current(o.opts.Root)
		if err == nil {
			return
		}
		o.loseRoot(err)
	}
	err := o.openRoot()
	if err != nil {
		o.tellLost(err)
		return
	}
	if o.lost != "" {
		o.lost = ""
		o.opts.Logger.Info().Str("root", o.opts.Root).Msg("root is back")
		o.announce(Fact{Kind: RootBack})
	}
}

// checkRootSoon makes the next turn check the root.
func (o *owner) checkRootSoon() { o.nextRoot = time.Now() }

// current tells whether path still leads to the directory that was opened.
func (t *tree) current(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("check watch root %q: %w", path, errors.Unwrap(err))
	}
	held, err := t.top.Stat()
	if err != nil {
		return fmt.Errorf("check watch root %q: %w", path, err)
	}
	if !os.SameFile(info, held) {
		return fmt.Errorf("check watch root %q: it was replaced by another file or directory", path)
	}
	return nil
}

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
	o.opts.Logger.Warn().Err(err).Str("root", o.opts.Root).Msg("root is gone; waiting for it")
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
	o.tree.close()
	o.tree, o.top = nil, nil
	o.dirs, o.ids, o.queue = nil, nil, nil
	o.nextList, o.nextEvents = time.Time{}, time.Time{}
}
