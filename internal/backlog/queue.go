package backlog

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// item is a bundle that is not known to be at the destination.
type item struct {
	place     string
	watch     string
	key       string
	archive   string // SHA-256; "" until it was looked at
	bytes     int64
	published time.Time

	state     state
	fails     int       // in a row
	failed    string    // why it did last
	notBefore time.Time // it is tried again
	done      int64     // bytes of the sending that is under way
	begun     time.Time
	reason    error     // why it is refused, or was when it was looked at last
	told      string    // the reason that was told
	at        time.Time // of the reason
	again     bool      // it was published again while it was busy
	fresh     bool      // it was published since the start, so the destination hardly has it
}

type state int

const (
	unchecked state = iota // the destination was not asked yet
	checking
	unsent // the destination has it not
	sending
	refused // the destination will not take it
	gone    // from the queue
)

func newItem(b shelf.Bundle) *item {
	it := &item{place: b.Place}
	it.take(b)
	return it
}

func (it *item) take(b shelf.Bundle) {
	it.watch, it.key, it.archive, it.bytes, it.published = b.Watch, b.Key, b.Archive.SHA256, b.Archive.Bytes, b.Published
}

// newer orders items by the time of their publication, newest first.
func newer(a, b *item) int {
	return cmp.Or(b.published.Compare(a.published), cmp.Compare(a.place, b.place))
}

func watchOf(place string) string {
	watch, _, _ := strings.Cut(place, "/")
	return watch
}

// Wants tells whether bundles of that watch go to this destination.
func (b *Backlog) Wants(watch string) bool {
	return len(b.opts.Watches) == 0 || slices.Contains(b.opts.Watches, watch)
}

// look finds out what is at the place of an item now.
func (b *Backlog) look(it *item) (shelf.Bundle, error) {
	bundle, err := b.shelf.At(it.place)
	if errors.Is(err, fs.ErrNotExist) {
		return bundle, errLeft
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		return shelf.Bundle{Path: b.path(it), Place: it.place, Watch: it.watch, Key: it.key}, err
	}
	switch {
	case it.state == checking:
		it.take(bundle)
	case it.archive != bundle.Archive.SHA256: // it was made anew
		it.again = true
		return bundle, errLeft
	}
	switch {
	case bundle.State == shelf.Pruned, bundle.HalfGone:
		return bundle, errLeft
	case bundle.State != shelf.Present:
		return bundle, fmt.Errorf("%w: %w: %s", ErrRefused, ErrDamaged, bundle.Reason)
	}
	return bundle, nil
}

// path is the directory of an item.
func (b *Backlog) path(it *item) string {
	return filepath.Join(b.shelf.Dir(), filepath.FromSlash(it.place))
}

// unreadable are the errors of files that stay as they are until somebody does something. Others, such as too many open
// files, are soon over, and what is not there any more is found out by the next look.
var unreadable = []error{unix.EACCES, unix.EPERM, unix.EIO, unix.EBADMSG, unix.EUCLEAN, unix.ENOTDIR, unix.EISDIR, unix.ELOOP}

// blame tells a local bundle that cannot be read from a destination that fails.
func (b *Backlog) blame(it *item, err error) error {
	var file *fs.PathError
	if isFinal(err) || !errors.As(err, &file) || !slices.ContainsFunc(unreadable, func(of error) bool { return errors.Is(file.Err, of) }) {
		return err
	}
	if rel, relErr := filepath.Rel(b.path(it), file.Path); relErr != nil || !filepath.IsLocal(rel) {
		return err
	}
	return fmt.Errorf("%w: %w: it cannot be read: %w", ErrRefused, ErrDamaged, err)
}

// queue is what is known of the bundles of one destination. Those that it holds are remembered by a hash alone.
type queue struct {
	items      map[string]*item // by place
	uncheckeds []*item          // newest first but for those that failed, which are behind
	unsents    []*item          // newest first, those that are being sent among them
	bytes      int64            // of unsents
	delays     bool             // some of unsents may have to wait until a time
	refusals   int
	verdicts   map[string]*item // by place; those with a reason, also while they are looked at again
	holds      map[[16]byte]struct{}
	checking   []*item
	sending    int
}

func newQueue() queue {
	return queue{items: make(map[string]*item), verdicts: make(map[string]*item), holds: make(map[[16]byte]struct{})}
}

func holdKey(place, archive string) [16]byte {
	sum := sha256.Sum256([]byte(place + "\x00" + archive))
	return [16]byte(sum[:16])
}

// found puts a new bundle first.
func (q *queue) found(place string) {
	it := q.items[place]
	switch {
	case it == nil:
		it = &item{place: place, watch: watchOf(place), published: time.Now(), fresh: true}
	case it.state == refused:
		q.refusals--
	default:
		it.again = it.state == checking || it.state == sending
		return
	}
	q.put(it)
}

