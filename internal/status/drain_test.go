package status

import (
	"context"
	"math"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func drainer(t *testing.T, drain Drainer) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s.sock")
	s, err := ListenSocket(path, &Board{}, drain)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return path
}

func TestSocketDrains(t *testing.T) {
	want := DrainRequest{Below: []string{"/a b", "/c"}, StartSeconds: 5, Seconds: 9, Look: true}
	path := drainer(t, func(_ context.Context, r DrainRequest) Drained {
		require.Equal(t, want, r)
		return Drained{Before: 3, Bundled: []Bundle{{Key: "<k>"}}, Left: []Left{{Watch: "w", State: Refused, Reasons: []string{"x"}}}}
	})
	out, err := Drain(context.Background(), path, want)
	require.NoError(t, err)
	require.Equal(t, &Drained{Version: Schema, Before: 3, Bundled: []Bundle{{Key: "<k>"}}, Left: []Left{{Watch: "w", State: Refused, Reasons: []string{"x"}}}}, out)

	_, err = converse(context.Background(), path, http.MethodPost, "/drain", nil)
	require.ErrorContains(t, err, "makes no sense")
	_, err = converse(context.Background(), path, http.MethodGet, "/drain", nil)
	require.Error(t, err)
}

// A drain may take longer than any other answer, and ends when nobody waits for it any more.
func TestDrainOutlastsOtherRequests(t *testing.T) {
	ended := make(chan error, 1)
	path := drainer(t, func(ctx context.Context, r DrainRequest) Drained {
		select {
		case <-ctx.Done():
			ended <- ctx.Err()
		case <-time.After(time.Duration(r.Seconds * float64(time.Second))):
		}
		return Drained{}
	})
	if !testing.Short() {
		long := requestTime + time.Second
		_, err := Drain(context.Background(), path, DrainRequest{Seconds: long.Seconds()})
		require.NoError(t, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { time.Sleep(20 * time.Millisecond); stop() }()
	_, err := Drain(ctx, path, DrainRequest{Seconds: 3600})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestDrainOfAnOtherVersion(t *testing.T) {
	require.ErrorContains(t, decode("/s", []byte(`{"version":2}`), &Drained{}, func() int { return 2 }), "use the daemon's own")
	require.ErrorContains(t, decode("/s", []byte(`{`), &Drained{}, func() int { return 1 }), "makes no sense")
}

func TestTimesOfADrain(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ timeout, start, answer time.Duration }{
		{time.Minute, 55 * time.Second, 59 * time.Second},
		{6 * time.Second, time.Second, 5 * time.Second},
		{4 * time.Second, 0, 3 * time.Second},
		{time.Millisecond, 0, 0},
		{math.MaxInt64, longestDrain, longestDrain},
	} {
		start, answer := NewDrainRequest(c.timeout, nil).Times(now)
		require.Equal(t, c.start, start.Sub(now), c.timeout)
		require.Equal(t, c.answer, answer.Sub(now), c.timeout)
	}
	_, answer := DrainRequest{Seconds: math.NaN()}.Times(now)
	require.False(t, answer.After(now.Add(longestDrain)))
	_, answer = DrainRequest{Seconds: -5}.Times(now)
	require.Equal(t, now, answer)
}
