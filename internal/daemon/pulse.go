package daemon

import (
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pagecache"
)

// pulse shows from outside how work is going: when it moved last, and which call into a file system it is
// in. A call can hang for good, on a network file system whose server is gone, and take its goroutine with
// it; nothing else may stand still.
type pulse struct {
	now   func() time.Time
	hook  func(op, path string) // of tests, before every call; nil for none
	begun time.Time
	moved atomic.Int64 // when, in nanoseconds since it began

	mu sync.Mutex
	in []*call // that are not over, in the order of their beginning
}

// call is a call into a file system.
type call struct {
	op, path string
	since    time.Time
}

func newPulse(opts Options) *pulse {
	return &pulse{now: opts.now, hook: opts.hook, begun: opts.now()}
}

// turned tells that the work has moved.
func (p *pulse) turned() { p.moved.Store(int64(p.now().Sub(p.begun))) }

// last returns when the work moved last.
func (p *pulse) last() time.Time { return p.begun.Add(time.Duration(p.moved.Load())) }

// call tells that a call into a file system begins. What it returns tells that it is over. Calls may lie in each other, and
// be those of several goroutines.
func (p *pulse) call(op, path string) (over func()) {
	p.turned()
	c := &call{op, path, p.last()}
	p.mu.Lock()
	p.in = append(p.in, c)
	p.mu.Unlock()
	if p.hook != nil {
		p.hook(op, path)
	}
	return func() {
		p.mu.Lock()
		p.in = slices.DeleteFunc(p.in, func(other *call) bool { return other == c })
		p.mu.Unlock()
		p.turned()
	}
}

// idle returns for how long the work has not moved, and the call that began last of those that it is in, nil for none.
func (p *pulse) idle() (time.Duration, *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var in *call
	if n := len(p.in); n > 0 {
		in = p.in[n-1]
	}
	return p.now().Sub(p.last()), in
}

// reader reads a file for work that has a pulse.
type reader struct {
	pages *pagecache.Reader
	path  string
	pulse *pulse
	wait  func(bytes int) error // before so many are read; nil for no wait
	crcs  *checkpoint.Ranges    // of the state in which the file is
}

var _ interface {
	io.ReaderAt
	File() *os.File
} = reader{}

func newReader(f *os.File, path string, size int64, p *pulse, wait func(bytes int) error, crcs *checkpoint.Ranges) reader {
	return reader{pages: pagecache.NewReader(f, size), path: path, pulse: p, wait: wait, crcs: crcs}
}

// Ranges returns what is remembered of the file in this state.
func (r reader) Ranges() *checkpoint.Ranges { return r.crcs }

// File returns the file that is read.
func (r reader) File() *os.File { return r.pages.File() }

// ReadAt implements io.ReaderAt.
func (r reader) ReadAt(b []byte, offset int64) (int, error) {
	if r.wait != nil {
		if err := r.wait(len(b)); err != nil {
			return 0, err
		}
	}
	defer r.pulse.call("read", r.path)()
	return r.pages.ReadAt(b, offset)
}
