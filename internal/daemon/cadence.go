package daemon

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// cadence is how often sets of a run become complete, by when their newest members were last written: so it is
// right for what was there before the start, too.
type cadence struct {
	dir     string      // of the run, below the root
	times   []time.Time // of the last sets, oldest first
	looked  time.Time   // at its directory; zero before the first look
	active  string      // how it is known that the run is active; "" when it is not, or has not stalled
	expects time.Duration
}

// How many sets of a run are remembered, and how many it takes to tell what is usual.
const (
	cadenceMost  = 33
	cadenceLeast = 3
)

// add takes in a set. What was active brings sets again.
func (c *cadence) add(at time.Time) {
	i, known := slices.BinarySearchFunc(c.times, at, time.Time.Compare)
	if known {
		return
	}
	if i == len(c.times) {
		c.active, c.looked = "", time.Time{}
	}
	c.times = slices.Insert(c.times, i, at)
	c.times = c.times[max(0, len(c.times)-cadenceMost):]
	c.expects = usual(c.times)
}

// usual is the median time between sets; 0 when there are too few to tell. A trainer that saves several files
// at a time makes short gaps, which do not count: those of less than a fifth of the second longest, as the
// longest may be a pause.
func usual(times []time.Time) time.Duration {
	if len(times) < cadenceLeast {
		return 0
	}
	var gaps []time.Duration
	for i, t := range times[1:] {
		gaps = append(gaps, t.Sub(times[i]))
	}
	slices.Sort(gaps)
	least := gaps[len(gaps)-2] / 5
	gaps = slices.DeleteFunc(gaps, func(d time.Duration) bool { return d < least })
	return gaps[(len(gaps)-1)/2]
}

func (c *cadence) last() time.Time { return c.times[len(c.times)-1] }

// overdue tells whether the next set should have come long ago.
func (c *cadence) overdue(now time.Time, a config.Alerts) bool {
	if a.StalledIntervals == 0 || c.expects == 0 {
		return false
	}
	return now.Sub(c.last()) >= max(time.Duration(a.StalledIntervals)*c.expects, a.StalledLeast)
}

// over tells that a run brought its last set so long ago that nobody waits for it.
func (c *cadence) over(now time.Time, a config.Alerts) bool {
	return c.active == "" && now.Sub(c.last()) >= max(20*time.Duration(a.StalledIntervals)*c.expects, 20*a.StalledLeast, 24*time.Hour)
}

// nextLook is when to look at the directory of an overdue run again: the less often, the longer it is overdue.
func (c *cadence) nextLook(now time.Time) time.Time {
	if c.looked.IsZero() {
		return now
	}
	return c.looked.Add(min(max(now.Sub(c.last())/10, time.Second), 10*time.Minute))
}

// recently is within which time a file was changed in a run that is active.
func (c *cadence) recently(a config.Alerts) time.Duration { return max(c.expects, a.StalledLeast/2) }

// runOf names the run that a set is of, as [bundle.Head.Run] does.
func runOf(s *set) string {
	if run, ok := s.Captures.Value("run"); ok {
		return run
	}
	if dir := path.Dir(s.Key); dir != "." {
		return dir
	}
	return ""
}

// runDir is the directory of the run that a member is of, below the root: the one that {run} names, else the
// one that the member is in.
func runDir(s *set, member string) string {
	if run, ok := s.Captures.Value("run"); ok {
		if member == run || strings.HasPrefix(member, run+"/") {
			return run
		}
		if !strings.HasPrefix(member, run) {
			return "." // the root is the run
		}
	}
	return path.Dir(member)
}

// came takes in that a set is complete.
func (l *loop) came(s *set) {
	var newest int64
	var member string
	for _, r := range l.table.Roles() {
		if m := s.Member(r.Name); m != nil && (member == "" || m.ModTime > newest) {
			newest, member = m.ModTime, m.Path
		}
	}
	if member == "" || l.opts.alerts().StalledIntervals == 0 {
		return
	}
	at := time.Unix(0, newest)
	if now := l.now(); at.After(now) {
		at = now // the clock of a file server is ahead
	}
	run := runOf(s)
	c := l.runs[run]
	if c == nil {
		c = &cadence{dir: runDir(s, member)}
		l.runs[run] = c
	}
	stalled := c.active != ""
	c.add(at)
	l.changed = l.changed || stalled
}

// Runs that stall are looked for every stallEach, or less often when there are very many. A look at one takes a twentieth of
// the time at most: who has many processes has many descriptors to look through.
const (
	stallEach  = time.Second
	restOfRun  = 100 * time.Microsecond // for each run; a look takes some 50 ns
	stallShare = 20
)

// stall looks for runs that are overdue, and has one of them looked at.
func (l *loop) stall() {
	now := l.now()
	if now.Before(l.stallAt) || l.scouting {
		return
	}
	l.stallAt = now.Add(max(stallEach, time.Duration(len(l.runs))*restOfRun))
	for name, c := range l.runs {
		switch {
		case !c.overdue(now, l.opts.alerts()):
		case c.over(now, l.opts.alerts()):
			delete(l.runs, name)
		case !now.Before(c.nextLook(now)):
			c.looked = now
			l.scout(name, c)
			return
		}
	}
}

// scouted is what a look at a run found.
type scouted struct {
	run    string
	active string
	took   time.Duration
}

// scout looks at the directory of a run beside everything else: its file system may hang.
func (l *loop) scout(name string, c *cadence) {
	l.scouting = true
	roots := []string{l.watch.Root}
	if w := l.watcher.Load(); w != nil {
		if p := w.State().Path; p != "" && p != l.watch.Root {
			roots = append(roots, p)
		}
	}
	dir, since := c.dir, l.now().Add(-c.recently(l.opts.alerts()))
	go func() {
		began := time.Now()
		active := activity(roots, dir, since)
		l.scouts <- scouted{name, active, time.Since(began)}
	}()
}

// scoutedRun learns what a scout saw.
func (l *loop) scoutedRun(r scouted) {
	l.scouting, l.stallAt = false, l.now().Add(max(stallEach, stallShare*r.took))
	c := l.runs[r.run]
	if c == nil || c.looked.IsZero() { // a set came meanwhile
		return
	}
	l.changed = l.changed || (c.active == "") != (r.active == "")
	c.active = r.active
}

// shownStalls is how many stalled runs of a watch are shown one by one.
const shownStalls = 20

// stalls are the runs that are active and bring no set.
func (l *loop) stalls() []status.Stalled {
	var all []status.Stalled
	for name, c := range l.runs {
		if c.active != "" && c.overdue(l.now(), l.opts.alerts()) {
			all = append(all, status.Stalled{Run: clip(name), Last: c.last().Round(0), Interval: c.expects.Seconds(), Active: clip(c.active)})
		}
	}
	slices.SortFunc(all, func(a, b status.Stalled) int {
		if d := a.Last.Compare(b.Last); d != 0 {
			return d
		}
		return strings.Compare(a.Run, b.Run)
	})
	return all[:min(len(all), shownStalls)]
}

func stalledText(s status.Stalled, now time.Time) string {
	return fmt.Sprintf("run %s is active, but its last set became complete %s ago, and usually one comes every %s: %s", status.Plain(s.Run),
		duration(now.Sub(s.Last).Seconds()), time.Duration(s.Interval*float64(time.Second)).Round(time.Second), s.Active)
}
