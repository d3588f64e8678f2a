package daemon

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// slack is what a bundle takes beside its payloads: headers, the manifest, blocks that are not full.
const slack = 1 << 20

// room is the space of the artifact file system, and who has a claim on it.
type room struct {
	dir    string
	statfs func(dir string) (space, error)

	mu      sync.Mutex
	floor   config.Floor
	claimed int64 // bytes of packs under way that are not written yet
}

// space is the size of a file system and what of it is free for users who are not root, in bytes.
type space struct{ free, size int64 }

func newRoom(dir string, floor config.Floor) *room {
	return &room{dir: dir, statfs: statfs, floor: floor}
}

func statfs(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, fmt.Errorf("look at the file system of %q: %w", dir, err)
	}
	return space{free: int64(st.Bavail) * st.Bsize, size: int64(st.Blocks) * st.Bsize}, nil
}

func (r *room) setFloor(f config.Floor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.floor = f
}

// look returns the space, and the floor in bytes.
func (r *room) look() (space, int64, error) {
	now, err := r.statfs(r.dir)
	if err != nil {
		return now, 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return now, r.floor.Of(now.size), nil
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
		above = fmt.Sprintf(" above the floor of %s", sizeText(e.floor))
	}
	return fmt.Sprintf("not started: the bundle takes %s, which is not free in %q%s: %v", sizeText(e.need), e.dir, above, unix.ENOSPC)
}

func (e *noRoomError) Unwrap() error { return unix.ENOSPC }

// claim sets space for a bundle of so many bytes aside.
func (r *room) claim(bytes int64) error {
	now, err := r.statfs(r.dir)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	floor := r.floor.Of(now.size)
	if now.free-r.claimed-bytes-slack < floor {
		return &noRoomError{need: bytes + slack, floor: floor, dir: r.dir}
	}
	r.claimed += bytes
	return nil
}

// written gives claims up: for bytes that are written, or will not be.
func (r *room) written(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claimed -= bytes
}

func sizeText(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
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
