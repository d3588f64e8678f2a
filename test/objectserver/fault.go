package objectserver

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"
)

// Fault is what goes wrong with one request.
type Fault string

// The faults.
const (
	LoseAnswer Fault = "lose the answer" // done, and the connection is cut before anything is said
	Reset      Fault = "reset"           // the connection is cut before anything is done
	CutBody    Fault = "cut the body"    // cut in the middle of what is sent, or of the answer
	Say409     Fault = "409"             // refused as a conflicting operation; nothing is done
	Say412     Fault = "412"             // refused as a failed condition; nothing is done
	Say500     Fault = "500"             // nothing is done
	DoneBut500 Fault = "done, but 500"   // done, and 500 is the answer
	Say503     Fault = "503"             // slow down; nothing is done
)

// Trouble is what is wrong with every request until it is over.
type Trouble string

// The troubles.
const (
	None       Trouble = ""
	UnknownKey Trouble = "unknown key"  // the credentials were revoked
	BadSecret  Trouble = "wrong secret" // another secret belongs to the key
	NoBucket   Trouble = "no bucket"
	HTML       Trouble = "html" // a page for people, as of a proxy
	Full       Trouble = "full" // nothing more fits
	Busy       Trouble = "busy"
	Stalls     Trouble = "stalls" // takes requests and does not answer
	Slow       Trouble = "slow"   // does what it is asked for, each time after Slowness
	NoPut      Trouble = "no put"
	NoGet      Trouble = "no get"
	NoList     Trouble = "no list"  // so that what is not there is denied, as AWS does it
	NoBegin    Trouble = "no begin" // no right to begin an upload of parts
	NoParts    Trouble = "no parts" // no right to send parts of one that was begun
)

// Slowness is how long a slow store takes for each request.
const Slowness = 150 * time.Millisecond

// Troubles are all of them.
var Troubles = []Trouble{None, UnknownKey, BadSecret, NoBucket, HTML, Full, Busy, Stalls, Slow, NoPut, NoGet, NoList, NoBegin, NoParts}

// Suffer makes a trouble begin, and the one before it end. It may be called at any time.
func (s *Server) Suffer(t Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		close(s.over)
	}
	s.trouble, s.over = t, make(chan struct{})
}

// suffers answers a request with the trouble that there is, and tells whether it did.
func (s *Server) suffers(w http.ResponseWriter, r *http.Request, key string) bool {
	s.mu.Lock()
	trouble, over := s.trouble, s.over
	_, there := s.objects[key]
	s.mu.Unlock()
	writes := r.Method == http.MethodPut || r.Method == http.MethodPost
	refused := func(applies bool, status int, code string) bool {
		if applies {
			refuse(w, status, code, code)
		}
		return applies
	}
	switch trouble {
	case UnknownKey:
		return refused(true, http.StatusForbidden, "InvalidAccessKeyId")
	case BadSecret:
		return refused(true, http.StatusForbidden, "SignatureDoesNotMatch")
	case NoBucket:
		return refused(true, http.StatusNotFound, "NoSuchBucket")
	case Full:
		return refused(writes, http.StatusInsufficientStorage, "XMinioStorageFull")
	case Busy:
		return refused(true, http.StatusServiceUnavailable, "SlowDown")
	case NoPut:
		return refused(writes && r.URL.RawQuery == "", http.StatusForbidden, "AccessDenied")
	case NoGet:
		return refused(there && !writes, http.StatusForbidden, "AccessDenied")
	case NoList:
		return refused(!there && (r.Method == http.MethodGet || r.Method == http.MethodHead), http.StatusForbidden, "AccessDenied")
	case NoBegin:
		return refused(writes && r.URL.Query().Has("uploads"), http.StatusForbidden, "AccessDenied")
	case NoParts:
		return refused(writes && r.URL.Query().Has("partNumber"), http.StatusForbidden, "AccessDenied")
	case HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<html><body>Please log in</body></html>")
		return true
	case Slow:
		time.Sleep(Slowness)
	case Stalls:
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-over:
		case <-r.Context().Done():
		}
		return true
	}
	return false
}

// Faults are all of them.
var Faults = []Fault{LoseAnswer, Reset, CutBody, Say409, Say412, Say500, DoneBut500, Say503}

// inject serves a request with a fault.
func (s *Server) inject(f Fault, w http.ResponseWriter, r *http.Request) {
	switch f {
	case LoseAnswer:
		s.serve(httptest.NewRecorder(), r)
		hangUp(w)
	case Reset:
		hangUp(w)
	case CutBody:
		s.cutBody(w, r)
	case DoneBut500:
		s.serve(httptest.NewRecorder(), r)
		refuse(w, http.StatusInternalServerError, "InternalError", "we encountered an internal error")
	case Say409:
		refuse(w, http.StatusConflict, "ConditionalRequestConflict", "a conflicting operation ran")
	case Say412:
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "a precondition did not hold")
	case Say500:
		refuse(w, http.StatusInternalServerError, "InternalError", "we encountered an internal error")
	case Say503:
		refuse(w, http.StatusServiceUnavailable, "SlowDown", "please reduce your request rate")
	default:
		panic(fmt.Sprintf("unknown fault %q", f))
	}
}

// hangUp cuts the connection.
func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// cutBody reads half of the body, or sends half of the answer.
func (s *Server) cutBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > 0 {
		_, _ = r.Body.Read(make([]byte, r.ContentLength/2+1))
		hangUp(w)
		return
	}
	answer := httptest.NewRecorder()
	s.serve(answer, r)
	body := answer.Body.Bytes()
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body[:len(body)/2])
	panic(http.ErrAbortHandler)
}
