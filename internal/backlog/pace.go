package backlog

import (
	"math/rand/v2"
	"time"
)

// Pauses after failures.
const (
	firstPause = time.Second
	mostPause  = 5 * time.Minute
	drainPause = 2 * time.Second // while somebody waits for the backlog to be empty
)

// Pause is how long to wait after so many failures in a row: anything between nothing and twice the time before
// ("full jitter"), so that a thousand hosts do not come back in one moment.
func Pause(fails int) time.Duration {
	most := mostPause
	if fails < 10 {
		most = min(most, firstPause<<max(0, fails-1))
	}
	return time.Duration(rand.Int64N(int64(most)) + 1)
}

// pause is [Pause], shorter while somebody waits.
func (b *Backlog) pause(fails int) time.Duration {
	p := Pause(fails)
	if b.drains > 0 {
		p = min(p, drainPause)
	}
	return p
}

// window is over how many seconds the rate is measured.
const window = 30

// meter measures how many bytes go in a second.
type meter struct {
	begun time.Time // since when there is no longer break than the window
	last  time.Time
	slots [window]int64 // by second
}

func (m *meter) add(now time.Time, n int64) {
	m.forget(now)
	if m.begun.IsZero() {
		m.begun = now
	}
	m.last = now
	m.slots[now.Unix()%window] += n
}

// forget clears the seconds that are too long ago.
func (m *meter) forget(now time.Time) {
	if passed := now.Unix() - m.last.Unix(); passed >= window || passed < 0 {
		*m = meter{}
		return
	}
	for s := m.last.Unix() + 1; s <= now.Unix(); s++ {
		m.slots[s%window] = 0
	}
	m.last = now
}

// rate returns bytes per second.
func (m *meter) rate(now time.Time) int64 {
	m.forget(now)
	var sum int64
	for _, n := range m.slots {
		sum += n
	}
	seconds := min(max(now.Sub(m.begun).Seconds(), 1), window)
	return int64(float64(sum) / seconds)
}
