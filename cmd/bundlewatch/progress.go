package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// progressBar shows on a terminal how a pack advances: bytes, rate, time to go. It appears only when
// a pack takes long enough to be waited for.
type progressBar struct {
	w     io.Writer
	width func() int // of the terminal, in columns; 0 when it does not say
	what  string     // is done
	mu    sync.Mutex
	name  string
	total int64
	done  int64
	begin time.Time
	shown time.Time
}

// newProgressBar shows progress on a terminal.
func newProgressBar(terminal *os.File, what string) *progressBar {
	return &progressBar{w: terminal, what: what, width: func() int {
		columns, _, err := term.GetSize(int(terminal.Fd()))
		if err != nil {
			return 0
		}
		return columns
	}}
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
	numbers := fmt.Sprintf("  %s of %s  %d%%  %s/s  ETA %s", status.Size(done), status.Size(b.total), 100*done/max(b.total, 1),
		status.Size(int64(rate)), left.Round(time.Second))
	return b.what + " " + b.fit(b.name, len(b.what)+1+len(numbers)) + numbers
}

// fit leaves out the beginning of a name when the line has no room for it beside taken columns: a line
// that is wrapped could not be drawn over. The last column stays free, where some terminals wrap.
func (b *progressBar) fit(name string, taken int) string {
	width, runes := b.width(), []rune(name)
	room := max(width-1-taken, 1)
	if width == 0 || len(runes) <= room {
		return name
	}
	return "…" + string(runes[len(runes)-room+1:])
}

// End implements daemon.Progress.
func (b *progressBar) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown != b.begin {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
