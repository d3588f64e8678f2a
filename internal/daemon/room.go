package daemon

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// slack is about what a bundle takes beside its payloads: headers, the manifest, blocks that are not full. Where it
// is more, writing fails, which does no harm either.
const slack = 64 << 10

// room is the space of the artifact file system, and who has a claim on it.
type room struct {
	dir    string
	floor  atomic.Pointer[config.Floor]
	budget atomic.Int64 // what all files below dir may take; 0 for any number
	usage  *usage
	statfs func(dir string) (space, error)

	mu     sync.Mutex // is held while the file system is asked
	claims map[*claim]bool
}

// claim is the space that a pack under way takes.
type claim struct {
	bytes int64
	path  string // of the archive, which has some of them already
}

// open is how much of a claim is not taken from the free space yet.
func (c *claim) open() int64 {
	var st unix.Stat_t
	if err := unix.Stat(c.path, &st); err != nil {
		return c.bytes // not there yet
	}
	return max(0, c.bytes-st.Blocks*512)
}

// space is the size of a file system and what of it is free for users who are not root, in bytes.
type space struct{ free, size int64 }

func newRoom(dir string, floor config.Floor) *room {
	r := &room{dir: dir, statfs: statfs, usage: &usage{dir: dir}, claims: make(map[*claim]bool)}
	r.setFloor(floor)
	return r
}

func statfs(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, fmt.Errorf("look at the file system of %q: %w", dir, err)
	}
	return space{free: int64(st.Bavail) * st.Bsize, size: int64(st.Blocks) * st.Bsize}, nil
}

func (r *room) setFloor(f config.Floor) { r.floor.Store(&f) }

// look returns the space, and the floor in bytes.
func (r *room) look() (space, int64, error) {
	now, err := r.statfs(r.dir)
	return now, r.floor.Load().Of(now.size), err
}

// noRoomError tells that a bundle does not fit. It is ENOSPC.
type noRoomError struct {
	need, floor int64
	dir         string
}

// Error says nothing that changes with every file that somebody else writes.
func (e *noRoomError) Error() string {
	above := ""
	if e.floor > 0 {
		above = fmt.Sprintf(" above the floor of %s", status.Size(e.floor))
	}
	return fmt.Sprintf("not started: the bundle takes %s, which is not free in %q%s: %v", status.Size(e.need), e.dir, above, unix.ENOSPC)
}

func (e *noRoomError) Unwrap() error { return unix.ENOSPC }

// overBudgetError tells that a bundle does not fit into the budget. It is EDQUOT.
type overBudgetError struct {
	need, budget int64
	dir          string
}

// Error says nothing that changes with every bundle that is pruned.
func (e *overBudgetError) Error() string {
	return fmt.Sprintf("not started: the bundle takes %s, which is not left in %q of the budget of %s: %v", status.Size(e.need), e.dir, status.Size(e.budget), unix.EDQUOT)
}

func (e *overBudgetError) Unwrap() error { return unix.EDQUOT }

// within makes sure that so many more bytes fit into the budget, beside what is being written.
func (r *room) within(bytes int64) error {
	budget := r.budget.Load()
	if budget == 0 {
		return nil
	}
	used, _ := r.usage.read()
	for c := range r.claims {
		used += c.bytes
	}
	if used+bytes+slack > budget {
		return &overBudgetError{need: bytes + slack, budget: budget, dir: r.dir}
	}
	return nil
}

// full says why nothing fits into the budget, "" when something may.
func (r *room) full() string {
	budget := r.budget.Load()
	used, known := r.usage.read()
	if budget == 0 || !known || used < budget {
		return ""
	}
	return fmt.Sprintf("%s of the budget of %s are used in %q", status.Size(used), status.Size(budget), r.dir)
}

// claim sets space aside for an archive of so many bytes at path, until it is released.
func (r *room) claim(bytes int64, path string) (release func(), err error) {
	if r.budget.Load() > 0 {
		if err := r.usage.measured(); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now, floor, err := r.look()
	if err != nil {
		return nil, err
	}
	for c := range r.claims {
		now.free -= c.open()
	}
	if now.free-bytes-slack < floor {
		return nil, &noRoomError{need: bytes + slack, floor: floor, dir: r.dir}
	}
	if err := r.within(bytes); err != nil {
		return nil, err
	}
	c := &claim{bytes, path}
	r.claims[c] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.claims, c)
	}, nil
}

// A failure of the world is tried again after a time that grows with how long it has lasted.
const (
	retryAfter = 10 * time.Second
	retryMost  = time.Minute
)

// faults remembers what keeps bundles from being written, for all watches: it is told once, and once that
// it is over.
type faults struct {
	mu    sync.Mutex
	why   string // "" when all is well
	cause string
	since time.Time
}

// failed notes a failure and returns whether it is a new one, and after which time to try again.
func (f *faults) failed(now time.Time, err error) (isNew bool, retry time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := cause(err).Error(); c != f.cause {
		f.cause, f.why, f.since, isNew = c, err.Error(), now, true
	}
	return isNew, backoff(now.Sub(f.since))
}

// worked notes that a bundle was written, and returns which fault is over, "" when there was none.
func (f *faults) worked(now time.Time) (over string, lasted time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	over, lasted = f.cause, now.Sub(f.since)
	f.cause, f.why = "", ""
	return over, lasted
}

// current returns the fault and since when it lasts.
func (f *faults) current() (why string, since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.why, f.since
}
