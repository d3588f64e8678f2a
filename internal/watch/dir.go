package watch

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dir is what the owner knows of one directory. Unwanted files are not remembered, and paths are put
// together when they are needed: there may be a million directories.
type dir struct {
	name   string // "." for the root; never changes
	parent *dir   // nil for the root; never changes
	mount  *mount // nil before the first listing
	id     fileID
	files  *group[*file]
	dirs   *group[*dir]
	// modified, changed and seen are the times of the directory when it was listed last, and since when
	// they are known to be those, on the owner's clock.
	modified, changed int64
	seen              time.Duration
	// listed is the number of the last listing of the parent that met the directory.
	listed uint32
	// walked and looked are the numbers of the last walk and round that dealt with the directory.
	walked, looked uint32
	// stable: what is in the directory cannot have changed without a change of its times.
	stable    bool
	watched   bool
	queued    bool
	forgotten bool
	// ahead: d is being read ahead, and it is not yet known whether it has a watch.
	ahead bool
}

func (d *dir) base() string { return d.name }

func (d *dir) path() string {
	if d.parent == nil {
		return "."
	}
	return d.parent.join(d.name)
}

func (d *dir) join(name string) string {
	if d.parent == nil {
		return name
	}
	var room [256]byte
	return string(append(d.prefix(room[:0]), name...))
}

// prefix appends what comes before the names in d: nothing for the root, else the path and a slash.
func (d *dir) prefix(to []byte) []byte {
	if d.parent == nil {
		return to
	}
	return append(append(d.parent.prefix(to), d.name...), '/')
}

// polled: changes in d are found by looking only.
func (d *dir) polled() bool { return !d.watched }

// enqueue lets d be listed in this turn or the next one.
func (o *owner) enqueue(d *dir) {
	if !d.queued {
		d.queued = true
		o.queue = append(o.queue, d)
	}
}

// listNext lists the directory that was queued last.
func (o *owner) listNext(ctx context.Context) {
	last := len(o.queue) - 1
	d := o.queue[last]
	o.queue[last] = nil
	o.queue = o.queue[:last]
	d.queued = false
	o.list(ctx, d)
}

// list reads d. The watch is added first, so that what appears meanwhile is either read or notified.
func (o *owner) list(ctx context.Context, d *dir) {
	if d.forgotten {
		return
	}
	o.await(d)
	o.enter("list", d, "")
	defer o.pulse.leave()
	fd, err := o.reach(d)
	switch {
	case err != nil:
		o.unlisted(d, err)
	case fd < 0:
	case o.ahead != nil && !d.mount.network && !d.mount.polled:
		o.chain.release()
		o.handOver(ctx, d, fd)
	default:
		o.follow(d)
		o.own.begin(d, fd)
		o.learn(ctx, &o.own)
	}
}

// reach opens d for being listed. It returns -1 when there turns out to be nothing to list.
func (o *owner) reach(d *dir) (int, error) {
	fd, err := o.chain.list(d)
	if err != nil {
		return -1, err
	}
	o.chain.ops++
	st, at, err := statAt(fd, "", d.mount.statFlags())
	if err != nil {
		return -1, &fs.PathError{Op: "stat", Path: d.path(), Err: err}
	}
	if d.mount != nil && (at != d.mount.at || d.watched && st.id() != d.id) {
		o.replaced(d)
		return -1, nil
	}
	if d.mount == nil {
		o.settleOn(d, o.mountOf(fd, at, d.path()))
	}
	o.identify(d, st.id())
	if d.forgotten {
		return -1, nil
	}
	o.timed(d, st)
	return fd, nil
}

// learn takes all entries of a listing, of which some may have been read.
func (o *owner) learn(ctx context.Context, l *listing) {
	d := l.dir
	if d.forgotten {
		return
	}
	o.listing++
	err := o.entries(ctx, l)
	o.chain.ops += l.calls
	if err != nil {
		o.unlisted(d, err)
		return
	}
	d.walked, d.looked = o.walk, o.round
	o.unlisted(d, nil)
	o.sweep(d)
}

// replaced handles another directory under the name of a known one, whose watch is with the old one. Where
// there is no watch, a listing is enough, and inode numbers mean less: some FUSE servers make them up.
func (o *owner) replaced(d *dir) {
	if d.parent == nil {
		o.checkRootSoon()
		return
	}
	o.forget(d)
	if !d.parent.forgotten {
		o.known(d.parent, d.name)
	}
}

// timed notes the times that d had just before it is listed.
func (o *owner) timed(d *dir, st Stat) {
	now := time.Now()
	if d.seen == 0 || st.ModTime != d.modified || st.ChangeTime != d.changed {
		d.modified, d.changed = st.ModTime, st.ChangeTime
		d.seen = now.Sub(o.began)
	}
	d.stable = now.Sub(o.began)-d.seen > d.mount.racy() || changedLongAgo(st, d.mount, now)
}

// clockSkew is by how much the clock of a server may be behind without changes being missed.
const clockSkew = 24 * time.Hour

// changedLongAgo tells that st is older than the time within which two changes can have the same times.
func changedLongAgo(st Stat, on *mount, now time.Time) bool {
	age := now.Sub(time.Unix(0, max(st.ChangeTime, st.ModTime)))
	if on.network {
		return age > clockSkew
	}
	return age > on.racy()
}

