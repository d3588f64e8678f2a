package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// later makes a bar believe that its pack began a second ago and that nothing was drawn since.
func later(b *progressBar) {
	b.begin = b.begin.Add(-time.Second)
	b.shown = b.begin
}

func TestProgressShowsBytesRateAndTimeToGo(t *testing.T) {
	var out bytes.Buffer
	b := &progressBar{w: &out, what: "packing", width: func() int { return 0 }}
	b.Begin("pairs", "run_1/03", 4<<30)
	b.Advance(1)
	require.Empty(t, out.String(), "a pack that is over at once shows nothing")
	later(b)
	b.Advance(1<<30 - 1)
	require.Regexp(t, `^\r\x1b\[Kpacking pairs run_1/03  1\.0 GiB of 4\.0 GiB  25%  .* [GM]iB/s  ETA \d+s$`, out.String())
	b.End()
	require.True(t, strings.HasSuffix(out.String(), "\r\x1b[K"), "the line is wiped out")
}

// A line that is wider than the terminal would be wrapped, and each redraw would leave a line behind.
func TestProgressFitsTheTerminal(t *testing.T) {
	for _, width := range []int{20, 60, 80, 200} {
		var out bytes.Buffer
		b := &progressBar{w: &out, what: "packing", width: func() int { return width }}
		b.Begin("unified", "run_cpu/épo que="+strings.Repeat("x", 90)+"02", 4<<30)
		later(b)
		b.Advance(1 << 30)
		line := strings.TrimPrefix(out.String(), "\r\x1b[K")
		require.Contains(t, line, "1.0 GiB of 4.0 GiB  25%")
		if width >= 60 {
			require.Contains(t, line, "2  1.0 GiB", "the end of the key tells sets apart")
			require.Less(t, utf8.RuneCountInString(line), width)
		}
	}
}

// All destinations are one line, which is wiped out when nothing is left, and not drawn any more at the end.
func TestSendingIsOneLine(t *testing.T) {
	var out bytes.Buffer
	s := &sendingBar{bar: &progressBar{w: &out, what: "sending", width: func() int { return 0 }}, before: -1}
	idle := status.Destination{Name: "idle", SentBytes: 100}
	s.Show([]status.Destination{idle})
	require.Empty(t, out.String())
	lab := status.Destination{Name: "lab", SentBytes: 1 << 30, Pending: 2, PendingBytes: 3 << 30, Rate: 1 << 20, Sending: []status.Sending{{Bytes: 1 << 30, Total: 2 << 30}}}
	hub := status.Destination{Name: "hub", Pending: 1, PendingBytes: 1 << 30}
	s.before = 100
	s.Show([]status.Destination{idle, lab, hub})
	require.Equal(t, "\r\x1b[Ksending 3 bundles to lab, hub  1.0 GiB of 4.0 GiB  25%  1.0 MiB/s  ETA 51m12s", out.String())
	out.Reset()
	s.Show([]status.Destination{hub})
	require.Contains(t, out.String(), "0 B/s")
	require.NotContains(t, out.String(), "ETA", "nothing moves")
	out.Reset()
	s.Show([]status.Destination{idle})
	s.Show([]status.Destination{idle})
	require.Equal(t, "\r\x1b[K", out.String())
	s.End()
	s.Show([]status.Destination{lab})
	require.Equal(t, "\r\x1b[K", out.String())
	out.Reset()
	late := &sendingBar{bar: s.bar, before: -1}
	late.Show([]status.Destination{lab})
	require.Contains(t, out.String(), "1.0 GiB of 3.0 GiB  33%", "what is on its way counts, also from before somebody looked")
	(&sendingBar{}).Show([]status.Destination{lab}) // no terminal
}
