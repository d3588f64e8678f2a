package daemon

import "time"

// beat ticks at the same moments as all other beats. While nothing happens the processor is then woken once for all of
// them: being woken costs more than what there is to do.
type beat struct {
	C     <-chan time.Time
	timer *time.Timer
	each  time.Duration
}

func newBeat(each time.Duration) *beat {
	timer := time.NewTimer(untilBeat(time.Now(), each))
	return &beat{C: timer.C, timer: timer, each: each}
}

// again has to follow each tick.
func (b *beat) again() { b.timer.Reset(untilBeat(time.Now(), b.each)) }

func (b *beat) stop() { b.timer.Stop() }

// untilBeat is the time from now to the next whole multiple of each, by the wall clock. One that is as good as reached,
// because the wall clock is slowed down, is passed over.
func untilBeat(now time.Time, each time.Duration) time.Duration {
	left := each - time.Duration(now.UnixNano()%int64(each))
	if left < each/10 {
		left += each
	}
	return left
}
