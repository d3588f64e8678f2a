package status

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

// httpMux is all that the HTTP listener serves. page answers what is neither metrics nor health; it may be nil.
func httpMux(board *Board, metrics *Metrics, page Page) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, Health(board.Last())) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, Readiness(board.Last())) })
	if page != nil {
		mux.Handle("/", page)
		return mux
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "bundlewatch\n\n/metrics\n/healthz\n/readyz\n")
	})
	return mux
}

// answer says ok, or one problem per line with the code 503.
func answer(w http.ResponseWriter, problems []string) {
	if len(problems) == 0 {
		text(w, http.StatusOK, "ok\n")
		return
	}
	text(w, http.StatusServiceUnavailable, strings.Join(problems, "\n")+"\n")
}

func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body) // a client that is gone is no fault
}

// Health says why the daemon is to be restarted; nothing when it works.
func Health(s *Snapshot) []string {
	if s == nil {
		return []string{"starting"}
	}
	if age := s.age(); age > stale {
		return []string{fmt.Sprintf("the coordinator has not turned for %s", age.Round(1e9))}
	}
	return nil
}

// Readiness says why the daemon does not do all of its work now; nothing when it does. A root that is
// missing is waited for, and no reason.
func Readiness(s *Snapshot) []string {
	problems := Health(s)
	if s == nil {
		return problems
	}
	if !s.Ready {
		problems = append(problems, "not every root was listed yet")
	}
	for i := range s.Watches {
		if w := &s.Watches[i]; w.Hung != nil {
			problems = append(problems, fmt.Sprintf("watch %q: root %q hangs: %q of %q has not come back for %.0f s", w.Name, w.Root, w.Hung.Op, w.Hung.Path, w.Hung.Seconds))
		}
	}
	for _, p := range s.Packs {
		if p.Stalled {
			problems = append(problems, fmt.Sprintf("watch %q: packing %q is stalled", p.Watch, p.Key))
		}
	}
	if s.Artifacts.Stopped != "" {
		problems = append(problems, fmt.Sprintf("artifacts: %q", s.Artifacts.Stopped))
	}
	if s.Artifacts.Fault != "" {
		problems = append(problems, fmt.Sprintf("artifacts: %q", s.Artifacts.Fault))
	}
	return problems
}
