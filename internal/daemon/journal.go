package daemon

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/pair"
	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// journal remembers what happened last, and how often.
type journal struct {
	mu       sync.Mutex
	counts   status.Counts
	bundles  []status.Bundle // newest first
	refusals []status.Refusal
	strays   []status.Stray
	last     map[string]time.Time      // bundle, by watch
	newest   map[string]status.Refusal // by watch

	pruned     int64 // bytes
	pruneFails int
}

// How many of each are remembered.
const (
	lastBundles  = 10
	lastRefusals = 20
	lastStrays   = 20
)

// counted serialises events, which come from many goroutines, and counts them.
func (j *journal) counted(emit func(Event), m *status.Metrics, now func() time.Time) func(Event) {
	j.last, j.newest = make(map[string]time.Time), make(map[string]status.Refusal)
	return func(e Event) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.note(e, now())
		measure(m, e)
		emit(e)
	}
}

func (j *journal) note(e Event, now time.Time) {
	switch e.Kind {
	case Bundled:
		j.counts.Published++
		j.last[e.Watch] = now
		b := status.Bundle{Watch: e.Watch, Key: clip(e.Key), Path: clip(e.Path), Bytes: e.Bytes, Seconds: e.Seconds, At: now.Round(0)}
		j.bundles = newest(b, j.bundles, lastBundles)
	case Refused:
		j.counts.Refused++
		r := status.Refusal{Watch: e.Watch, Key: clip(e.Key), Role: e.Role, Path: clip(e.Path), Reason: clip(e.Reason), At: now.Round(0)}
		j.refusals = newest(r, j.refusals, lastRefusals)
		j.newest[e.Watch] = r
	case Failed:
		j.counts.Failed++
	case Expired:
		j.counts.Expired++
	case Pruned:
		j.counts.Pruned++
		j.pruned += e.Bytes
	case PruneFailed:
		if e.Watch != "" {
			j.pruneFails++
		}
	case Tidied, TidyRefused, TidyFailed, TidyStopped, TidyGone, TidyBack, TidyResolved:
		j.noteStray(e, now)
	}
}

// refused returns the last refusal of a watch.
func (j *journal) refused(watch string) (status.Refusal, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, ok := j.newest[watch]
	return r, ok
}

// prunings returns how many bytes were pruned, and how often that failed.
func (j *journal) prunings() (bytes int64, failures int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pruned, j.pruneFails
}

func (j *journal) noteStray(e Event, now time.Time) {
	if e.Kind == Tidied {
		j.counts.Tidied++
	}
	s := status.Stray{Event: string(e.Kind), Root: clip(e.Root), From: clip(e.Path), To: clip(e.To), Bytes: e.Bytes, Reason: clip(e.Reason), At: now.Round(0)}
	j.strays = newest(s, j.strays, lastStrays)
}

// newest puts an element before the others, of which so many stay. What was returned before is not changed.
func newest[T any](e T, others []T, most int) []T {
	return slices.Concat([]T{e}, others[:min(len(others), most-1)])
}

func measure(m *status.Metrics, e Event) {
	switch e.Kind {
	case Complete:
		m.Completed(e.Watch)
	case Bundled:
		m.Published(e.Watch, time.Duration(e.Seconds*float64(time.Second)), e.naming, e.waited)
	case Refused:
		m.Refused(e.Watch, refusalReason(e.err))
	case Failed:
		m.Failed(e.Watch, failureReason(e.err))
	case Expired:
		m.Expired(e.Watch)
	case Pruned:
		m.Pruned(e.Watch, e.Bytes)
	case PruneFailed:
		if e.Watch != "" { // else the directory could not be measured
			m.PruneFailed(e.Watch)
		}
	}
}

func refusalReason(err error) status.RefusalReason {
	var link *watch.LinkError
	switch {
	case isMisfit(err):
		return status.RefusedConfig
	case errors.Is(err, pair.ErrKey):
		return status.RefusedKey
	case errors.Is(err, watch.ErrUnreadable):
		return status.RefusedUnreadable
	case errors.Is(err, watch.ErrNotRegular), errors.As(err, &link):
		return status.RefusedNotRegular
	case isVerdict(err):
		return status.RefusedContent
	}
	return status.RefusedOther
}

func failureReason(err error) status.FailureReason {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return status.FailedSpace
	case errors.Is(err, unix.EROFS):
		return status.FailedReadOnly
	case errors.Is(err, unix.EIO), errors.Is(err, unix.ESTALE), errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ETIMEDOUT):
		return status.FailedIO
	case errors.Is(err, fs.ErrPermission):
		return status.FailedDenied
	}
	return status.FailedOther
}

// maxText is how many bytes of a text are shown.
const maxText = 1 << 10

func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	return text[:maxText] + "…"
}
