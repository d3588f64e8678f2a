package status

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What a client may take. Answers are small and made from memory, so whoever needs longer is broken or
// hostile.
const (
	requestTime = 5 * time.Second
	answerTime  = 10 * time.Second
	idleTime    = 30 * time.Second
	headerBytes = 8 << 10
)

// Server answers requests until it is closed.
type Server struct {
	http  *http.Server
	ended chan struct{}
	// Address is where it listens: host:port, or the path of a socket.
	Address string
}

// serve begins to answer on a listener, to at most so many clients at a time; those beyond are sent away.
func serve(l net.Listener, address string, clients int, mux http.Handler) *Server {
	s := &Server{
		http: &http.Server{Handler: mux, ReadTimeout: requestTime, ReadHeaderTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
			MaxHeaderBytes: headerBytes, ErrorLog: discard()},
		ended: make(chan struct{}), Address: address,
	}
	go func() {
		defer close(s.ended)
		_ = s.http.Serve(&limited{Listener: l, free: newSlots(clients)}) // it always ends with an error: that of Close
	}()
	return s
}

// Close ends the server and all that is under way.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.ended
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// limited is a listener that closes connections beyond a number.
type limited struct {
	net.Listener
	free chan struct{}
}

func newSlots(n int) chan struct{} {
	slots := make(chan struct{}, n)
	for range n {
		slots <- struct{}{}
	}
	return slots
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case <-l.free:
			return &counted{Conn: c, release: sync.OnceFunc(func() { l.free <- struct{}{} })}, nil
		default:
			c.Close()
		}
	}
}

// counted is a connection that gives its place free when it is closed.
type counted struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// ListenHTTP opens the listener for the page, metrics and health, host:port.
func ListenHTTP(address string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %q: %w", address, err)
	}
	return l, nil
}

// maxHTTPClients is how many connections the HTTP listener has at a time. A browser that shows the page keeps one.
const maxHTTPClients = 64

// Page answers requests that are neither for metrics nor for health.
type Page = http.Handler

// ServeHTTP serves metrics and health, and closes the listener in the end. page answers everything else, unless it
// is nil.
func ServeHTTP(l net.Listener, board *Board, metrics *Metrics, page Page, access Access) *HTTPServer {
	s := &HTTPServer{board: board, metrics: metrics}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		s.loopback = a.IP.IsLoopback()
	}
	s.Change(page, access)
	answer := func(w http.ResponseWriter, r *http.Request) { (*s.answers.Load()).ServeHTTP(w, r) }
	s.Server = serve(l, l.Addr().String(), maxHTTPClients, http.HandlerFunc(answer))
	return s
}

// HTTPServer is the server of the HTTP listener.
type HTTPServer struct {
	*Server
	board    *Board
	metrics  *Metrics
	loopback bool
	answers  atomic.Pointer[http.Handler]
}

// Change replaces the page and who may ask, for all requests that come from now on.
func (s *HTTPServer) Change(page Page, access Access) {
	access.loopback = s.loopback
	answers := access.guard(httpMux(s.board, s.metrics, page))
	s.answers.Store(&answers)
}
