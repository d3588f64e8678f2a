package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// progressBar shows on a terminal how a pack or a transfer advances: bytes, rate, time to go. It appears only when
// that takes long enough to be waited for. A nil one shows nothing.
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

// newBar shows progress on standard error, and is nil when that is no terminal.
func newBar(what string) *progressBar {
	fd := int(os.Stderr.Fd())
	if !term.IsTerminal(fd) {
		return nil
	}
	return &progressBar{w: os.Stderr, what: what, width: func() int {
		columns, _, err := term.GetSize(fd)
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
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.name, b.total, b.done = visible(strings.TrimSpace(watch+" "+key)), total, 0
	b.begin = time.Now()
	b.shown = b.begin
}

// Advance implements daemon.Progress.
func (b *progressBar) Advance(n int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += n
	if now := time.Now(); now.Sub(b.shown) >= redraw {
		b.shown = now
		done := min(b.done, b.total)
		rate := float64(b.done) / max(now.Sub(b.begin).Seconds(), 1e-3)
		b.draw(b.name, done, b.total, int64(rate), time.Duration(float64(b.total-done)/max(rate, 1)*float64(time.Second)))
	}
}

// draw writes the line anew; left is how long it takes, negative when that is not known.
func (b *progressBar) draw(name string, done, total, rate int64, left time.Duration) {
	numbers := fmt.Sprintf("  %s of %s  %d%%  %s/s", status.Size(done), status.Size(total), 100*done/max(total, 1), status.Size(rate))
	if left >= 0 {
		numbers += "  ETA " + left.Round(time.Second).String()
	}
	fmt.Fprintf(b.w, "\r\x1b[K%s %s%s", b.what, b.fit(name, len(b.what)+1+len(numbers)), numbers)
}

func (b *progressBar) wipe() { fmt.Fprint(b.w, "\r\x1b[K") }

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
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown != b.begin {
		b.wipe()
	}
}
