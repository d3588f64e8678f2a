package page

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// How long a request waits for its turn to read the artifact directory, and for what it reads. Both are within
// the time that an answer may take.
const (
	turnWithin = 2 * time.Second
	readWithin = 6 * time.Second
)

var (
	errNone  = errors.New("this daemon has no artifact directory")
	errBusy  = errors.New("others read the artifact directory, or it hangs: try again soon")
	errFault = errors.New("this is a fault of the program, please report it")
	errSlow  = errors.New("the artifact directory does not answer in time: it may hang, or hold very much; try again soon")
)

// reading runs do with the artifact directory. What does not come back in time keeps its place, so that a file
// system that hangs costs a few goroutines and no more.
func reading[T any](s *Site, do func(*shelf.Shelf) (T, error)) (result T, err error) {
	if s.artifacts == "" {
		return result, errNone
	}
	turn := time.NewTimer(turnWithin)
	defer turn.Stop()
	select {
	case s.readers <- struct{}{}:
	case <-turn.C:
		return result, errBusy
	}
	type answer struct {
		result T
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if fault := recover(); fault != nil { // a page that cannot be made is no reason to end the daemon
				a.err = fmt.Errorf("%w: %v", errFault, fault)
			}
			<-s.readers
			done <- a
		}()
		var on *shelf.Shelf
		if on, a.err = shelf.Open(s.artifacts); a.err == nil {
			a.result, a.err = do(on)
		}
	}()
	late := time.NewTimer(s.within)
	defer late.Stop()
	select {
	case a := <-done:
		return a.result, a.err
	case <-late.C:
		return result, errSlow
	}
}

// refuse answers a request that could not be read for.
func (s *Site) refuse(w http.ResponseWriter, what string, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNone):
		code = http.StatusNotFound
	case errors.Is(err, errBusy), errors.Is(err, errSlow):
		code = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "10")
	}
	s.showTrouble(w, code, "%s: %v", what, err)
}
