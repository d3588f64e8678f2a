package page

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// A plot is this large in its own units; the page stretches it to the width that there is.
const (
	plotWidth   = 1000
	sizeTop     = 4  // of the bars that show sizes
	sizeBottom  = 62 // where they stand
	paceTop     = 74 // of the line that shows intervals
	paceBottom  = 100
	plotMargin  = 8
	plotBundles = 120 // in one plot
	plotRuns    = 8   // on one page
)

// lane is a run with its bundles over time.
type lane struct {
	Watch, Run string
	Place      string // the directory that its newest bundle lies in
	Bundles    int
	More       bool // there are older ones that are not shown
	Bytes      int64
	Last       *moment
	First      *moment
	Bars       []bar
	Pace       string // points of a polyline, "" for less than three bundles
	Largest    int64
	Smallest   int64
	Typical    string // median of the intervals, "" for a single bundle
	Longest    string
	Label      string // says what is to be seen
}

// bar is one bundle.
type bar struct {
	X, Top, Bottom string
	Class          string // "", "pruned" or "damaged"
	Place          string
	Title          string
}

// lanes draws the runs that published last, each with its newest bundles.
func lanes(now time.Time, newest []record) []lane {
	type run struct{ watch, name string }
	var order []run
	byRun := make(map[run][]record)
	for _, r := range newest {
		key := run{r.watch, r.run}
		if byRun[key] == nil {
			order = append(order, key)
		}
		byRun[key] = append(byRun[key], r)
	}
	var drawn []lane
	for _, key := range order[:min(len(order), plotRuns)] {
		drawn = append(drawn, draw(now, byRun[key]))
	}
	return drawn
}

// draw makes the lane of bundles of one run, of which there is at least one.
func draw(now time.Time, records []record) lane {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b record) int { return cmp.Or(a.published.Compare(b.published), cmp.Compare(a.place, b.place)) })
	more := len(records) > plotBundles
	if more {
		records = records[len(records)-plotBundles:]
	}
	first, last := records[0], records[len(records)-1]
	l := lane{Watch: last.watch, Run: last.run, Place: parent(last.place), Bundles: len(records), More: more,
		First: at(now, first.published), Last: at(now, last.published), Smallest: first.bytes}
	for _, r := range records {
		l.Bytes += r.bytes
		l.Largest, l.Smallest = max(l.Largest, r.bytes), min(l.Smallest, r.bytes)
	}
	l.drawBars(records)
	l.drawPace(records)
	l.Label = l.describe()
	return l
}

func (l *lane) drawBars(records []record) {
	for i, r := range records {
		height := float64(sizeBottom-sizeTop) * float64(r.bytes) / float64(max(l.Largest, 1))
		b := bar{X: number(xOf(records, i)), Top: number(sizeBottom - max(height, 2)), Bottom: number(sizeBottom), Place: r.place,
			Title: fmt.Sprintf("%s: %s, %s", r.key, status.Size(r.bytes), r.published.Local().Format("2006-01-02 15:04:05"))}
		switch r.state {
		case shelf.Pruned:
			b.Class, b.Title = "pruned", b.Title+", pruned"
		case shelf.Damaged:
			b.Class, b.Title = "damaged", b.Title+", damaged"
		}
		l.Bars = append(l.Bars, b)
	}
}

// drawPace draws how long each bundle came after the one before.
func (l *lane) drawPace(records []record) {
	var gaps []time.Duration
	for i := 1; i < len(records); i++ {
		gaps = append(gaps, records[i].published.Sub(records[i-1].published))
	}
	if len(gaps) == 0 {
		return
	}
	sorted := slices.Sorted(slices.Values(gaps))
	longest := sorted[len(sorted)-1]
	l.Typical, l.Longest = span(sorted[len(sorted)/2]), span(longest)
	if len(gaps) < 2 {
		return
	}
	for i, gap := range gaps {
		y := paceBottom - (paceBottom-paceTop)*gap.Seconds()/max(longest.Seconds(), 1e-3)
		l.Pace += number(xOf(records, i+1)) + "," + number(y) + " "
	}
}

// xOf is where the bundle with that index is, between the first and the last.
func xOf(records []record, i int) float64 {
	from, to := records[0].published, records[len(records)-1].published
	if !to.After(from) {
		return plotWidth / 2
	}
	share := float64(records[i].published.Sub(from)) / float64(to.Sub(from))
	return plotMargin + share*(plotWidth-2*plotMargin)
}

func (l *lane) describe() string {
	text := plural(l.Bundles, "bundle", "bundles") + " from " + l.First.Clock + " to " + l.Last.Clock
	if l.Bundles == 1 {
		text = "1 bundle at " + l.Last.Clock
	}
	text += ", " + status.Size(l.Smallest)
	if l.Largest > l.Smallest {
		text += " to " + status.Size(l.Largest)
	}
	if l.Typical != "" {
		text += ", typically one every " + l.Typical + ", at most " + l.Longest + " apart"
	}
	return text
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
