package page

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

// How often somebody who looks on is told what is new, when at least something is sent, how long a client may take to
// receive it, and after how long it has to ask again.
const (
	tellEach   = time.Second
	breathEach = 15 * time.Second
	tellWithin = 5 * time.Second
	streamTime = 15 * time.Minute
)

// stream sends the sections of the front page as server-sent events, first all, then those that change. A client
// that does not receive in time is dropped.
func (s *Site) stream(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many look on already", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep the events back
	if r.Method == http.MethodHead {
		return
	}
	c := &client{w: w, control: http.NewResponseController(w), shown: make(map[string]template.HTML)}
	if c.control.SetReadDeadline(time.Time{}) != nil { // the server's is for requests
		return
	}
	turn := time.NewTicker(tellEach)
	defer turn.Stop()
	for over := time.After(streamTime); s.tell(c) == nil; {
		select {
		case <-turn.C:
		case <-over:
			return
		case <-r.Context().Done():
			return
		case <-s.ended.Done():
			return
		}
	}
}

// client is a browser that is told what changes.
type client struct {
	w       http.ResponseWriter
	control *http.ResponseController
	shown   map[string]template.HTML // by section
	told    time.Time
}

// tell sends what the client does not show yet.
func (s *Site) tell(c *client) error {
	parts, err := s.parts()
	if err != nil {
		return err
	}
	if err := c.control.SetWriteDeadline(time.Now().Add(tellWithin)); err != nil {
		return err
	}
	text := []byte(nil)
	if c.told.IsZero() {
		text = append(text, "retry: 3000\n\n"...)
	}
	for _, p := range parts {
		if c.shown[p.ID] == p.HTML {
			continue
		}
		line, err := json.Marshal(p)
		if err != nil {
			return err
		}
		text = fmt.Appendf(text, "event: part\ndata: %s\n\n", line)
		c.shown[p.ID] = p.HTML
	}
	if len(text) == 0 && time.Since(c.told) < breathEach {
		return nil
	}
	if len(text) == 0 {
		text = []byte(": nothing new\n\n")
	}
	c.told = time.Now()
	if _, err := c.w.Write(text); err != nil {
		return err
	}
	return c.control.Flush()
}
