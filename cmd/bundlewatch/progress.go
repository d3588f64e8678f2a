package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progressBar shows on a terminal how a pack advances: bytes, rate, time to go. It appears only when
// a pack takes long enough to be waited for.
type progressBar struct {
	w     io.Writer
	mu    sync.Mutex
	name  string
	total int64
	done  int64
	begin time.Time
	shown time.Time
}

// Packs that are over sooner show nothing; the line is redrawn at most this often.
const redraw = 100 * time.Millisecond

// Begin implements daemon.Progress.
func (b *progressBar) Begin(watch, key string, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.name, b.total, b.done = visible(watch+" "+key), total, 0
	b.begin = time.Now()
	b.shown = b.begin
}

// Advance implements daemon.Progress.
func (b *progressBar) Advance(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += n
	if now := time.Now(); now.Sub(b.shown) >= redraw {
		b.shown = now
		fmt.Fprintf(b.w, "\r\x1b[K%s", b.line(now))
	}
}

func (b *progressBar) line(now time.Time) string {
	done := min(b.done, b.total)
	rate := float64(b.done) / max(now.Sub(b.begin).Seconds(), 1e-3)
	left := time.Duration(float64(b.total-done) / max(rate, 1) * float64(time.Second))
	return fmt.Sprintf("packing %s  %s of %s  %d%%  %s/s  ETA %s", b.name, size(done), size(b.total), 100*done/max(b.total, 1),
		size(int64(rate)), left.Round(time.Second))
}

// End implements daemon.Progress.
func (b *progressBar) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown != b.begin {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
