package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
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
