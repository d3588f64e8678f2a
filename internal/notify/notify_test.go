package notify

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 5*time.Millisecond, what)
}

// options try again at once.
func options() Options {
	return Options{Tool: "bundlewatch test", Host: "h", Now: time.Now, delay: func(int) time.Duration { return time.Millisecond }}
}

func block(name string) config.Notify {
	return config.Notify{Name: name, Events: []config.NotifyEvent{config.NotifyPublish, config.NotifyAlert}, Timeout: patience, Retries: 3, Queue: 10}
}

// start makes a notifier of blocks, which ends with the test.
func start(t *testing.T, opts Options, blocks ...config.Notify) *Notifier {
	t.Helper()
	n := New(opts)
	n.Use(blocks)
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 0)
		defer stop()
		n.Close(ctx)
	})
	return n
}

func publish(key string) Message {
	return Message{Event: config.NotifyPublish, Watch: "w", Key: key, Path: "/a/w/" + key, Text: "published " + key}
}

func (n *Notifier) only() Stat { return n.Stats()[0] }

// scripted is a receiver that answers what it is told to.
type scripted struct {
	mu      sync.Mutex
	answers []error // of the next attempts; nil after them
	got     []string
	hold    chan struct{} // attempts wait for it; nil for none
	active  atomic.Int32
}

func (s *scripted) send(ctx context.Context, m *Message) error {
	s.active.Add(1)
	defer s.active.Add(-1)
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, m.Key)
	if len(s.answers) == 0 {
		return nil
	}
	err := s.answers[0]
	s.answers = s.answers[1:]
	return err
}

func (s *scripted) keys() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got, " ")
}

// scriptedTarget puts a scripted receiver in the place of the only target's.
func scriptedTarget(t *testing.T, opts Options, b config.Notify, s *scripted) *Notifier {
	t.Helper()
	b.Command = []string{"true"}
	n := start(t, opts, b)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.targets[0].sender = s // nothing is queued yet, so the goroutine has not looked at it
	return n
}

func TestMessagesComeInOrderAndAreTriedAgain(t *testing.T) {
	var told []string
	var mu sync.Mutex
	opts := options()
	opts.Changed = func(target string, err error, since time.Time) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, target)
		require.Equal(t, err == nil, !since.IsZero())
	}
	s := &scripted{answers: []error{os.ErrDeadlineExceeded, os.ErrDeadlineExceeded}}
	n := scriptedTarget(t, opts, block("x"), s)
	for _, key := range []string{"1", "2", "3"} {
		n.Tell(publish(key))
	}
	eventually(t, "three are delivered", func() bool { return n.only().Delivered == 3 })
	require.Equal(t, "1 1 1 2 3", s.keys())
	stat := n.only()
	require.Equal(t, 2, stat.Retried)
	require.Zero(t, stat.Failed+stat.Dropped+stat.Queued)
	require.True(t, stat.Failing.IsZero())
	require.Empty(t, stat.Error)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"x", "x"}, told, "once that it fails, once that it works again")
}

func TestMessageIsGivenUp(t *testing.T) {
	bad := os.ErrInvalid
	s := &scripted{answers: []error{bad, bad, bad, bad, &finalError{bad}}}
	n := scriptedTarget(t, options(), block("x"), s)
	n.Tell(publish("1"))
	n.Tell(publish("2"))
	n.Tell(publish("3"))
	eventually(t, "all are over", func() bool { return n.only().Delivered == 1 })
	require.Equal(t, "1 1 1 1 2 3", s.keys(), "as often as retries says; not again where that would not help")
	require.Equal(t, 2, n.only().Failed)
}

func TestOldestIsDropped(t *testing.T) {
	s := &scripted{hold: make(chan struct{})}
	b := block("x")
	b.Queue = 3
	n := scriptedTarget(t, options(), b, s)
	n.Tell(publish("1"))
	eventually(t, "the first is under way", func() bool { return s.active.Load() == 1 })
	for _, key := range []string{"2", "3", "4", "5"} {
		n.Tell(publish(key))
	}
	require.Equal(t, 3, n.only().Queued)
	require.Equal(t, 2, n.only().Dropped)
	close(s.hold)
	eventually(t, "the rest is delivered", func() bool { return n.only().Delivered == 3 })
	require.Equal(t, "1 4 5", s.keys(), "what is under way stays")
}

