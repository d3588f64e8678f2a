package daemon

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBeatsTickTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(130 * time.Millisecond)
		first := newBeat(tick)
		defer first.stop()
		time.Sleep(450 * time.Millisecond)
		second, slow := newBeat(tick), newBeat(keepEach)
		defer second.stop()
		defer slow.stop()
		for range 12 {
			at := <-first.C
			require.Equal(t, at, <-second.C)
			require.Zero(t, at.Nanosecond())
			if at.Unix()%5 == 0 {
				require.Equal(t, at, <-slow.C)
				slow.again()
			}
			time.Sleep(70 * time.Millisecond) // of work
			first.again()
			second.again()
		}
	})
}

func TestUntilBeat(t *testing.T) {
	for _, tc := range []struct{ now, want time.Duration }{
		{0, time.Second},
		{1, time.Second - 1},
		{900 * time.Millisecond, 100 * time.Millisecond},
		{901 * time.Millisecond, 1099 * time.Millisecond},
	} {
		require.Equal(t, tc.want, untilBeat(time.Unix(1_700_000_000, int64(tc.now)), time.Second), tc.now)
	}
}
