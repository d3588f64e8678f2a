package daemon

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// show publishes a snapshot and returns it. It looks at nothing but memory.
func (d *Daemon) show() *status.Snapshot {
	now := d.now()
	s := &status.Snapshot{
		At: now.Round(0), Tool: d.Tool, PID: os.Getpid(), Config: d.config.Path, Started: now.Add(-now.Sub(d.started)).Round(0), Uptime: now.Sub(d.started).Seconds(),
		Ready: d.ready, Artifacts: d.showArtifacts(now), Limits: d.showLimits(),
		Reload: status.Reload{Error: clip(d.reloads.err), Good: d.reloads.good, Bad: d.reloads.bad},
		HTTP:   status.HTTP{Listen: d.config.HTTP.Listen, Error: clip(d.windows.httpFault)},
		Packs:  d.showPacks(now), Retention: d.showRetention(now), Forecast: d.forecast(now), Notify: d.showNotify(now),
	}
	if d.windows.http != nil {
		s.HTTP.Listen = d.windows.http.Address
	}
	if !d.reloads.at.IsZero() {
		s.Reload.At = back(now, d.reloads.at)
	}
	d.journal.mu.Lock()
	s.Counts, s.Bundles, s.Refusals, s.Strays = d.journal.counts, d.journal.bundles, d.journal.refusals, d.journal.strays
	if s.Retention != nil {
		s.Retention.Pruned = s.Counts.Pruned
	}
	for _, w := range d.config.Watches {
		if r := d.loops[w.Name]; r != nil {
			s.Watches = append(s.Watches, d.showWatch(r, now))
		}
	}
	d.journal.mu.Unlock()
	s.Destinations = d.destinations.show()
	s.Alerts = d.alarms.shown(now)
	s.Problems = d.problems(s)
	s.Summary = s.Sentence()
	d.board.Publish(s)
	return s
}

// forecast says when the artifact directory is full; nil while there is too little to tell from.
func (d *Daemon) forecast(now time.Time) *status.Forecast {
	room, seen := d.pool.packer.room, d.keeper.shown.Load()
	perDay, known := room.usage.perDay(now)
	if !known {
		return nil
	}
	f := &status.Forecast{BytesPerDay: math.Round(perDay)}
	until := func(left int64) *float64 {
		days := math.Round(max(0, float64(left)/perDay)*100) / 100
		return &days
	}
	if perDay < 1 {
		return f
	}
	if seen.size > 0 {
		f.ToFloor = until(seen.free - seen.floor)
	}
	if budget := room.budget.Load(); budget > 0 {
		used, _ := room.usage.read()
		f.ToBudget = until(budget - used)
	}
	return f
}

func (d *Daemon) showRetention(now time.Time) *status.Retention {
	if !d.curator.prunes() {
		return nil
	}
	c := d.curator.state()
	r := &status.Retention{Seconds: c.took.Seconds(), Failing: clip(c.failing)}
	r.Bytes, r.Failures = d.journal.prunings()
	if !c.ended.IsZero() {
		r.LastPass = back(now, c.ended)
	}
	if c.failing != "" {
		r.Since = back(now, c.since)
	}
	return r
}

// back returns a time of the past as the wall clock of now says it, whatever the clock said then.
func back(now, then time.Time) *time.Time {
	t := now.Add(-now.Sub(then)).Round(0)
	return &t
}

func (d *Daemon) showArtifacts(now time.Time) status.Artifacts {
	seen := d.keeper.shown.Load()
	a := status.Artifacts{Dir: d.store.Dir(), Free: seen.free, Size: seen.size, Floor: seen.floor, Budget: d.pool.packer.room.budget.Load(), Stopped: clip(seen.stopped)}
	a.Used, _ = d.pool.packer.room.usage.read()
	if seen.stopped != "" {
		a.Since = back(now, seen.since)
	}
	if why, since := d.wired.common.faults.current(); why != "" {
		a.Fault, a.Since = clip(why), back(now, since)
	}
	return a
}

func (d *Daemon) showLimits() status.Limits {
	kept := d.wired.common.kept
	percent := packerCPU(d.config.Limits)
	if math.IsInf(percent, 1) {
		percent = 0
	}
	return status.Limits{Workers: int(d.pool.workers.Load()), CPU: percent, ReadRate: d.config.Limits.ReadRate, KeptFiles: int(kept.most.Load()), Kept: int(kept.used.Load())}
}

