package daemon

import (
	"context"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// budget is how many descriptors of finished members may be kept open, over all watches. Beyond it members
// are opened and proven again when their set is complete.
type budget struct{ most, used atomic.Int64 }

func newBudget(most int) *budget {
	b := &budget{}
	b.most.Store(int64(most))
	return b
}

func (b *budget) take() bool {
	if b.used.Add(1) <= b.most.Load() {
		return true
	}
	b.used.Add(-1)
	return false
}

func (b *budget) give() { b.used.Add(-1) }

// Half of the descriptors are left for what is read and written, for roots and for notifications.
const (
	keptShare   = 2
	maxKept     = 65536
	keptUnknown = 256 // where the limit of open files cannot be asked
)

// keptFiles is how many descriptors are kept with the limit of open files of this process.
func keptFiles(l config.Limits) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return keptUnknown
	}
	share := int(min(limit.Cur/keptShare, maxKept))
	if l.KeptFiles == 0 {
		return share
	}
	return min(l.KeptFiles, int(min(limit.Cur/keptShare, 1<<30)))
}

// throttle bounds how fast all packs together read.
type throttle struct{ bucket *rate.Limiter }

func newThrottle(bytesPerSecond int64) *throttle {
	t := &throttle{bucket: rate.NewLimiter(rate.Inf, 0)}
	t.set(bytesPerSecond)
	return t
}

// set changes the rate, 0 for none. Who waits goes on at the new one.
func (t *throttle) set(bytesPerSecond int64) {
	if bytesPerSecond == 0 {
		t.bucket.SetLimit(rate.Inf)
		return
	}
	// Whoever waits does so for a tenth of a second at a time, and shows that it is alive.
	t.bucket.SetBurst(int(max(1, min(bytesPerSecond/10, 1<<20))))
	t.bucket.SetLimit(rate.Limit(bytesPerSecond))
}

// wait waits until so many bytes may be read.
func (t *throttle) wait(ctx context.Context, bytes int, turned func()) error {
	for bytes > 0 {
		if t.bucket.Limit() == rate.Inf {
			return ctx.Err()
		}
		n := min(bytes, max(1, t.bucket.Burst()))
		if err := t.bucket.WaitN(ctx, n); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue // the burst was made smaller meanwhile
		}
		bytes -= n
		turned()
	}
	return nil
}
