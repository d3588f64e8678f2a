package fault

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// tally is what was tried at the calls of one name, and what went wrong.
type tally struct{ points, torn, lost, duplicated int }

func (t *tally) add(o tally) {
	t.points += o.points
	t.torn += o.torn
	t.lost += o.lost
	t.duplicated += o.duplicated
}

// tallies are by the name of the system call.
type tallies map[string]*tally

var talliesMu sync.Mutex

// add counts what a test that runs beside others found.
func (t tallies) add(name string, one tally) {
	talliesMu.Lock()
	defer talliesMu.Unlock()
	t.of(name).add(one)
}

func (t tallies) of(name string) *tally {
	if t[name] == nil {
		t[name] = &tally{}
	}
	return t[name]
}

func (t tallies) total() tally {
	var sum tally
	for _, one := range t {
		sum.add(*one)
	}
	return sum
}

func (t tallies) String() string {
	var s strings.Builder
	row := func(name string, one tally) {
		fmt.Fprintf(&s, "\n| %-15s | %5d | %4d | %4d | %4d |", name, one.points, one.torn, one.lost, one.duplicated)
	}
	fmt.Fprintf(&s, "\n| %-15s | %5s | %4s | %4s | %4s |\n|---|---|---|---|---|", "system call", "tried", "torn", "lost", "dupl")
	for _, name := range slices.Sorted(maps.Keys(t)) {
		row(name, *t[name])
	}
	row("all", t.total())
	return s.String()
}
