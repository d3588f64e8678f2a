package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/retention"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// memory is a destination.
type memory struct {
	name string
	mu   sync.Mutex
	down error
	has  []string
}

func (m *memory) Name() string    { return m.name }
func (m *memory) Kind() string    { return "memory" }
func (m *memory) Address() string { return "memory://" + m.name }

func (m *memory) Has(_ context.Context, b shelf.Bundle) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.has, b.Place), m.down
}

func (m *memory) Send(_ context.Context, b shelf.Bundle, progress func(int64)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return m.down
	}
	progress(b.Archive.Bytes)
	m.has = append(m.has, b.Place)
	return nil
}

func (m *memory) up() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = nil
}

func (m *memory) places() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(slices.Values(m.has))
}

func (m *memory) target(version int) target {
	return target{name: m.name, spec: []any{m.name, version}, parallel: 1, open: func() backlog.Destination { return m }}
}

// Bundles go to every destination; one that is down delays no other, and no bundle.
func TestBundlesAreSent(t *testing.T) {
	s := newSite(t)
	s.writePair("there")
	good, bad := &memory{name: "good"}, &memory{name: "bad", down: errors.New("no route to host")}
	v := s.serveAs(nil, func(d *Daemon) {
		d.targets = func(*config.Config) []target { return []target{bad.target(1), good.target(1)} }
	})
	v.event(Sent, "there/1")
	v.event(SendFailing, "")
	s.writePair("comes")
	v.event(Sent, "comes/1")
	require.Equal(t, []string{"w/comes/1", "w/there/1"}, good.places())
	v.until("sending to bad fails: no route to host")
	shown := v.daemon.board.Last()
	require.Len(t, shown.Destinations, 2)
	require.Equal(t, "bad", shown.Destinations[0].Name)
	require.NotZero(t, shown.Destinations[0].Failures)
	require.Equal(t, "memory", shown.Destinations[1].Kind)
}

// A reload starts, stops and changes destinations, and leaves the others alone.
func TestDestinationsAreReloaded(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	first, second := &memory{name: "first"}, &memory{name: "second"}
	var mu sync.Mutex
	wanted := []target{first.target(1)}
	v := s.serveAs(func() (*config.Config, error) { return s.config, nil }, func(d *Daemon) {
		d.targets = func(*config.Config) []target {
			mu.Lock()
			defer mu.Unlock()
			return wanted
		}
	})
	v.until("READY=1")
	v.event(Sent, "r/1")
	kept := v.daemon.destinations.senders[0]
	reload := func(now ...target) {
		mu.Lock()
		wanted = now
		mu.Unlock()
		v.reload <- struct{}{}
		v.until("RELOADING")
		v.until("READY=1")
	}
	reload(second.target(1), first.target(1))
	require.Eventually(t, func() bool { return len(second.places()) == 1 }, patience, time.Millisecond)
	require.Same(t, kept, v.daemon.destinations.senders[1])
	reload(first.target(2))
	require.NotSame(t, kept, v.daemon.destinations.senders[0])
	<-kept.done
	s.writePair("q")
	require.Eventually(t, func() bool { return len(first.places()) == 2 }, patience, time.Millisecond)
	require.Len(t, second.places(), 1)
}

// Retention prunes only what every destination of the watch holds.
func TestUnproved(t *testing.T) {
	good, bad := &memory{name: "good", has: []string{"w/r/1"}}, &memory{name: "bad", down: errors.New("no route to host")}
	other := bad.target(1)
	other.watches = []string{"x"}
	ask := unproved(context.Background(), []target{good.target(1), other})
	at := func(watch, place string) shelf.Bundle { return shelf.Bundle{Watch: watch, Place: place} }
	why := func(watch, place string) string { return ask(retention.Decision{Bundle: at(watch, place)}) }
	require.Empty(t, why("w", "w/r/1"))
	require.Equal(t, "good does not hold it", why("w", "w/r/2"))
	good.has = append(good.has, "x/r/1")
	for range 2 {
		require.Equal(t, "bad cannot be asked whether it holds it: no route to host", why("x", "x/r/1"))
		bad.down = nil // it is asked no further
	}
	decisions := []retention.Decision{{Bundle: at("w", "w/r/1"), Prune: true}, {Bundle: at("w", "w/r/2"), Prune: true, Why: "old"}, {Bundle: at("w", "w/r/3"), Why: "new"}}
	retention.Withhold(decisions, ask)
	require.Equal(t, []bool{true, false, false}, []bool{decisions[0].Prune, decisions[1].Prune, decisions[2].Prune})
	require.Equal(t, []string{"", "good does not hold it", "new"}, []string{decisions[0].Why, decisions[1].Why, decisions[2].Why})
}

// graveyard is a destination in which bundles were removed on purpose.
type graveyard struct {
	*memory
	removed []string
}

func (g *graveyard) Removed(_ context.Context, b shelf.Bundle) error {
	if slices.Contains(g.removed, b.Place) {
		return fmt.Errorf("%w: %w: by another host", backlog.ErrRefused, backlog.ErrRemoved)
	}
	return nil
}

