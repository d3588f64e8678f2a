package notify

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// Options are what a notifier needs besides its targets.
type Options struct {
	Tool string // the program's name and version
	Host string
	Now  func() time.Time
	// Changed is called when a target begins to fail, with the error, and when it works again, with nil and
	// since when it failed. It is called from the target's goroutine and may be nil.
	Changed func(target string, err error, since time.Time)

	delay func(attempt int) time.Duration // of tests, in place of backoff
}

// Notifier tells its targets what happens. It may be used from any goroutine.
type Notifier struct {
	opts Options

	mu      sync.Mutex
	targets []*target // in the order of the config
	former  []*target // that a new config does not have, and that may still be at work
	closed  bool
}

// New returns a notifier without targets.
func New(opts Options) *Notifier { return &Notifier{opts: opts} }

// Use makes these blocks the targets. Those that have not changed keep what they have queued; of the others
// what is under way is finished or given up, and what waits is dropped.
func (n *Notifier) Use(blocks []config.Notify) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	var targets []*target
	for _, b := range blocks {
		i := slices.IndexFunc(n.targets, func(t *target) bool { return reflect.DeepEqual(t.block, b) })
		if i >= 0 {
			targets = append(targets, n.targets[i])
			n.targets = slices.Delete(n.targets, i, i+1)
			continue
		}
		targets = append(targets, startTarget(b, n.opts))
	}
	for _, t := range n.targets {
		t.drop()
		t.close()
		t.cancel()
	}
	n.former = slices.DeleteFunc(append(n.former, n.targets...), (*target).isOver)
	n.targets = targets
}

// Tell queues a message for the targets that want it. It does not wait. The notifier fills in schema, id, time,
// host and tool.
func (n *Notifier) Tell(m Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || !slices.ContainsFunc(n.targets, func(t *target) bool { return t.wants(&m) }) {
		return
	}
	m.fill(n.opts)
	for _, t := range n.targets {
		if t.wants(&m) {
			t.put(&m)
		}
	}
}

// Send makes one attempt to deliver a message to a block, whatever events that asks for.
func Send(ctx context.Context, b config.Notify, m Message, opts Options) error {
	m.fill(opts)
	ctx, stop := context.WithTimeout(ctx, b.Timeout)
	defer stop()
	return newSender(b, opts).send(ctx, &m)
}

func (m *Message) fill(opts Options) {
	m.Schema, m.ID, m.At, m.Host, m.Tool = Schema, newID(), opts.Now().UTC().Truncate(time.Millisecond), opts.Host, opts.Tool
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Stat is how a target is doing. Numbers count messages since the start, or since its block was changed.
type Stat struct {
	Name      string
	Kind      string // "command" or "webhook"
	To        string // the program, or the host; "" when that is in a file
	Queued    int    // the one that is being delivered among them
	Delivered int
	Failed    int // given up after all attempts, or because no further one would help
	Dropped   int // because the queue was full, or at the end
	Retried   int // attempts after the first
	// Failing is since when the last attempts failed, zero when the last one did not; Error is the last one's.
	Failing time.Time
	Error   string
}

// Stats returns how all targets are doing.
func (n *Notifier) Stats() []Stat {
	n.mu.Lock()
	defer n.mu.Unlock()
	stats := make([]Stat, len(n.targets))
	for i, t := range n.targets {
		stats[i] = t.stat()
	}
	return stats
}

// unkillable is how long Close waits for what was told to end at once.
const unkillable = time.Second

// Close tries once to deliver each message that waits, until the context is done, and drops the others. It returns
// how many it dropped. What does not end then is left behind.
func (n *Notifier) Close(ctx context.Context) (dropped int) {
	n.mu.Lock()
	n.closed = true
	all := append(n.former, n.targets...)
	n.mu.Unlock()
	for _, t := range all {
		t.close()
	}
	for _, t := range all {
		select {
		case <-t.done:
		case <-ctx.Done():
		}
	}
	for _, t := range all {
		dropped += t.drop()
		t.cancel()
	}
	timer := time.NewTimer(unkillable)
	defer timer.Stop()
	for _, t := range all {
		select {
		case <-t.done:
		case <-timer.C:
			return dropped
		}
	}
	return dropped
}