func TestOnlyWhatIsWanted(t *testing.T) {
	s := &scripted{}
	b := block("x")
	b.Watches = []string{"w"}
	n := scriptedTarget(t, options(), b, s)
	other := publish("other watch")
	other.Watch = "v"
	n.Tell(other)
	refusal := publish("refusal")
	refusal.Event = config.NotifyRefusal
	n.Tell(refusal)
	n.Tell(Message{Event: config.NotifyAlert, Key: "of no watch"})
	n.Tell(publish("mine"))
	eventually(t, "one is delivered", func() bool { return n.only().Delivered == 1 })
	require.Equal(t, "mine", s.keys())
}

func TestUseKeepsWhatHasNotChanged(t *testing.T) {
	s := &scripted{hold: make(chan struct{})}
	n := scriptedTarget(t, options(), block("x"), s)
	n.Tell(publish("1"))
	n.Tell(publish("2"))
	eventually(t, "the first is under way", func() bool { return s.active.Load() == 1 })
	same, added := block("x"), block("y")
	same.Command, added.Command = []string{"true"}, []string{"true"}
	n.Use([]config.Notify{added, same})
	stats := n.Stats()
	require.Equal(t, "y", stats[0].Name)
	require.Equal(t, 2, stats[1].Queued)
	n.Use([]config.Notify{added})
	require.Len(t, n.Stats(), 1)
	eventually(t, "what was under way is given up", func() bool { return s.active.Load() == 0 })
	n.Use([]config.Notify{added})
	require.Empty(t, n.former)
}

func TestCloseTriesOnce(t *testing.T) {
	s := &scripted{hold: make(chan struct{}), answers: []error{os.ErrInvalid}}
	n := scriptedTarget(t, options(), block("x"), s)
	n.Tell(publish("1"))
	n.Tell(publish("2"))
	close(s.hold)
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	require.Zero(t, n.Close(ctx))
	require.Equal(t, 1, n.only().Delivered, "the queue is empty")
	n.Tell(publish("3"))
	require.Zero(t, n.only().Queued)
}

func TestCloseDropsWhatHangs(t *testing.T) {
	s := &scripted{hold: make(chan struct{})}
	n := scriptedTarget(t, options(), block("x"), s)
	n.Tell(publish("1"))
	n.Tell(publish("2"))
	eventually(t, "the first is under way", func() bool { return s.active.Load() == 1 })
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer stop()
	require.Equal(t, 1, n.Close(ctx))
	require.Equal(t, 1, n.only().Failed)
	require.Equal(t, 1, n.only().Dropped)
}

// Many who tell, one receiver that hangs: nobody waits, and the numbers add up.
func TestTellingNeverWaits(t *testing.T) {
	s := &scripted{hold: make(chan struct{})}
	n := scriptedTarget(t, options(), block("x"), s)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				n.Tell(publish("k"))
			}
		})
	}
	all.Wait()
	require.Equal(t, 4000, n.only().Queued+n.only().Dropped)
	close(s.hold)
	eventually(t, "the queue is empty", func() bool { return n.only().Queued == 0 })
	require.Equal(t, 4000, n.only().Delivered+n.only().Dropped)
}

func TestBackoff(t *testing.T) {
	for attempt, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		spread := make(map[time.Duration]bool)
		for range 50 {
			d := backoff(attempt)
			require.GreaterOrEqual(t, d, time.Duration(0))
			require.Less(t, d, most)
			spread[d] = true
		}
		require.Greater(t, len(spread), 10, "it is random")
	}
	require.Less(t, backoff(1000), time.Minute)
}

// The example of docs/notify.md has exactly the fields that a message can have.
func TestPageShowsAMessage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "notify.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(page), "```json\n")
	require.True(t, found)
	example, _, _ := strings.Cut(rest, "```")
	dec := json.NewDecoder(strings.NewReader(example))
	dec.DisallowUnknownFields()
	var m Message
	require.NoError(t, dec.Decode(&m))
	require.Equal(t, Schema, m.Schema)
	again, err := json.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, example, string(again))

	full := Message{Waits: []string{"x"}, Bytes: 1, Tensors: 1, Seconds: 1, Watch: "x", Run: "x", Key: "x", Role: "x", Path: "x", Reason: "x", Alert: &Alert{}}
	data, err := json.Marshal(full)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(data, &fields))
	for name := range fields {
		require.Contains(t, string(page), "| `"+name+"`", "docs/notify.md says nothing of this field")
	}
	for _, variable := range full.environment() {
		name, _, _ := strings.Cut(variable, "=")
		require.Contains(t, string(page), "`"+name+"`")
	}
	require.Contains(t, string(page), Signature([]byte("a secret"), time.Unix(1_700_000_000, 0), []byte(`{"schema_version":1}`)), "the example of a signature")
}
