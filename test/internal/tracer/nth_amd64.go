package tracer

import "sync"

// Nth reacts to the n-th of the chosen calls, counted from 1, and remembers which it was.
type Nth struct {
	N      int
	Chosen func(Call) bool
	React  func(Call) Reaction

	mu  sync.Mutex
	met int
	at  Call
}

// Next is to be asked about every call.
func (x *Nth) Next(c Call) Reaction {
	if !x.Chosen(c) {
		return Reaction{}
	}
	x.mu.Lock()
	x.met++
	hit := x.met == x.N
	if hit {
		x.at = c
	}
	x.mu.Unlock()
	if !hit {
		return Reaction{}
	}
	return x.React(c)
}

// Hit tells whether there was an n-th call, and which.
func (x *Nth) Hit() (at Call, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.at, x.met >= x.N
}

// Met returns how many of the chosen calls there were so far.
func (x *Nth) Met() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.met
}
