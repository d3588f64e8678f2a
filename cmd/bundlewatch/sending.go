package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// sendingBar shows on a terminal how bundles go to stores and registries, all of them in one line.
type sendingBar struct {
	bar *progressBar // nil when there is no terminal

	mu     sync.Mutex
	before int64 // bytes that were sent before the first bundle that it has shown on its way, or -1
	drawn  bool
	over   bool
}

// newSendingBar shows how bundles are sent when standard error is a terminal.
func newSendingBar() *sendingBar { return &sendingBar{bar: newBar("sending"), before: -1} }

// Show draws what the destinations do now. It is for [daemon.Options], and may be called from any goroutine.
func (s *sendingBar) Show(all []status.Destination) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar == nil || s.over {
		return
	}
	var sent, under, left, rate int64
	var names []string
	bundles := 0
	for i := range all {
		d := &all[i]
		sent += d.SentBytes
		if d.Pending == 0 {
			continue
		}
		names, bundles, left, rate = append(names, d.Name), bundles+d.Pending, left+d.PendingBytes, rate+d.Rate
		for _, on := range d.Sending {
			under += on.Bytes
		}
	}
	left -= under
	if s.before < 0 {
		s.before = sent - under
	}
	if bundles == 0 {
		s.clear()
		return
	}
	done := sent - s.before
	eta := time.Duration(-1)
	if rate > 0 {
		eta = time.Duration(float64(left) / float64(rate) * float64(time.Second))
	}
	s.drawn = true
	s.bar.draw(fmt.Sprintf("%s to %s", count(bundles, "bundle"), strings.Join(names, ", ")), done, done+left, rate, eta)
}

// follow shows what a daemon sends, as its status has it, until end is called. A daemon that does not answer shows
// nothing.
func (s *sendingBar) follow(ctx context.Context, sockets []string) (end func()) {
	if s.bar == nil {
		return func() {}
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		turn := time.NewTicker(refresh)
		defer turn.Stop()
		for {
			select {
			case <-turn.C:
				if seen, _, err := ask(ctx, sockets); err == nil {
					s.Show(seen.Destinations)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		stop()
		<-done
	}
}

// Clear wipes the line out, until it is shown again.
func (s *sendingBar) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}

// End wipes the line out. Nothing is drawn after it.
func (s *sendingBar) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.over = true
}

func (s *sendingBar) clear() {
	if s.drawn {
		s.bar.wipe()
	}
	s.drawn = false
}
