package daemon

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// shownSets is how many pending sets of a watch are shown one by one.
const shownSets = 20

// view is what is shown of the sets of a watch. It is not changed once it is made.
type view struct {
	known   int
	kept    int
	states  map[status.State]int
	oldest  time.Time // since when the set waits that waits longest; zero for none
	pending []shownSet
	leftOut int
	stalls  []status.Stalled
	// Sets that do not fit: above the floor, and into the budget.
	belowFloor, overBudget int
}

type shownSet struct {
	set   *set
	key   string
	state status.State
	since time.Time
	waits []string
}

// Texts such as "still changing for 12m0s" are made anew when they are older than showEach, and all sets are looked
// through after countEach though nothing happened. A view costs at most a twentieth of the time.
const (
	showEach  = 10 * time.Second
	countEach = time.Minute
	showShare = 20
)

// show publishes a view, when something changed.
func (l *loop) show() {
	if now := l.now(); now.Before(l.nextShow) || (!l.changed && (len(l.open) == 0 || now.Sub(l.lastShow) < showEach)) {
		return
	}
	begin := time.Now()
	l.lastShow = l.now()
	if l.changed || l.lastShow.Sub(l.counted) >= countEach {
		l.changed, l.counted = false, l.lastShow
		l.makeView()
	} else {
		l.freshenView()
	}
	l.nextShow = l.lastShow.Add(showShare * time.Since(begin))
}

func (l *loop) makeView() {
	packing := make(map[*set]bool)
	for j, s := range l.packing {
		packing[s] = j != l.offer
	}
	v := &view{known: l.table.Len(), kept: l.kept, states: make(map[status.State]int)}
	var first []*set
	states := make(map[*set]status.State)
	for s := range l.open {
		state := l.stateOf(s, packing[s])
		states[s] = state
		v.states[state]++
		if waits := state != status.Refused && state != status.Expired; waits && (v.oldest.IsZero() || s.Since.Before(v.oldest)) {
			v.oldest = s.Since
		}
		first = insert(first, s)
	}
	for _, s := range first {
		v.pending = append(v.pending, shownSet{s, s.Key, states[s], s.Since, l.reasons(s, states[s])})
	}
	v.leftOut = len(l.open) - len(first)
	v.stalls = l.stalls()
	for s, budget := range l.short {
		switch {
		case l.table.Current(s) != s || s.State.settled:
		case budget:
			v.overBudget++
		default:
			v.belowFloor++
		}
	}
	l.shown.Store(v)
}

// freshenView makes the texts of the view anew.
func (l *loop) freshenView() {
	v := *l.shown.Load()
	v.pending = slices.Clone(v.pending)
	for i, p := range v.pending {
		v.pending[i].waits = l.reasons(p.set, p.state)
	}
	v.stalls = l.stalls()
	l.shown.Store(&v)
}

// insert keeps the sets that wait longest.
func insert(first []*set, s *set) []*set {
	at, _ := slices.BinarySearchFunc(first, s, func(a, b *set) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Key, b.Key)) })
	if at == shownSets {
		return first
	}
	first = slices.Insert(first, at, s)
	return first[:min(len(first), shownSets)]
}

func (l *loop) stateOf(s *set, packing bool) status.State {
	switch {
	case packing:
		return status.Packing
	case s.State.busy && s.State.pending().failure != "" && l.now().Before(l.resume):
		return status.Retrying
	case s.State.busy:
		return status.Queued
	case s.State.pending().misfit != nil || l.isRefused(s):
		return status.Refused
	case l.now().Before(s.State.pending().retry) && s.State.pending().failure != "":
		return status.Retrying
	case !s.State.pending().regroupAt.IsZero():
		return status.Regrouping
	case s.State.expired:
		return status.Expired
	}
	return status.Waiting
}

func (l *loop) isRefused(s *set) bool {
	for _, r := range l.table.Roles() {
		if m := s.Member(r.Name); m != nil && m.Refused {
			return true
		}
	}
	return false
}

// reasons are what a set waits for, without a look at any file.
func (l *loop) reasons(s *set, state status.State) []string {
	var texts []string
	for _, m := range s.Missing() {
		if errors.Is(m.Reason, errUnproven) {
			texts = append(texts, m.Role+": is looked into")
			continue
		}
		texts = append(texts, m.String())
	}
	switch {
	case state == status.Packing, state == status.Queued:
		return nil
	case s.State.pending().failure != "":
		texts = append(texts, s.State.pending().failure)
	case state == status.Regrouping:
		texts = append(texts, "the members of a published set are written anew one by one; waits for the others")
	case len(texts) == 0 && l.watch.Marker != nil:
		if g, err := l.watch.Marker.Bind(s.Captures); err == nil {
			texts = append(texts, "no marker file "+g.String())
		}
	}
	return texts
}
