package objectstore

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"
)

// exchange is what an answer said beside its body.
type exchange struct {
	mu   sync.Mutex
	said string // the Date header
}

type exchangeKey struct{}

// observer keeps the date of each answer, and knows a page for people from an answer of a store.
type observer struct{ small, large *http.Transport }

// largeBody is the size in bytes from which a body goes by connections with a large buffer. A store that ends the
// connection after each request would have one of these made for each small one, too.
const (
	largeBody   = 1 << 20
	largeBuffer = 256 << 10
)

func newObserver(t *http.Transport) *observer {
	large := t.Clone()
	large.WriteBufferSize = largeBuffer
	return &observer{small: t, large: large}
}

// CloseIdleConnections is that of [http.Client].
func (o *observer) CloseIdleConnections() {
	o.small.CloseIdleConnections()
	o.large.CloseIdleConnections()
}

// RoundTrip implements [http.RoundTripper].
func (o *observer) RoundTrip(r *http.Request) (*http.Response, error) {
	next := o.small
	if r.ContentLength >= largeBody {
		next = o.large
	}
	resp, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/html" {
		resp.Body.Close()
		return nil, ErrNotS3
	}
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		x.mu.Lock()
		x.said = resp.Header.Get("Date")
		x.mu.Unlock()
	}
	return resp, nil
}

// date returns the clock of the store when it answered, the zero time if it did not say.
func (x *exchange) date() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	t, err := http.ParseTime(x.said)
	if err != nil {
		return time.Time{}
	}
	return t
}

// call is one call under way. It is given up when nothing moves.
type call struct {
	context.Context
	*exchange
	client *Client
	stall  *time.Timer
	cancel context.CancelCauseFunc
}

func (c *Client) call(ctx context.Context) *call {
	x := &exchange{}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, exchangeKey{}, x))
	return &call{Context: ctx, exchange: x, client: c, cancel: cancel, stall: time.AfterFunc(c.patience.Stall, func() { cancel(ErrStalled) })}
}

func (c *call) end() {
	c.stall.Stop()
	c.cancel(nil)
}

func (c *call) moved() { c.stall.Reset(c.client.patience.Stall) }

// slow reads what is sent, no faster than the limit.
type slow struct {
	*call
	r    io.Reader
	left int64 // that has to come
	sent func(int64)
}

// sourceError is a failure to read what is sent, which is none of the store.
type sourceError struct{ error }

// errShort has no EOF in it, of which the library makes a connection that was closed.
var errShort = errors.New("it ends too early")

func (e *sourceError) Unwrap() error { return e.error }

const most = 64 << 10 // bytes at a time, so that the limit is smooth

func (s *slow) Read(b []byte) (int, error) {
	b = b[:min(len(b), most)]
	n, err := s.r.Read(b)
	s.left -= int64(n)
	switch {
	case err == io.EOF && s.left > 0:
		err = &sourceError{errShort}
	case err != nil && err != io.EOF:
		err = &sourceError{err}
	}
	if n > 0 && s.client.limit != nil {
		s.stall.Stop() // a slow pace of our own is no stall
		if err := s.client.limit.WaitN(s.Context, n); err != nil {
			return 0, err
		}
	}
	s.moved()
	if n > 0 && s.sent != nil {
		s.sent(int64(n))
	}
	return n, err
}

// watched reads an answer.
type watched struct {
	*call
	io.ReadCloser
}

func (w watched) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	w.moved()
	if err != nil && err != io.EOF && context.Cause(w.Context) == ErrStalled {
		err = ErrStalled
	}
	return n, err
}

func (w watched) Close() error {
	err := w.ReadCloser.Close()
	w.end()
	return err
}
