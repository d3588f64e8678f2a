package watch

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// listBatch is the number of names that are read from a directory at once.
const listBatch = 512

// dir is what the owner knows of one directory. Unwanted files are not remembered.
type dir struct {
	path   string
	parent *dir // nil for the root
	id     fileID
	on     filesystem
	files  map[string]*file
	dirs   map[string]*dir
	listed uint64
	// failed is why the directory could not be listed the last time.
	failed    error
	queued    bool
	forgotten bool
}

// enqueue lets drain list d.
func (o *owner) enqueue(d *dir) {
	if !d.queued {
		d.queued = true
		o.queue = append(o.queue, d)
	}
}

// drain lists the directories that are queued, and those that turn up while it does.
func (o *owner) drain(ctx context.Context) {
	for len(o.queue) > 0 && ctx.Err() == nil {
		last := len(o.queue) - 1
		d := o.queue[last]
		o.queue = o.queue[:last]
		d.queued = false
		if d.forgotten {
			continue
		}
		if err := o.list(ctx, d); err != nil {
			o.unlisted(d, err)
		}
	}
}

// list reads d. The watch is added first, so that what appears meanwhile is either read or notified.
func (o *owner) list(ctx context.Context, d *dir) error {
	f, err := o.tree.dir(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := StatFile(f)
	if err != nil {
		return err
	}
	o.identify(d, st.id())
	if d.forgotten {
		return nil
	}
	d.on = filesystemAt(int(f.Fd()))
	o.follow(d)
	o.listing++
	if err := o.entries(ctx, d, f); err != nil {
		return err
	}
	o.unlisted(d, nil)
	o.sweep(d)
	return nil
}

func (o *owner) entries(ctx context.Context, d *dir, f *os.File) error {
	for ctx.Err() == nil {
		batch, err := f.ReadDir(listBatch)
		for _, entry := range batch {
			rel := d.join(entry.Name())
			if !entry.IsDir() && !o.opts.Want(rel) {
				continue
			}
			// A name that vanished is left for sweep.
			if st, err := lstatAt(int(f.Fd()), entry.Name(), rel); err == nil {
				o.place(d, rel, st, o.full)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// sweep looks for what was known in d and was not met by the listing that just ended.
func (o *owner) sweep(d *dir) {
	for rel, f := range d.files {
		if f.listed != o.listing {
			o.examine(rel)
		}
	}
	for rel, child := range d.dirs {
		if child.listed != o.listing {
			o.examine(rel)
		}
	}
}

// unlisted notes whether d could be listed, and logs when that changes.
func (o *owner) unlisted(d *dir, err error) {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case err == nil && d.failed != nil:
		o.unreadableDirs--
		d.failed = nil
		o.opts.Logger.Info().Str("root", o.opts.Root).Str("dir", d.path).Msg("directory can be listed again")
	case err == nil:
	case vanished(err) && d.parent == nil:
		o.checkRootSoon()
	case vanished(err):
		o.forget(d)
	default:
		o.fail(d, err)
	}
}

func (o *owner) fail(d *dir, err error) {
	if d.failed == nil {
		o.unreadableDirs++
		o.opts.Logger.Warn().Err(err).Str("root", o.opts.Root).Str("dir", d.path).
			Msg("cannot list directory; what is in it goes unnoticed until its permissions change")
	}
	d.failed = err
}

// examine looks at one path that may have changed.
func (o *owner) examine(rel string) {
	if rel == "." {
		o.checkRootSoon()
		o.enqueue(o.top)
		return
	}
	d := o.dirs[parentOf(rel)]
	if d == nil {
		return // The directory was forgotten with all in it, or is yet to be listed.
	}
	st, err := o.tree.lstat(rel)
	switch {
	case err == nil:
		o.place(d, rel, st, true)
	case vanished(err):
		o.vanish(d, rel)
	default:
		if f := d.files[rel]; f != nil {
			o.missed(f, err, time.Now())
		}
	}
}

// place records what st says is at rel, which is directly in d. A known directory is listed again
// when relist is set.
func (o *owner) place(d *dir, rel string, st Stat, relist bool) {
	child := o.dirs[rel]
	switch {
	case st.Mode.IsDir() && child == nil:
		o.enter(d, rel)
	case st.Mode.IsDir():
		child.listed = o.listing
		if relist {
			o.enqueue(child)
		}
	case child != nil:
		o.forget(child)
	}
	if !o.opts.Want(rel) {
		return
	}
	f := d.files[rel]
	if f == nil {
		f = &file{path: rel, dir: d}
		if d.files == nil {
			d.files = map[string]*file{}
		}
		d.files[rel] = f
		o.files++
	}
	o.look(f, st)
}

// enter makes the directory at rel known and lets it be listed.
func (o *owner) enter(parent *dir, rel string) {
	child := &dir{path: rel, parent: parent, listed: o.listing}
	if parent.dirs == nil {
		parent.dirs = map[string]*dir{}
	}
	parent.dirs[rel] = child
	o.dirs[rel] = child
	o.enqueue(child)
}

// identify records the device and inode of d. Another known directory with the same ones has been
// renamed to d and is forgotten under its old path: kernel watches belong to inodes, and would go on to
// report the old path. Where the old path is still valid, a directory is mounted at two places.
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
	if st, err := o.tree.lstat(other.path); err == nil && st.id() == id {
		return
	}
	o.forget(other)
	if !d.forgotten {
		o.ids[id] = d
	}
}

// vanish handles a path at which nothing is any more.
func (o *owner) vanish(d *dir, rel string) {
	if f := d.files[rel]; f != nil {
		o.gone(f)
	}
	if child := o.dirs[rel]; child != nil {
		o.forget(child)
	}
}

// forget drops d and all that is known below it.
func (o *owner) forget(d *dir) {
	if d.parent != nil {
		delete(d.parent.dirs, d.path)
	}
	for stack := []*dir{d}; len(stack) > 0; {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, child := range d.dirs {
			stack = append(stack, child)
		}
		for _, f := range d.files {
			o.gone(f)
		}
		o.drop(d)
	}
}

func (o *owner) drop(d *dir) {
	d.forgotten = true
	delete(o.dirs, d.path)
	if o.ids[d.id] == d {
		delete(o.ids, d.id)
	}
	if d.failed != nil {
		o.unreadableDirs--
	}
	if o.notifier != nil {
		o.notifier.unwatch(o.absolute(d.path))
	}
}

func (o *owner) absolute(rel string) string { return filepath.Join(o.tree.path, rel) }

// relative is the inverse of absolute for paths named by events.
func (o *owner) relative(abs string) string {
	rel := strings.Trim(strings.TrimPrefix(abs, o.tree.path), "/")
	if rel == "" {
		return "."
	}
	return rel
}

func (d *dir) join(name string) string {
	if d.parent == nil {
		return name
	}
	return d.path + "/" + name
}

func parentOf(rel string) string {
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		return rel[:i]
	}
	return "."
}
