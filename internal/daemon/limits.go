package daemon

import (
	"cmp"
	"context"
	"math"
	"sync/atomic"
	"time"

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

// usualCPU is how much of one processor the daemon takes on average while it packs, in percent, unless the config says it: a data
// loader beside it then keeps 95 % of its throughput, see docs/benchmarks.md.
const usualCPU = 40

// packerCPU is how much of one processor the daemon takes on average while it packs, in percent; +Inf for no limit.
func packerCPU(l config.Limits) float64 { return cmp.Or(l.CPU, usualCPU) }

// throttle bounds how fast all packs together read, and how much of the processors the program takes meanwhile.
type throttle struct {
	bytes *rate.Limiter
	cpu   *rate.Limiter        // in nanoseconds of the processor
	used  func() time.Duration // the processors' time that the program took
	// paid is what of it the packs have waited for.
	paid  atomic.Int64
	packs atomic.Int32  // under way
	rush  *atomic.Int32 // watches that are drained: the processors' time is not bounded then
}

// newThrottle bounds nothing.
func newThrottle() *throttle {
	return &throttle{bytes: rate.NewLimiter(rate.Inf, 0), cpu: rate.NewLimiter(rate.Inf, 0), used: processTime, rush: new(atomic.Int32)}
}

// processTime is the time of the processors that this process took.
func processTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// setRate changes how many bytes are read in a second, 0 for any number. Who waits goes on at the new rate.
func (t *throttle) setRate(bytesPerSecond int64) {
	if bytesPerSecond == 0 {
		t.bytes.SetLimit(rate.Inf)
		return
	}
	// Whoever waits does so for a tenth of a second at a time, and shows that it is alive.
	t.bytes.SetBurst(int(max(1, min(bytesPerSecond/10, 1<<20))))
	t.bytes.SetLimit(rate.Limit(bytesPerSecond))
}

// setCPU changes how much of one processor is taken on average, in percent, +Inf for no limit.
func (t *throttle) setCPU(percent float64) {
	if math.IsInf(percent, 1) {
		t.cpu.SetLimit(rate.Inf)
		return
	}
	perSecond := percent / 100 * float64(time.Second)
	t.cpu.SetBurst(int(min(perSecond, float64(time.Second)) / 10))
	t.cpu.SetLimit(rate.Limit(perSecond))
}

// begin tells that a pack begins. What the program did before is not paid for by packs.
func (t *throttle) begin() (end func()) {
	if t.packs.Add(1) == 1 {
		t.paid.Store(int64(t.used()))
	}
	return func() { t.packs.Add(-1) }
}

// mostOfByte is more than a processor without instructions for SHA-256 takes for a byte. What is above is taken by others in this
// process, such as uploads, for which no pack stands still.
const mostOfByte = 20 * time.Nanosecond

// wait waits until so many bytes may be read, and for the processors' time that was taken since the last call.
func (t *throttle) wait(ctx context.Context, bytes int, turned func()) error {
	used := int64(t.used())
	owed := min(used-t.paid.Swap(used), int64(bytes)*int64(mostOfByte))
	if err := take(ctx, t.cpu, int(owed), func() bool { return t.rush.Load() > 0 }, turned); err != nil {
		return err
	}
	return take(ctx, t.bytes, bytes, func() bool { return false }, turned)
}

// take waits until n may be taken from a bucket, or until it is free of charge.
func take(ctx context.Context, bucket *rate.Limiter, n int, free func() bool, turned func()) error {
	for n > 0 {
		if bucket.Limit() == rate.Inf || free() {
			return ctx.Err()
		}
		some := min(n, max(1, bucket.Burst()))
		if err := bucket.WaitN(ctx, some); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue // the burst was made smaller meanwhile
		}
		n -= some
		turned()
	}
	return nil
}