func (o *owner) entries(ctx context.Context, l *listing) error {
	o.path = l.dir.prefix(o.path[:0])
	for batch := 0; ; batch++ {
		for len(l.names) > 0 {
			var name []byte
			var kind byte
			name, kind, l.names = nextDirent(l.names)
			if string(name) != "." && string(name) != ".." {
				o.entry(l.dir, l.fd, name, kind)
			}
		}
		if l.ended || l.err != nil {
			return l.err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if batch > 1 {
			o.enter("list", l.dir, "")
		}
		l.names = l.buffer[:0]
		l.more()
	}
}

// entry takes an entry of a listing of d, which is open as fd.
func (o *owner) entry(d *dir, fd int, name []byte, kind byte) {
	prefix := len(o.path)
	o.path = append(o.path, name...)
	wanted := o.opts.Want(unsafe.String(unsafe.SliceData(o.path), len(o.path))) // a million names, and few are wanted
	o.path = o.path[:prefix]
	switch {
	case wanted, kind == unix.DT_UNKNOWN:
		base := string(name)
		o.chain.ops++
		// A name that vanished is left for sweep.
		if st, _, err := statAt(fd, base, d.mount.statFlags()); err == nil {
			o.place(d, base, st)
		}
	case kind == unix.DT_DIR:
		o.known(d, string(name))
	}
}

// sweep looks for what was known in d and was not met by the listing that just ended.
func (o *owner) sweep(d *dir) {
	for f := range d.files.all() {
		if f.listed != o.listing {
			o.examine(d, f.base())
		}
	}
	for child := range d.dirs.all() {
		if child.listed != o.listing {
			o.examine(d, child.name)
		}
	}
}

// unlisted notes whether d could be listed, and logs when that changes.
func (o *owner) unlisted(d *dir, err error) {
	failed := o.failed[d] != nil
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case err == nil && failed:
		delete(o.failed, d)
		o.opts.Logger.Info().Str("root", o.opts.Root).Str("dir", d.path()).Msg("directory can be listed again")
	case err == nil:
	case vanished(err) && d.parent == nil:
		o.checkRootSoon()
	case vanished(err):
		o.forget(d)
	default:
		o.failed[d] = err
		o.nextHeal = earliest(o.nextHeal, time.Now().Add(jitter(o.opts.Heal)))
		if !failed {
			o.opts.Logger.Warn().Err(err).Str("root", o.opts.Root).Str("dir", d.path()).Stringer("retry", o.opts.Heal).
				Msg("cannot list directory; what is in it goes unnoticed until it can be listed")
		}
	}
}

// find returns the directory that holds rel and its name in it; nil when that directory was forgotten
// with all in it, or is yet to be listed.
func (o *owner) find(rel string) (*dir, string) {
	d := o.top
	for d != nil {
		step, rest, more := strings.Cut(rel, "/")
		if !more && d.mount != nil {
			return d, rel
		}
		if !more {
			break
		}
		d, rel = d.dirs.get(step), rest
	}
	return nil, ""
}

// examine looks at the entry of d of this name, which may have changed.
func (o *owner) examine(d *dir, name string) {
	o.enter("look at", d, name)
	defer o.pulse.leave()
	st, _, err := o.chain.stat(d, name)
	switch {
	case err == nil:
		o.place(d, name, st)
		if child := d.dirs.get(name); child != nil {
			o.enqueue(child)
		}
	case vanished(err):
		o.vanish(d, name)
	default:
		if f := d.files.get(name); f != nil {
			o.missed(f, err, time.Now())
		}
	}
}

// place records what st says is in d under this name.
func (o *owner) place(d *dir, name string, st Stat) {
	if st.Mode.IsDir() {
		o.known(d, name)
	} else if child := d.dirs.get(name); child != nil {
		o.forget(child)
	}
	f := d.files.get(name)
	if f == nil {
		rel := d.join(name)
		if !o.opts.Want(rel) {
			return
		}
		f = &file{path: rel, dir: d, pursuit: &pursuit{}}
		d.files = d.files.with(f)
		o.files++
	}
	o.look(f, st)
}

// known records that there is a directory of this name in d. One that was not known will be listed.
func (o *owner) known(d *dir, name string) {
	child := d.dirs.get(name)
	if child == nil {
		child = &dir{name: strings.Clone(name), parent: d}
		d.dirs = d.dirs.with(child)
		o.dirs++
		o.enqueue(child)
	}
	child.listed = o.listing
}

// identify records the device and inode of d. Another known directory with the same ones has been
// renamed to d and is forgotten under its old path: kernel watches belong to inodes, and would go on to
// report the old path. Where the old path is still valid, a directory is mounted at two places, and the
// second one is polled.
func (o *owner) identify(d *dir, id fileID) {
	if o.ids[d.id] == d {
		delete(o.ids, d.id)
	}
	d.id = id
	other := o.ids[id]
	if other == nil {
		o.ids[id] = d
		return
	}
	if st, err := o.tree.lstat(other.path()); err == nil && st.id() == id {
		return
	}
	o.forget(other)
	if !d.forgotten {
		o.ids[id] = d
	}
	if other.parent != nil && !other.parent.forgotten {
		o.known(other.parent, other.name) // for what may have taken its place
	}
}

// vanish handles a name in d at which nothing is any more.
func (o *owner) vanish(d *dir, name string) {
	if f := d.files.get(name); f != nil {
		o.gone(f)
	}
	if child := d.dirs.get(name); child != nil {
		o.forget(child)
	}
}

// forget drops d and all that is known below it.
func (o *owner) forget(d *dir) {
	if d.parent != nil && d.parent.dirs.get(d.name) == d {
		d.parent.dirs = d.parent.dirs.without(d)
	}
	for stack := []*dir{d}; len(stack) > 0; {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for child := range d.dirs.all() {
			stack = append(stack, child)
		}
		for f := range d.files.all() {
			o.gone(f)
		}
		o.discard(d)
	}
}

func (o *owner) discard(d *dir) {
	d.forgotten = true
	o.dirs--
	if o.ids[d.id] == d {
		delete(o.ids, d.id)
	}
	delete(o.failed, d)
	o.unfollow(d)
	o.leave(d)
}
