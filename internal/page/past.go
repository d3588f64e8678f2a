package page

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// past knows the bundles that were published last, also before the daemon started. It looks them up when somebody
// asks, in one goroutine, so that nobody waits for the artifact directory and a large one is not read needlessly.
type past struct {
	dir string
	ctx context.Context

	mu      sync.Mutex
	known   history
	running bool
	seen    int // bundles that the daemon had published when known was made
}

// history is what is known of the past. It is not changed once it is made.
type history struct {
	bundles []record // newest first
	total   int      // bundles in the artifact directory
	read    time.Time
	took    time.Duration
	err     error
}

// record is what is remembered of a bundle.
type record struct {
	place, watch, run, key string
	published              time.Time
	bytes                  int64
	state                  shelf.State
}

// maxPast bounds what is remembered.
const maxPast = 1000

// The artifact directory is read anew after a while, because bundles are pruned, and never for more than a part
// of the time.
const (
	readAfter = 10 * time.Minute
	readShare = 20
)

func newPast(ctx context.Context, dir string) *past { return &past{dir: dir, ctx: ctx} }

// last returns what is known now, and looks for what is new.
func (p *past) last(s *status.Snapshot) history {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir != "" && !p.running && p.ctx.Err() == nil {
		p.look(s)
	}
	return p.known
}

// look begins to read what is not known yet. It is called with the lock.
func (p *past) look(s *status.Snapshot) {
	age := time.Since(p.known.read)
	fresh := s.Counts.Published - p.seen
	switch {
	case p.known.read.IsZero() && p.known.err == nil, age > max(readAfter, readShare*p.known.took):
		p.run(s, p.readAll)
	case p.known.err != nil && age > time.Minute, fresh > len(s.Bundles) && age > readShare*p.known.took:
		p.run(s, p.readAll)
	case fresh > 0 && fresh <= len(s.Bundles) && p.known.err == nil:
		p.run(s, func() history { return p.readNew(s.Bundles[:fresh]) })
	}
}

func (p *past) run(s *status.Snapshot, read func() history) {
	p.running = true
	go func() {
		h := history{read: time.Now()}
		defer func() {
			if fault := recover(); fault != nil {
				h.err = fmt.Errorf("%w: %v", errFault, fault)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.known, p.running, p.seen = h, false, s.Counts.Published
		}()
		h = read()
	}()
}

func (p *past) readAll() history {
	began := time.Now()
	s, err := shelf.Open(p.dir)
	var bundles []shelf.Bundle
	h := history{}
	if err == nil {
		bundles, h.total, err = s.Newest(p.ctx, maxPast)
	}
	h.read, h.took, h.err = time.Now(), time.Since(began), err
	for _, b := range bundles {
		if b.Published.IsZero() {
			continue // so damaged that it has no time
		}
		h.bundles = append(h.bundles, recordOf(b))
	}
	return h
}

// readNew adds bundles that the daemon says it has published.
func (p *past) readNew(fresh []status.Bundle) history {
	p.mu.Lock()
	h := p.known
	p.mu.Unlock()
	s, err := shelf.Open(p.dir)
	if err != nil {
		h.err, h.read = err, time.Now()
		return h
	}
	h.bundles = slices.Clone(h.bundles)
	for _, f := range fresh {
		b, err := s.At(placeOf(p.dir, f.Path))
		known := slices.ContainsFunc(h.bundles, func(r record) bool { return r.place == b.Place })
		if err != nil || known || b.Published.IsZero() {
			continue // gone again, or read with all others
		}
		h.bundles, h.total = append(h.bundles, recordOf(b)), h.total+1
	}
	slices.SortStableFunc(h.bundles, func(a, b record) int {
		return cmp.Or(b.published.Compare(a.published), strings.Compare(a.place, b.place))
	})
	h.bundles = h.bundles[:min(len(h.bundles), maxPast)]
	return h
}

func recordOf(b shelf.Bundle) record {
	return record{place: b.Place, watch: b.Watch, run: b.Run, key: b.Key, published: b.Published, bytes: b.Archive.Bytes, state: b.State}
}

// placeOf is the place of a bundle in an artifact directory, "" when it is in none.
func placeOf(dir, path string) string {
	place, err := filepath.Rel(dir, path)
	if dir == "" || err != nil || strings.HasPrefix(place, "..") {
		return ""
	}
	return filepath.ToSlash(place)
}
