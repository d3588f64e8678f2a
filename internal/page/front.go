package page

import (
	"cmp"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// part is a section of the front page, which is replaced when it changes.
type part struct {
	ID   string        `json:"id"`
	HTML template.HTML `json:"html"` // made by html/template
}

// partNames are the sections in the order of the page, each of a template of its own.
var partNames = []string{"state", "packs", "waiting", "runs", "roots", "destinations", "refusals", "disk", "tidy"}

// frontCache holds the sections for as long as they are as new as the snapshot can be.
type frontCache struct {
	mu    sync.Mutex
	made  time.Time // with the monotonic clock
	parts []part
	err   error
}

// freshFor is how old sections may be; the daemon publishes a snapshot every second.
const freshFor = 900 * time.Millisecond

// parts renders the sections, once for all who look at the same time.
func (s *Site) parts() ([]part, error) {
	c := &s.front
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.made) < freshFor {
		return c.parts, c.err
	}
	c.parts, c.err = s.renderParts()
	c.made = time.Now()
	return c.parts, c.err
}

func (s *Site) renderParts() ([]part, error) {
	v := s.look()
	var parts []part
	for _, name := range partNames {
		html, err := render("part-"+name, v)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{name, template.HTML(html)})
	}
	return parts, nil
}

type frontPage struct {
	frame
	Parts []part
}

// reloadEach is how often a browser without JavaScript asks again, in seconds.
const reloadEach = 10

func (s *Site) showFront(w http.ResponseWriter, _ *http.Request) {
	parts, err := s.parts()
	if err != nil {
		http.Error(w, "make the page: "+status.Plain(err.Error()), http.StatusInternalServerError)
		return
	}
	f := s.frame("Status", "status")
	f.Refresh, f.Live = reloadEach, true
	s.show(w, http.StatusOK, "front.html", frontPage{f, parts})
}

// view is what the sections show.
type view struct {
	*status.Snapshot
	Starting bool
	Mood     string // "ok", "warn" or "bad"
	Headline string
	Wrong    []string // what somebody should look at
	Alarms   []alarmView
	Up       string
	Packing  []packView
	Waiting  []setView
	LeftOut  int // sets that wait and are not shown
	Roots    []rootView
	Sent     []destinationView
	Newest   []bundleView
	Refused  folded[refusalView]
	Moved    folded[strayView]
	Disk     diskView
	Lanes    []lane
	Total    int  // bundles in the artifact directory
	Reading  bool // it is read for the first time
	PastErr  string
}

// folded is a list of which the first few are shown at once.
type folded[T any] struct{ First, Others []T }

const shownFirst = 4

func fold[S, T any](all []S, view func(S) T) folded[T] {
	var f folded[T]
	for i, s := range all {
		if i < shownFirst {
			f.First = append(f.First, view(s))
		} else {
			f.Others = append(f.Others, view(s))
		}
	}
	return f
}

type packView struct {
	status.Pack
	Known   bool // how large it will be
	Done    int  // percent
	Took    string
	Left    string
	Moved   string
	HangsIn string
}

type setView struct {
	status.Set
	Watch string
	For   string
	Mood  string
}

type rootView struct {
	*status.Watch
	Mood, Word string
	Why        string // what is wrong
	Pending    int
	States     []stateCount
	Listed     *moment
	Listing    bool
	Took       string
	Last       *moment
	SettleText string
}

type stateCount struct {
	State status.State
	N     int
}

type bundleView struct {
	status.Bundle
	Place string
	When  *moment
	Took  string
}

type refusalView struct {
	status.Refusal
	When *moment
}

type strayView struct {
	status.Stray
	Word, Mood string
	When       *moment
}

type alarmView struct {
	status.Alert
	When *moment
}

type diskView struct {
	Known       bool
	Used        int64
	Percent     int
	UsedWidth   string // in the units of the drawing, of 1000
	FloorAt     string
	Mood, Word  string
	Why         string
	SinceMoment *moment
	Growth      string // the forecast
}

func (s *Site) look() *view {
	last, now := s.board.Last(), s.now()
	if last == nil {
		return &view{Snapshot: &status.Snapshot{}, Starting: true, Mood: "warn", Headline: "Starting"}
	}
	v := &view{Snapshot: last, Up: coarse(time.Duration(last.Uptime * float64(time.Second)))}
	v.judge(last)
	for _, p := range last.Packs {
		v.Packing = append(v.Packing, viewPack(p))
	}
	for i := range last.Watches {
		v.Roots = append(v.Roots, viewRoot(&last.Watches[i], now))
	}
	for i := range last.Destinations {
		v.Sent = append(v.Sent, viewDestination(&last.Destinations[i], now))
	}
	v.Waiting, v.LeftOut = waiting(last)
	for _, b := range last.Bundles {
		v.Newest = append(v.Newest, bundleView{b, placeOf(s.artifacts, b.Path), at(now, b.At), seconds(b.Seconds)})
	}
	v.Refused = fold(last.Refusals, func(r status.Refusal) refusalView { return refusalView{r, at(now, r.At)} })
	v.Moved = fold(last.Strays, func(m status.Stray) strayView { return viewStray(m, now) })
	v.Disk = viewDisk(last.Artifacts, now)
	v.Disk.Growth = growth(last)
	for _, a := range last.Alerts {
		v.Alarms = append(v.Alarms, alarmView{a, at(now, a.Since)})
	}
	v.remember(s.past.last(last), now, s.artifacts != "")
	return v
}

