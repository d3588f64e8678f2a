package watch

import (
	"path/filepath"
	"sync/atomic"
	"time"
)

// Progress tells a supervisor whether a watcher is alive. A watcher whose Beat is old while something is
// Blocked waits for a file system; one whose Beat is old while nothing is waits for the receiver of its
// facts, or is broken.
type Progress struct {
	// Beat is when the watcher last got on with its work; zero before Run. An idle watcher beats at
	// least every two seconds.
	Beat    time.Time
	Blocked Blocked
}

// Blocked is a batch of calls into the file system that has not returned. It is zero when there is none,
// and for microseconds of no account on a healthy file system.
type Blocked struct {
	// Op is what is done, such as "list".
	Op string
	// Path is absolute.
	Path  string
	Since time.Time
}

// pulse is what the owner shows of its progress to other goroutines.
type pulse struct {
	beat atomic.Pointer[time.Time]
	call atomic.Pointer[call]
}

// call is a batch of calls into the file system. A dir's name and parent never change, so the path can be
// put together by whoever asks.
type call struct {
	op    string
	root  string
	dir   *dir
	name  string
	since time.Time
}

func (p *pulse) turn(now time.Time) { p.beat.Store(&now) }

// enter shows that calls for the entry of d of this name are under way, for d itself when it is empty.
func (p *pulse) enter(op, root string, d *dir, name string) {
	c := &call{op: op, root: root, dir: d, name: name, since: time.Now()}
	p.beat.Store(&c.since)
	p.call.Store(c)
}

// leave shows that no call is under way.
func (p *pulse) leave() { p.call.Store(nil) }

func (p *pulse) progress() Progress {
	var now Progress
	if beat := p.beat.Load(); beat != nil {
		now.Beat = *beat
	}
	if c := p.call.Load(); c != nil {
		now.Blocked = Blocked{Op: c.op, Path: c.path(), Since: c.since}
	}
	return now
}

func (c *call) path() string {
	switch {
	case c.dir == nil:
		return c.root
	case c.name == "":
		return filepath.Join(c.root, c.dir.path())
	default:
		return filepath.Join(c.root, c.dir.join(c.name))
	}
}
