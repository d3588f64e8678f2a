package daemon

import (
	"fmt"
	"strings"
)

// tell emits an event about a set or a member unless it says what was said of that last.
func (e *engine) tell(s *set, ev Event) {
	said := string(ev.Kind) + "\x00" + ev.Reason + "\x00" + strings.Join(ev.Waits, "\x00")
	about := subject{ev.Role, ev.Path}
	p := s.State.pend()
	if p.told[about] == said {
		return
	}
	if p.told == nil {
		p.told = make(map[subject]string)
	}
	p.told[about] = said
	ev.run = runOf(s)
	e.emit(ev)
}

// tellFaults tells which members are refused and which could not be read for a passing reason, and
// returns whether there are any.
func (e *engine) tellFaults(s *set) bool {
	faulty := false
	for _, r := range e.table.Roles() {
		m := s.Member(r.Name)
		if m == nil || m.Wait == nil || (!m.Refused && m.Value == nil) {
			continue
		}
		faulty = true
		kind := Failed
		if m.Refused {
			kind = Refused
		}
		e.tell(s, Event{Kind: kind, Key: s.Key, Role: r.Name, Path: e.absolute(m.Path), Reason: m.Wait.Error(), err: m.Wait})
	}
	return faulty
}

// report tells why a set is not bundled: its faulty members one by one, else what it waits for.
func (e *engine) report(s *set) {
	if e.tellFaults(s) {
		return
	}
	if texts := e.waitTexts(s); len(texts) > 0 {
		e.tell(s, Event{Kind: Waiting, Key: s.Key, Waits: texts})
	}
}

func (e *engine) waitTexts(s *set) []string {
	var texts []string
	for _, m := range s.Missing() {
		texts = append(texts, m.String())
	}
	if err := e.missingMarker(s); err != nil {
		texts = append(texts, err.Error())
	}
	return texts
}

// passedOver tells which files are not used because a newer one takes the same role in the same set.
func (e *engine) passedOver(s *set) {
	for _, r := range e.table.Roles() {
		for _, path := range s.Older(r.Name) {
			e.emit(Event{Kind: Skipped, Key: s.Key, Role: r.Name, Path: e.absolute(path),
				Reason: fmt.Sprintf("passed over: %q is newer and takes the same role", s.Member(r.Name).Path)})
		}
	}
}