func (q *queue) put(it *item) {
	it.state, it.fails, it.failed, it.notBefore, it.reason = unchecked, 0, "", time.Time{}, nil
	delete(q.verdicts, it.place)
	q.items[it.place] = it
	q.uncheckeds = slices.Insert(q.uncheckeds, 0, it)
}

// listed takes over what a look at the whole artifact directory has found. What was refused is tried again, and stands
// as refused until it is known better.
func (q *queue) listed(found []*item) {
	var fresh []*item
	for _, it := range found {
		old := q.items[it.place]
		_, held := q.holds[holdKey(it.place, it.archive)]
		switch {
		case old == nil && held, old != nil && old.state != refused:
			continue
		case old != nil:
			q.refusals--
			it.reason, it.told, it.at = old.reason, old.told, old.at
			q.verdicts[it.place] = it
		}
		q.items[it.place] = it
		fresh = append(fresh, it)
	}
	slices.SortFunc(fresh, newer)
	q.uncheckeds = append(q.uncheckeds, fresh...)
}

// oldest returns the first published of those that the destination has not, or, if it was not asked yet, hardly has; nil
// for none.
func (q *queue) oldest() (first *item) {
	if n := len(q.unsents); n > 0 {
		first = q.unsents[n-1]
	}
	for _, of := range [][]*item{q.uncheckeds, q.checking} {
		for _, it := range of {
			if it.fresh && it.state <= checking && (first == nil || newer(first, it) < 0) {
				first = it
			}
		}
	}
	return first
}

func (q *queue) takeUnchecked() *item {
	for len(q.uncheckeds) > 0 {
		it := q.uncheckeds[0]
		q.uncheckeds[0] = nil
		q.uncheckeds = q.uncheckeds[1:]
		if it.state == unchecked {
			it.state = checking
			q.checking = append(q.checking, it)
			return it
		}
	}
	return nil
}

// checked ends the asking for an item.
func (q *queue) checked(it *item) {
	q.checking = slices.DeleteFunc(q.checking, func(other *item) bool { return other == it })
}

// takeUnsent returns the newest that may be sent now, and waits for the answers on those that are newer. Of a
// destination that fails it is the one that failed least often, so that no single bundle stands in the way of the
// others.
func (q *queue) takeUnsent(now time.Time, failing bool) *item {
	var best *item
	for _, it := range q.unsents {
		if slices.ContainsFunc(q.checking, func(other *item) bool { return newer(other, it) < 0 }) {
			break
		}
		if it.state != unsent || now.Before(it.notBefore) || best != nil && it.fails >= best.fails {
			continue
		}
		if best = it; !failing || it.fails == 0 {
			break
		}
	}
	if best != nil {
		best.state, best.begun = sending, now
		q.sending++
	}
	return best
}

// nextUnsent is when the next one may be sent that must wait now.
func (q *queue) nextUnsent(now time.Time) time.Time {
	var next time.Time
	if !q.delays {
		return next
	}
	for _, it := range q.unsents {
		if it.state == unsent && it.notBefore.After(now) && (next.IsZero() || it.notBefore.Before(next)) {
			next = it.notBefore
		}
	}
	q.delays = !next.IsZero()
	return next
}

// unsent notes that the destination has not got an item.
func (q *queue) unsent(it *item) {
	it.state, it.fails = unsent, 0
	q.delays = q.delays || !it.notBefore.IsZero()
	at, _ := slices.BinarySearchFunc(q.unsents, it, newer)
	q.unsents = slices.Insert(q.unsents, at, it)
	q.bytes += it.bytes
}

// again puts an item back that was asked for or sent in vain.
func (q *queue) again(it *item) {
	if it.state == sending {
		it.state = unsent
		return
	}
	it.state = unchecked
	q.uncheckeds = append(q.uncheckeds, it)
}

// held notes that the destination holds an item.
func (q *queue) held(it *item) {
	q.holds[holdKey(it.place, it.archive)] = struct{}{}
	q.drop(it)
}

// drop takes an item out of the queue.
func (q *queue) drop(it *item) {
	q.leave(it)
	it.state = gone
	delete(q.items, it.place)
	delete(q.verdicts, it.place)
	if it.again {
		it.again = false
		q.found(it.place)
	}
}

// refuse keeps an item apart, and returns whether the reason is a new one.
func (q *queue) refuse(it *item, why error) (isNew bool) {
	q.leave(it)
	it.state, it.reason, it.at = refused, why, time.Now()
	q.refusals++
	q.verdicts[it.place] = it
	isNew, it.told = it.told != why.Error(), why.Error()
	if it.again {
		it.again = false
		q.found(it.place)
	}
	return isNew
}

// leave takes an item out of the unsent ones.
func (q *queue) leave(it *item) {
	if i := slices.Index(q.unsents, it); i >= 0 {
		q.unsents = slices.Delete(q.unsents, i, i+1)
		q.bytes -= it.bytes
	}
}