func (d *Daemon) showPacks(now time.Time) []status.Pack {
	packs := []status.Pack{}
	for _, w := range *d.pool.shown.Load() {
		_, in := w.pulse.idle()
		p := status.Pack{Watch: w.watch, Key: clip(w.key), Started: *back(now, w.begun), Seconds: now.Sub(w.begun).Seconds(),
			Bytes: min(w.done.Load(), w.total.Load()), Total: w.total.Load(), Stalled: w.stalled.Load()}
		if p.Stalled {
			p.In = shownCall(in, now)
		}
		if p.Seconds > 0 {
			p.Rate = int64(float64(p.Bytes) / p.Seconds)
		}
		if p.Rate > 0 && !p.Stalled {
			p.ETA = float64(p.Total-p.Bytes) / float64(p.Rate)
		}
		packs = append(packs, p)
	}
	slices.SortFunc(packs, func(a, b status.Pack) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return strings.Compare(a.Watch+"\x00"+a.Key, b.Watch+"\x00"+b.Key)
	})
	return packs
}

func (d *Daemon) showWatch(r *running, now time.Time) status.Watch {
	w := r.rootOf(now)
	w.Hung = d.vigil.callOf(r.ward().name)
	if last, ok := d.journal.last[w.Name]; ok {
		w.LastBundle = back(now, last)
	}
	w.Sets.Pending = make(map[status.State]int)
	v := r.shown.Load()
	if v == nil {
		return w
	}
	w.Kept, w.LeftOut, w.Stalled = v.kept, v.leftOut, v.stalls
	w.Sets.Known = v.known
	w.Sets.Published = v.known
	for state, n := range v.states {
		w.Sets.Pending[state] = n
		w.Sets.Published -= n
	}
	if !v.oldest.IsZero() {
		w.Sets.Oldest = back(now, v.oldest)
	}
	for _, p := range v.pending {
		s := status.Set{Key: clip(p.key), State: p.state, Since: *back(now, p.since), Seconds: now.Sub(p.since).Seconds()}
		for _, text := range p.waits {
			s.Waits = append(s.Waits, clip(text))
		}
		w.Pending = append(w.Pending, s)
	}
	return w
}

// problems are what somebody should look at.
func (d *Daemon) problems(s *status.Snapshot) []string {
	problems := []string{}
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if s.Reload.Error != "" {
		add("reload refused, the old config stays in force: %s", firstLine(s.Reload.Error))
	}
	for i := range s.Watches {
		w := &s.Watches[i]
		switch {
		case w.Hung != nil:
			add("root of %s hangs for %s in %q of %q", w.Name, duration(w.Hung.Seconds), w.Hung.Op, w.Hung.Path)
		case w.Gone != "":
			add("root of %s is not there: %s", w.Name, w.Gone)
		case w.Degraded != "":
			add("root of %s is polled: %s", w.Name, w.Degraded)
		}
	}
	if call := d.vigil.callOf("artifacts"); call != nil {
		add("artifact directory hangs for %s in %q", duration(call.Seconds), call.Op)
	}
	for _, r := range d.leaving {
		add("the former root %q of %s hangs", r.watch.Root, r.watch.Name)
	}
	for _, p := range s.Packs {
		if p.Stalled {
			add("packing %s %s is stalled", p.Watch, p.Key)
		}
	}
	if s.Artifacts.Stopped != "" {
		add("nothing is started: %s", s.Artifacts.Stopped)
	}
	if s.Artifacts.Fault != "" {
		add("bundles cannot be written: %s", s.Artifacts.Fault)
	}
	for i := range s.Destinations {
		switch t := &s.Destinations[i]; {
		case t.Error != "":
			add("sending to %s fails: %s", t.Name, t.Error)
		case t.Conflicts+t.Refused > 0:
			add("%s takes %d bundles not", t.Name, t.Conflicts+t.Refused)
		case t.Probe != nil && t.Probe.ClockAhead != 0:
			add("%s: %s", t.Name, status.ClockText(t.Probe.ClockAhead))
		}
	}
	if s.HTTP.Error != "" {
		add("%s", s.HTTP.Error)
	}
	for i := range s.Watches {
		for _, r := range s.Watches[i].Stalled {
			add("%s: %s", s.Watches[i].Name, stalledText(r, s.At))
		}
	}
	if call := d.vigil.callOf("retention"); call != nil {
		add("retention hangs for %s in %q of %q", duration(call.Seconds), call.Op, call.Path)
	}
	if text := d.curator.state().problem(); text != "" {
		add("%s", text)
	}
	for _, n := range s.Notify {
		if n.Failing != nil {
			add("%s cannot be told: %s", n.Name, n.Error)
		}
	}
	return problems
}

// duration writes seconds in steps that do not change with every look.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	for _, step := range []time.Duration{time.Minute, 10 * time.Second} {
		if d >= step {
			return d.Truncate(step).String()
		}
	}
	return d.Truncate(time.Second).String()
}
