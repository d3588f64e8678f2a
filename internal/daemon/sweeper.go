package daemon

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// When a store is swept. The first time is drawn at random, so that hosts that start together do not sweep together.
const (
	firstSweep = 10 * time.Minute // at most after the start
	nextSweep  = 24 * time.Hour
	sweepRetry = 10 * time.Minute // after a failure
)

// sweeper sweeps a store every day.
type sweeper struct {
	name string
	open func() (*bucket.Bucket, error)

	mu    sync.Mutex
	shown status.Sweeps
	told  string // the last failure
}

// newSweeper returns a sweeper of a store, with its credentials for that.
func newSweeper(s config.Store) *sweeper {
	s.Credentials = cmp.Or(s.SweepCredentials, s.Credentials)
	return &sweeper{name: s.Name, open: func() (*bucket.Bucket, error) { return OpenStore(s, "") }}
}

// run sweeps until the context is done.
func (s *sweeper) run(ctx context.Context, emit func(Event)) {
	timer := time.NewTimer(rand.N(firstSweep))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(s.sweep(ctx, emit))
	}
}

// sweep sweeps once, and returns after which time it is to be done again.
func (s *sweeper) sweep(ctx context.Context, emit func(Event)) time.Duration {
	begun := time.Now()
	objects, bytes := 0, int64(0)
	b, err := s.open()
	if err == nil {
		defer b.Close()
		err = b.Sweep(ctx, bucket.SweepOptions{Removed: func(r bucket.Removal) {
			objects, bytes = objects+1, bytes+max(r.Size, 0)
			s.removed(max(r.Size, 0))
		}})
	}
	if ctx.Err() != nil {
		return sweepRetry
	}
	if isNew := s.ended(begun, err); err != nil {
		if isNew {
			emit(Event{Kind: SweepFailed, Destination: s.name, Reason: err.Error()})
		}
		return sweepRetry
	}
	emit(Event{Kind: Swept, Destination: s.name, Objects: objects, Bytes: bytes, Seconds: time.Since(begun).Seconds()})
	return nextSweep
}

func (s *sweeper) removed(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown.Objects++
	s.shown.Bytes += bytes
}

// ended notes how a sweep went, and returns whether that is news.
func (s *sweeper) ended(at time.Time, err error) (isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		at = at.Round(0)
		s.shown.Last, s.shown.Error, s.told = &at, "", ""
		return true
	}
	s.shown.Failures++
	s.shown.Error = clip(err.Error())
	why := cause(err).Error()
	isNew, s.told = s.told != why, why
	return isNew
}

func (s *sweeper) state() *status.Sweeps {
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := s.shown
	return &shown
}
