package daemon

import (
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/page"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// windows are where the daemon can be looked at: the socket of `bundlewatch status`, and HTTP.
type windows struct {
	log     zerolog.Logger
	board   *status.Board
	metrics *status.Metrics
	drain   status.Drainer
	now     func() time.Time

	socket *status.Socket
	http   *status.HTTPServer
	page   *page.Site // nil when there is none
	// Why one is not open although it should be; told once.
	socketFault, httpFault string
	retryAt                time.Time
}

// open opens what the config asks for. A daemon that cannot be looked at goes on.
func (w *windows) open(c *config.Config) {
	w.openSocket(c)
	w.openHTTP(c)
	w.retryAt = w.now().Add(retryAfter)
}

func (w *windows) openSocket(c *config.Config) {
	s, err := w.newSocket(c)
	if err != nil {
		w.fault(&w.socketFault, err)
		return
	}
	if w.socket = s; w.socketFault != "" {
		w.log.Info().Str("path", s.Address).Msg("status socket is open again")
	}
	w.socketFault = ""
}

func (w *windows) newSocket(c *config.Config) (*status.Socket, error) {
	path, err := status.Place(c.Status.Socket, c.Artifacts.Dir)
	if err != nil {
		return nil, err
	}
	return status.ListenSocket(path, w.board, w.drain)
}

func (w *windows) openHTTP(c *config.Config) {
	if c.HTTP.Listen == "" {
		return
	}
	l, err := status.ListenHTTP(c.HTTP.Listen)
	if err != nil {
		w.fault(&w.httpFault, err)
		return
	}
	w.httpFault = ""
	w.serve(l, c)
}

func (w *windows) serve(l net.Listener, c *config.Config) {
	w.turnPage(c)
	w.http = status.ServeHTTP(l, w.board, w.metrics, w.handler(), status.Access{Hosts: c.HTTP.Hosts})
	w.log.Info().Str("address", w.http.Address).Msg("serving metrics and health over HTTP")
}

// turnPage begins or ends the page, as the config asks for.
func (w *windows) turnPage(c *config.Config) {
	if c.HTTP.Page && w.page == nil {
		w.page = page.New(w.board, c.Artifacts.Dir, w.now)
	} else if !c.HTTP.Page {
		w.closePage()
	}
}

// handler is the page, or nothing.
func (w *windows) handler() status.Page {
	if w.page == nil {
		return nil
	}
	return w.page
}

func (w *windows) closePage() {
	if w.page != nil {
		w.page.Close()
	}
	w.page = nil
}

// fault tells why something is not open, once per reason.
func (w *windows) fault(last *string, err error) {
	if *last != err.Error() {
		w.log.Warn().Err(err).Msg("daemon goes on without it, and tries again")
	}
	*last = err.Error()
}

// retry opens what could not be opened, or was removed.
func (w *windows) retry(c *config.Config) {
	if w.now().Before(w.retryAt) {
		return
	}
	w.retryAt = w.now().Add(retryAfter)
	if w.socket != nil && !w.socket.IsThere() {
		w.fault(&w.socketFault, errors.Join(errRemovedSocket, w.socket.Close()))
		w.socket = nil
	}
	if w.socket == nil {
		w.openSocket(c)
	}
	if w.http == nil {
		w.openHTTP(c)
	}
}

var errRemovedSocket = errors.New("the status socket was removed")

// change opens what a new config asks for beside what is open. The function that it returns makes the
// change, which cannot fail; with an error nothing has changed.
func (w *windows) change(from, to *config.Config) (apply func(), err error) {
	var l net.Listener
	if to.HTTP.Listen != "" && to.HTTP.Listen != from.HTTP.Listen {
		if l, err = status.ListenHTTP(to.HTTP.Listen); err != nil {
			return nil, err
		}
	}
	socket := w.socket
	if to.Status.Socket != from.Status.Socket {
		if socket, err = w.newSocket(to); err != nil {
			if l != nil {
				err = errors.Join(err, l.Close())
			}
			return nil, err
		}
	}
	return func() { w.replace(socket, l, from, to) }, nil
}

func (w *windows) replace(socket *status.Socket, l net.Listener, from, to *config.Config) {
	if socket != w.socket {
		w.closeSocket()
		w.socket, w.socketFault = socket, ""
	}
	if to.HTTP.Listen == from.HTTP.Listen {
		w.changeHTTP(to)
		return
	}
	w.closeHTTP()
	w.httpFault = ""
	if l != nil {
		w.serve(l, to)
	}
}

// changeHTTP changes what is served on the listener that there is, if there is one.
func (w *windows) changeHTTP(c *config.Config) {
	if w.http != nil {
		w.turnPage(c)
		w.http.Change(w.handler(), status.Access{Hosts: c.HTTP.Hosts})
	}
}

func (w *windows) closeSocket() {
	if w.socket == nil {
		return
	}
	if err := w.socket.Close(); err != nil {
		w.log.Warn().Err(err).Msg("cannot remove the status socket")
	}
	w.socket = nil
}

func (w *windows) closeHTTP() {
	w.closePage()
	if w.http == nil {
		return
	}
	if err := w.http.Close(); err != nil {
		w.log.Warn().Err(err).Msg("cannot close the HTTP listener")
	}
	w.http = nil
}

func (w *windows) close() {
	w.closeSocket()
	w.closeHTTP()
}