func (v *view) remember(h history, now time.Time, any bool) {
	v.Lanes, v.Total, v.Reading = lanes(now, h.bundles), h.total, any && h.read.IsZero()
	if h.err != nil {
		v.PastErr = h.err.Error()
	}
}

// judge says in one word how the daemon is doing.
func (v *view) judge(s *status.Snapshot) {
	sick := status.Health(s)
	v.Wrong = append(slices.Clone(sick), s.Problems...)
	switch {
	case len(sick) > 0:
		v.Mood, v.Headline = "bad", "The daemon is stuck"
	case s.Artifacts.Stopped != "" || s.Artifacts.Fault != "":
		v.Mood, v.Headline = "bad", "Nothing is bundled"
	case len(v.Wrong)+len(s.Alerts) > 0:
		v.Mood, v.Headline = "warn", plural(len(v.Wrong)+len(s.Alerts), "thing needs a look", "things need a look")
	case !s.Ready:
		v.Mood, v.Headline = "warn", "Listing the roots"
	default:
		v.Mood, v.Headline = "ok", "All is well"
	}
}

func viewPack(p status.Pack) packView {
	v := packView{Pack: p, Known: p.Total > 0, Done: p.Percent(), Took: seconds(p.Seconds)}
	if p.ETA > 0 {
		v.Left = seconds(p.ETA)
	}
	if p.In != nil {
		v.HangsIn = p.In.Op
	}
	return v
}

// shownSets bounds the table of sets that wait.
const shownSets = 100

// waiting are the sets that are neither published nor being packed, those that wait longest first.
func waiting(s *status.Snapshot) (sets []setView, leftOut int) {
	for i := range s.Watches {
		w := &s.Watches[i]
		leftOut += w.LeftOut
		for _, set := range w.Pending {
			if set.State != status.Packing {
				sets = append(sets, setView{set, w.Name, coarse(time.Duration(set.Seconds * float64(time.Second))), moods[set.State]})
			}
		}
	}
	slices.SortStableFunc(sets, func(a, b setView) int { return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Key, b.Key)) })
	if more := len(sets) - shownSets; more > 0 {
		return sets[:shownSets], leftOut + more
	}
	return sets, leftOut
}

var moods = map[status.State]string{status.Retrying: "warn", status.Refused: "bad", status.Expired: "warn"}

func viewRoot(w *status.Watch, now time.Time) rootView {
	v := rootView{Watch: w, Mood: "ok", Word: "watched", Listed: atPointer(now, w.Scan.Ended), Listing: w.Scan.Running != nil, Took: seconds(w.Scan.Seconds),
		Last: atPointer(now, w.LastBundle), SettleText: seconds(w.Settle)}
	switch {
	case w.Hung != nil:
		v.Mood, v.Word, v.Why = "bad", "hangs", w.Hung.Op+" of "+w.Hung.Path+" has not come back for "+seconds(w.Hung.Seconds)
	case w.Gone != "":
		v.Mood, v.Word, v.Why = "bad", "not there", w.Gone
	case w.Degraded != "":
		v.Mood, v.Word, v.Why = "warn", "polled", w.Degraded
	case w.Scan.Ended == nil:
		v.Mood, v.Word = "warn", "being listed"
	}
	for _, state := range status.States {
		if n := w.Sets.Pending[state]; n > 0 {
			v.States, v.Pending = append(v.States, stateCount{state, n}), v.Pending+n
		}
	}
	return v
}

// strayWords are what the events of tidying are called.
var strayWords = map[string][2]string{
	"tidied": {"moved", "ok"}, "tidy_refused": {"not moved", "warn"}, "tidy_failed": {"failed", "bad"}, "tidy_stopped": {"stopped", "bad"},
}

func viewStray(s status.Stray, now time.Time) strayView {
	word, known := strayWords[s.Event]
	if !known {
		word = [2]string{strings.ReplaceAll(strings.TrimPrefix(s.Event, "tidy_"), "_", " "), "warn"}
	}
	return strayView{s, word[0], word[1], at(now, s.At)}
}

func viewDisk(a status.Artifacts, now time.Time) diskView {
	v := diskView{Known: a.Size > 0, Used: max(0, a.Size-a.Free), Mood: "ok", Word: "has room", SinceMoment: atPointer(now, a.Since)}
	if v.Known {
		v.Percent = int(100 * float64(v.Used) / float64(a.Size))
		v.UsedWidth = number(1000 * float64(v.Used) / float64(a.Size))
		if a.Floor > 0 {
			v.FloorAt = number(1000 * float64(a.Size-min(a.Floor, a.Size)) / float64(a.Size))
		}
	}
	switch {
	case a.Fault != "":
		v.Mood, v.Word, v.Why = "bad", "cannot be written", a.Fault
	case a.Stopped != "":
		v.Mood, v.Word, v.Why = "bad", "stopped", a.Stopped
	}
	return v
}

// growth says how long there is room, "" as long as there is no forecast.
func growth(s *status.Snapshot) string {
	if s.Forecast == nil {
		return ""
	}
	full := "the disk is full"
	if s.Artifacts.Floor > 0 {
		full = "less than the floor is free"
	}
	return s.Forecast.Text(full)
}