// What was removed at a destination on purpose has nothing to wait for where this host prunes there, too, and the
// destination's having it is no reason to let it go.
func TestUnprovedWhereRemoved(t *testing.T) {
	yard := &graveyard{&memory{name: "lab", has: []string{"w/about-to-go", "w/stays"}}, []string{"w/about-to-go", "w/gone"}}
	to := yard.target(1)
	to.open = func() backlog.Destination { return yard }
	for _, c := range []struct {
		place            string
		prunes, released bool
		want             string
	}{
		{"w/gone", true, false, ""},
		{"w/gone", false, false, "lab does not hold it: refused: removed on purpose: by another host"},
		{"w/gone", true, true, "lab does not hold it: refused: removed on purpose: by another host"},
		{"w/about-to-go", true, false, ""},
		{"w/about-to-go", false, false, ""},
		{"w/about-to-go", true, true, "lab does not hold it: refused: removed on purpose: by another host"},
		{"w/stays", true, true, ""},
		{"w/never", true, false, "lab does not hold it"},
	} {
		to.prunes = c.prunes
		ask := unproved(context.Background(), []target{to})
		require.Equal(t, c.want, ask(retention.Decision{Bundle: shelf.Bundle{Watch: "w", Place: c.place}, Prune: true, Released: c.released}), c)
	}
}

func TestKeptLocally(t *testing.T) {
	stores := []config.Store{{Watches: []string{"a", "b"}, KeepLocal: time.Hour}, {Watches: []string{"b"}, KeepLocal: 2 * time.Hour}, {Watches: []string{"c"}, KeepLocal: -1}}
	for watch, want := range map[string]time.Duration{"a": time.Hour, "b": 2 * time.Hour} {
		got, ok := keptLocally(stores, watch)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	for _, watch := range []string{"c", "d"} {
		_, ok := keptLocally(stores, watch)
		require.False(t, ok)
	}
}

// The daemon prunes nothing that is still to be sent, and prunes it once it was.
func TestNothingUnsentIsPruned(t *testing.T) {
	s := newSite(t)
	s.watch().Retention = config.Retention{KeepLast: 1}
	lab := &memory{name: "lab", down: errors.New("no route to host")}
	v := s.serveAs(nil, func(d *Daemon) { d.targets = func(*config.Config) []target { return []target{lab.target(1)} } })
	for _, epoch := range []string{"1", "2"} {
		s.write("r/a-"+epoch+".ckpt", torchZip(t, 100, 1))
		s.write("r/b-"+epoch+".ckpt", torchZip(t, 100, 2))
		v.event(Bundled, "r/"+epoch)
	}
	v.event(SendFailing, "")
	require.Eventually(t, func() bool { return !v.daemon.curator.state().ended.IsZero() }, patience, time.Millisecond)
	require.Empty(t, lab.places())
	lab.up()
	v.event(Sent, "r/1")
	v.event(Pruned, "r/1")
	v.mu.Lock()
	defer v.mu.Unlock()
	kinds := func(k Kind) int {
		return slices.IndexFunc(v.events, func(e Event) bool { return e.Kind == k && e.Key == "r/1" })
	}
	require.Less(t, kinds(Sent), kinds(Pruned))
}

// What a destination has lost is found out before the local archive goes, and is sent again first.
func TestNothingLostIsPruned(t *testing.T) {
	s := newSite(t)
	s.watch().Retention = config.Retention{KeepLast: 1}
	lab := &memory{name: "lab"}
	v := s.serveAs(nil, func(d *Daemon) { d.targets = func(*config.Config) []target { return []target{lab.target(1)} } })
	write := func(epoch string) {
		s.write("r/a-"+epoch+".ckpt", torchZip(t, 100, 1))
		s.write("r/b-"+epoch+".ckpt", torchZip(t, 100, 2))
		v.event(Sent, "r/"+epoch)
	}
	write("1")
	lab.mu.Lock()
	lab.has = nil
	lab.mu.Unlock()
	write("2")
	v.event(Pruned, "r/1")
	require.Equal(t, []string{"w/r/1", "w/r/2"}, lab.places())
	v.mu.Lock()
	defer v.mu.Unlock()
	sent := 0
	for _, e := range v.events {
		if e.Kind == Sent && e.Key == "r/1" {
			sent++
		}
	}
	require.Equal(t, 2, sent)
}

// A drain sends what there is, names what did not go, and waits no longer for a destination that is down.
func TestDrainSends(t *testing.T) {
	s := newSite(t)
	s.writePair("there")
	good, bad := &memory{name: "good"}, &memory{name: "bad", down: errors.New("no route to host")}
	v := s.serveAs(nil, func(d *Daemon) {
		d.targets = func(*config.Config) []target { return []target{bad.target(1), good.target(1)} }
	})
	v.until("READY=1")
	drain := func(below ...string) []status.Left {
		return v.daemon.Drain(t.Context(), status.NewDrainRequest(time.Minute, below)).Left
	}
	require.Equal(t, []status.Left{{Watch: "w", Key: "there/1", Reasons: []string{"it was not sent to bad yet: no route to host"}}}, drain())
	require.Equal(t, []string{"w/there/1"}, good.places())
	require.Empty(t, drain(t.TempDir()), "nothing of these directories goes there")
	bad.up()
	require.Empty(t, drain())
	require.Equal(t, []string{"w/there/1"}, bad.places())
}
