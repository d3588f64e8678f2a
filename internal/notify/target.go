package notify

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// sender makes one attempt to deliver a message.
type sender interface {
	// send returns nil when the receiver has taken the message; a [*finalError] when no further attempt would
	// help.
	send(ctx context.Context, m *Message) error
}

// finalError tells that trying again would not help.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }

func (e *finalError) Unwrap() error { return e.err }

// laterError tells that the receiver asks not to be tried before a time has passed.
type laterError struct {
	err   error
	after time.Duration
}

func (e *laterError) Error() string { return e.err.Error() }

func (e *laterError) Unwrap() error { return e.err }

// target is one block with its queue.
type target struct {
	block  config.Notify
	opts   Options
	sender sender
	ctx    context.Context // done when what is under way is to be given up
	cancel context.CancelFunc
	wake   chan struct{}
	closed chan struct{} // closed when nothing is tried again and nothing new comes
	done   chan struct{} // closed when the goroutine has ended
	shut   func()

	mu    sync.Mutex
	queue []*Message // oldest first; the first is being delivered when busy
	busy  bool
	count Stat
}

func startTarget(b config.Notify, opts Options) *target {
	if opts.delay == nil {
		opts.delay = backoff
	}
	t := &target{block: b, opts: opts, wake: make(chan struct{}, 1), closed: make(chan struct{}), done: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.shut = sync.OnceFunc(func() { close(t.closed) })
	t.sender = newSender(b, opts)
	t.count.Name, t.count.Kind, t.count.To = b.Name, "webhook", hostOf(b.URL)
	if b.Command != nil {
		t.count.Kind, t.count.To = "command", b.Command[0]
	}
	go t.run()
	return t
}

func newSender(b config.Notify, opts Options) sender {
	if b.Command != nil {
		return command{b}
	}
	return webhook{b, opts.Now, opts.Tool}
}

// wants tells whether a message is one of those that the block asks for.
func (t *target) wants(m *Message) bool {
	return slices.Contains(t.block.Events, m.Event) && (t.block.Watches == nil || slices.Contains(t.block.Watches, m.Watch))
}

// put queues a message, in place of the oldest that waits when there is no room.
func (t *target) put(m *Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) >= t.block.Queue {
		oldest := 0
		if t.busy {
			oldest = 1 // the first is under way
		}
		t.count.Dropped++
		if oldest >= len(t.queue) {
			return // nothing waits: the new one is the oldest
		}
		t.queue = slices.Delete(t.queue, oldest, oldest+1)
	}
	t.queue = append(t.queue, m)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// drop gives up what waits, and returns how many messages that were.
func (t *target) drop() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := 0
	if t.busy {
		kept = 1
	}
	n := len(t.queue) - kept
	t.queue = t.queue[:kept]
	t.count.Dropped += n
	return n
}

// close makes the goroutine end when the queue is empty.
func (t *target) close() { t.shut() }

func (t *target) isOver() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

func (t *target) isClosed() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

func (t *target) stat() Stat {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.count
	s.Queued = len(t.queue)
	return s
}

func (t *target) run() {
	defer close(t.done)
	for {
		if m := t.take(); m != nil {
			t.deliver(m)
			continue
		}
		if t.isClosed() {
			return
		}
		select {
		case <-t.wake:
		case <-t.closed:
		}
	}
}

// take returns the oldest message, which stays in the queue until it is delivered; nil for none.
func (t *target) take() *Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return nil
	}
	t.busy = true
	return t.queue[0]
}

// deliver tries until the message is taken, or given up.
func (t *target) deliver(m *Message) {
	for attempt := 0; ; attempt++ {
		err := t.attempt(m)
		t.note(attempt, err)
		if err == nil || isFinal(err) || attempt >= t.block.Retries || !t.wait(attempt, err) {
			t.finish(err)
			return
		}
	}
}

func (t *target) attempt(m *Message) error {
	ctx, stop := context.WithTimeout(t.ctx, t.block.Timeout)
	defer stop()
	return t.sender.send(ctx, m)
}

func isFinal(err error) bool {
	var final *finalError
	return errors.As(err, &final)
}

// note remembers how an attempt went, and tells when that is news.
func (t *target) note(attempt int, err error) {
	t.mu.Lock()
	since := t.count.Failing
	if attempt > 0 {
		t.count.Retried++
	}
	t.count.Error = ""
	if err == nil {
		t.count.Failing = time.Time{}
	} else {
		t.count.Error = err.Error()
		if since.IsZero() {
			t.count.Failing = t.opts.Now()
		}
	}
	t.mu.Unlock()
	if t.opts.Changed != nil && since.IsZero() == (err != nil) {
		t.opts.Changed(t.block.Name, err, since)
	}
}

// finish takes the message that was being delivered off the queue.
func (t *target) finish(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue, t.busy = t.queue[1:], false
	if err == nil {
		t.count.Delivered++
	} else {
		t.count.Failed++
	}
}

// wait waits before the next attempt, and returns false when there is to be none.
func (t *target) wait(attempt int, err error) bool {
	delay := t.opts.delay(attempt)
	var later *laterError
	if errors.As(err, &later) {
		delay = max(delay, later.after)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !t.isClosed()
	case <-t.closed:
		return false
	}
}

// The times between attempts.
const (
	firstDelay = time.Second
	mostDelay  = time.Minute
)

// backoff is a random time up to a limit that doubles with every attempt: receivers that come back are not met by
// all senders at once.
func backoff(attempt int) time.Duration {
	return rand.N(min(firstDelay<<min(attempt, 10), mostDelay))
}
