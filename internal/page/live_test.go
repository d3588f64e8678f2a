package page

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// served is a site on the server that a daemon has, with all its limits.
func served(t *testing.T, s *status.Snapshot) (board *status.Board, site *Site, address string) {
	t.Helper()
	board = &status.Board{}
	board.Publish(s)
	site = New(board, "", nil)
	l, err := status.ListenHTTP("127.0.0.1:0")
	require.NoError(t, err)
	server := status.ServeHTTP(l, board, status.NewMetrics(board, "test"), site, status.Access{})
	t.Cleanup(func() {
		site.Close()
		require.NoError(t, server.Close())
	})
	return board, site, server.Address
}

func follow(t *testing.T, address string) (*http.Response, *bufio.Reader) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/events", nil)
	require.NoError(t, err)
	r, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	require.NoError(t, err)
	t.Cleanup(func() { r.Body.Close() })
	return r, bufio.NewReader(r.Body)
}

func next(t *testing.T, events *bufio.Reader) (p struct{ ID, HTML string }) {
	t.Helper()
	for {
		line, err := events.ReadString('\n')
		require.NoError(t, err)
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			require.NoError(t, json.Unmarshal([]byte(data), &p))
			return p
		}
	}
}

func TestWhatChangesIsTold(t *testing.T) {
	board, _, address := served(t, &status.Snapshot{Ready: true})
	r, events := follow(t, address)
	require.Equal(t, "text/event-stream", r.Header.Get("Content-Type"))
	for _, name := range partNames {
		require.Equal(t, name, next(t, events).ID)
	}
	time.Sleep(6 * time.Second) // a stream outlives what a request may take
	board.Publish(&status.Snapshot{Ready: true, Packs: []status.Pack{{Watch: "w", Key: "now", Bytes: 1, Total: 2}}})
	p := next(t, events)
	require.Equal(t, "packs", p.ID, "nothing else has changed")
	require.Contains(t, p.HTML, `value="50"`)
}

func TestStreamsAreFew(t *testing.T) {
	_, site, address := served(t, &status.Snapshot{Ready: true})
	for range maxStreams {
		_, events := follow(t, address)
		next(t, events)
	}
	r, _ := follow(t, address)
	require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
	require.NotEmpty(t, r.Header.Get("Retry-After"))
	other, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(mustRequest(t, "http://"+address+"/"))
	require.NoError(t, err)
	require.Equal(t, 200, other.StatusCode, "the page itself is there all the same")
	require.NoError(t, other.Body.Close())
	site.Close()
	require.Eventually(t, func() bool { return len(site.streams) == 0 }, 30*time.Second, 10*time.Millisecond)
}

func mustRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	return r
}

// A client that does not read is dropped, and its place is free again.
func TestSlowClientsAreDropped(t *testing.T) {
	board, site, address := served(t, &status.Snapshot{Ready: true})
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4096))
	_, err = c.Write([]byte("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(site.streams) == 1 }, 30*time.Second, 10*time.Millisecond)
	i := 0
	require.Eventually(t, func() bool {
		i++
		board.Publish(&status.Snapshot{Ready: true, Problems: []string{strings.Repeat(string(rune('a'+i%26)), 8<<20)}})
		return len(site.streams) == 0
	}, 2*time.Minute, 200*time.Millisecond)
}
