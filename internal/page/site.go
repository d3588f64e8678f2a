package page

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// Site answers requests for the page. It is an [http.Handler] for everything below the root of a server.
type Site struct {
	board     *status.Board
	artifacts string
	now       func() time.Time
	pages     map[string]http.HandlerFunc // by path: no other path is anything
	past      *past
	front     frontCache
	streams   chan struct{} // a place for each that is shown live
	readers   chan struct{} // a place for each that reads the artifact directory
	within    time.Duration // that one of them may take
	ended     context.Context
	end       context.CancelFunc
}

// How many may do what costs something at the same time. Clients beyond that are told to come back.
const (
	maxStreams = 24 // of the 64 connections that the listener has
	maxReaders = 2
)

//go:embed assets
var assets embed.FS

var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(functions).ParseFS(assets, "assets/*.html"))
})

// New returns the page of the daemon that publishes to a board, over the bundles of an artifact directory: "" where
// there is none. now may be nil.
func New(board *status.Board, artifacts string, now func() time.Time) *Site {
	if now == nil {
		now = time.Now
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Site{board: board, artifacts: artifacts, now: now, past: newPast(ctx, artifacts),
		streams: make(chan struct{}, maxStreams), readers: make(chan struct{}, maxReaders), within: readWithin, ended: ctx, end: end}
	s.pages = map[string]http.HandlerFunc{
		"/": s.showFront, "/events": s.stream, "/bundles": s.showShelf, "/bundle": s.showBundle,
		"/page.css": asset("page.css", "text/css"), "/page.js": asset("page.js", "text/javascript"), "/icon.svg": asset("icon.svg", "image/svg+xml"),
	}
	return s
}

// Close ends what is shown live, and the reading of the artifact directory.
func (s *Site) Close() { s.end() }

// policy allows what the server itself has, and no script or style in the page. The trusted type is for the one
// place where the script makes elements out of the server's text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types bundlewatch"

var headers = map[string]string{
	"Content-Security-Policy":      policy,
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	"Cache-Control":                "no-store",
}

// ServeHTTP implements [http.Handler].
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page can only be read", http.StatusMethodNotAllowed)
		return
	}
	page := s.pages[r.URL.Path]
	if page == nil {
		http.Error(w, "there is no such page", http.StatusNotFound)
		return
	}
	page(w, r)
}

func asset(name, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		data, err := assets.ReadFile("assets/" + name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", kind+"; charset=utf-8")
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(data) // a client that is gone is no fault
	}
}

// frame is what every page has around its content.
type frame struct {
	Title   string
	Section string // "status" or "bundles"
	Refresh int    // seconds after which a browser without JavaScript asks again; 0 for never
	Live    bool
	Tool    string
}

func (s *Site) frame(title, section string) frame {
	f := frame{Title: title, Section: section, Tool: "bundlewatch"}
	if last := s.board.Last(); last != nil {
		f.Tool = last.Tool
	}
	return f
}

// show writes a page, or the error of making it.
func (s *Site) show(w http.ResponseWriter, code int, name string, data any) {
	html, err := render(name, data)
	if err != nil {
		http.Error(w, "make the page: "+status.Plain(err.Error()), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(html) // a client that is gone is no fault
}

func render(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	err := templates().ExecuteTemplate(&b, name, data)
	return b.Bytes(), err
}

// trouble is the page that says why there is no other.
type trouble struct {
	frame
	What string
}

func (s *Site) showTrouble(w http.ResponseWriter, code int, format string, args ...any) {
	s.show(w, code, "trouble.html", trouble{s.frame(http.StatusText(code), "bundles"), strings.TrimSpace(fmt.Sprintf(format, args...))})
}
