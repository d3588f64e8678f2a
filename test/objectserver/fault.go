package objectserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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
