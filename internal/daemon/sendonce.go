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
func sendOnce(ctx context.Context, all []target, dir string, paths []string, opts Options) error {
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
		opts.Emit(e)
	}
	var working destinations
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
			to := passSender(t, s, places, tell)
			working.senders = append(working.senders, to)
			group.Go(func() { to.sendAll(ctx, s.Dir(), tell) })
		}
	}
	end := opts.follow(working.show)
	group.Wait()
	end()
	if ctx.Err() != nil {
		return fmt.Errorf("stopped before all bundles were sent: %w", ctx.Err())
	}
	return nil
}

// passSender sends some places for a pass.
func passSender(t target, s *shelf.Shelf, places []string, tell func(Event)) *sender {
	return newSender(t, s, places, func(e Event) {
		if e.Kind == Sent || e.Kind == Unsendable { // of a failure each bundle tells that did not go for it
			tell(e)
		}
	})
}

func (s *sender) sendAll(ctx context.Context, dir string, tell func(Event)) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(s.done)
		s.Run(working)
	}()
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	go s.giveUp(waiting, giveUp)
	left, err := s.Drain(waiting)
	stop()
	select {
	case <-s.done:
	case <-time.After(lastSend): // what hangs loses nothing
	}
	if err != nil {
		tell(Event{Kind: Unsent, Destination: s.name, Reason: fmt.Sprintf("it is not known what %s does not hold yet: %v", s.name, err)})
	}
	for _, b := range left {
		if !b.Final {
			tell(Event{Kind: Unsent, Destination: s.name, Watch: b.Watch, Key: b.Key, Path: filepath.Join(dir, filepath.FromSlash(b.Place)), Reason: notSent(s.name, b)})
		}
	}
}
