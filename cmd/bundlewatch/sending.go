package main

import (
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
	before int64 // bytes that were sent when it was shown first, or -1
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
	var sent, left, rate int64
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
			left -= on.Bytes
		}
	}
	if s.before < 0 {
		s.before = sent
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
