package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// sendOnce brings the bundles at paths below dir to the destinations that take them, and tells of each that did not get
// there. A destination that fails all the time is waited for as long as an outage.
func sendOnce(ctx context.Context, all []target, dir string, paths []string, emit func(Event)) error {
	if len(all) == 0 || len(paths) == 0 {
		return nil
	}
	s, err := shelf.Open(dir)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	tell := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		emit(e)
	}
	var group sync.WaitGroup
	for _, t := range all {
		var places []string
		for _, path := range paths {
			place, err := filepath.Rel(s.Dir(), path)
			if err != nil {
				return fmt.Errorf("send %q: %w", path, err)
			}
			place = filepath.ToSlash(place)
			if watch, _, _ := strings.Cut(place, "/"); t.takes(watch) {
				places = append(places, place)
			}
		}
		if len(places) > 0 {
			group.Go(func() { sendTo(ctx, t, s, places, tell) })
		}
	}
	group.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("stopped before all bundles were sent: %w", ctx.Err())
	}
	return nil
}

func sendTo(ctx context.Context, t target, s *shelf.Shelf, places []string, tell func(Event)) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	to := &sender{target: t, stop: stop, done: make(chan struct{}), Backlog: newBacklog(t, s, places, func(e Event) {
		if e.Kind == Sent || e.Kind == Unsendable { // of a failure each bundle tells that did not go for it
			tell(e)
		}
	})}
	go func() {
		defer close(to.done)
		to.Run(working)
	}()
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	go to.giveUp(waiting, giveUp)
	left, err := to.Drain(waiting)
	stop()
	select {
	case <-to.done:
	case <-time.After(lastSend): // what hangs loses nothing
	}
	if err != nil {
		tell(Event{Kind: Unsent, Destination: t.name, Reason: fmt.Sprintf("it is not known what %s does not hold yet: %v", t.name, err)})
	}
	for _, b := range left {
		if !b.Final {
			tell(Event{Kind: Unsent, Destination: t.name, Watch: b.Watch, Key: b.Key, Path: filepath.Join(s.Dir(), filepath.FromSlash(b.Place)), Reason: notSent(t.name, b)})
		}
	}
}
