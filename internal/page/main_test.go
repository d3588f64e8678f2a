package page

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// hostile is a text that a page could fall for in every place where a text can be.
const hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e\x1b[31m\xff{{.}}javascript:a&b#c"

// publish packs a small bundle with tensors of these names.
func publish(t *testing.T, dir, watch, key string, at time.Time, change func(m *bundle.Manifest), tensors ...string) string {
	t.Helper()
	path := filepath.Join(dir, watch, filepath.FromSlash(key))
	require.NoError(t, os.MkdirAll(path, 0o755))
	payload, err := checkpoint.Save(checkpoint.SentinelDict("m"))
	require.NoError(t, err)
	m, err := bundle.Pack(t.Context(), path, &bundle.Contents{
		Watch: watch, Key: key, Params: pickle.NewDict(),
		Parts: []bundle.Part{bundle.Model(payload, bundle.Member{Role: "m", Payload: bundle.PayloadSentinel, Tensors: checkpoint.ListTensors([]checkpoint.Tensor{})})},
	}, func(int64) {})
	require.NoError(t, err)
	m.Version, m.Tool, m.Provenance.Published = 1, "test", at
	list := []checkpoint.Tensor{}
	for _, name := range tensors {
		list = append(list, checkpoint.Tensor{Name: name, DType: "float32", Shape: []int64{2, 3}, Bytes: 24})
	}
	m.Members[0].Tensors = checkpoint.ListTensors(list)
	if change != nil {
		change(m)
	}
	require.NoError(t, bundle.Seal(path, m))
	require.NoError(t, os.Chtimes(filepath.Join(path, bundle.ManifestName), at, at))
	return path
}

// busy is a snapshot in which everything is shown.
func busy(text string) *status.Snapshot {
	then := noon.Add(-3 * time.Minute)
	return &status.Snapshot{
		At: noon, Tool: "bundlewatch " + text, PID: 7, Config: "/c/" + text, Started: then, Uptime: 180, Ready: true, Problems: []string{"problem " + text},
		Alerts:    []status.Alert{{Name: "stalled", Watch: "w" + text, Text: "alert " + text, Since: then}},
		Forecast:  &status.Forecast{BytesPerDay: 3 << 30, ToFloor: new(1.25)},
		Artifacts: status.Artifacts{Dir: "/a/" + text, Free: 1 << 30, Size: 4 << 30, Floor: 1 << 29, Stopped: "stopped " + text, Since: &then},
		Counts:    status.Counts{Published: 1234567, Refused: 2, Failed: 3, Expired: 4, Tidied: 5},
		Watches: []status.Watch{
			{Name: "gone", Root: "/data/" + text, Gone: "gone " + text, Source: "auto"},
			{Name: "hung", Root: "/h", Path: "/real", Source: "poll", FileSystem: "nfs4", Hung: &status.Call{Op: "read", Path: "/h/" + text, Seconds: 31}},
			{Name: "polled", Root: "/p", Source: "poll", Degraded: "degraded " + text, LastBundle: &then, Scan: status.Scan{Ended: &then, Seconds: 0.2},
				Mounts: []status.Mount{{Path: "/p"}, {Path: "/p/" + text, FileSystem: "fuse", Source: "poll", Degraded: text}}, MountsLeftOut: 2,
				Sets: status.Sets{Known: 9, Published: 5, Pending: map[status.State]int{status.Waiting: 3, status.Packing: 1}},
				Pending: []status.Set{{Key: "key " + text, State: status.Waiting, Since: then, Seconds: 180, Waits: []string{"waits " + text}},
					{Key: "is packed", State: status.Packing, Since: then}, {Key: "old", State: status.Expired, Since: then.Add(-time.Hour), Seconds: 3780}}, LeftOut: 7},
		},
		Packs: []status.Pack{{Watch: "polled", Key: "pack " + text, Bytes: 30, Total: 100, Rate: 10, Seconds: 3, ETA: 7},
			{Watch: "polled", Key: "new"}, {Watch: "polled", Key: "stuck", Bytes: 1, Total: 2, Stalled: true, In: &status.Call{Op: "op " + text}}},
		Bundles:  []status.Bundle{{Watch: "w", Key: "done " + text, Path: "/a/" + text + "/w/k", Bytes: 5 << 20, Seconds: 2, At: then}},
		Refusals: []status.Refusal{{Watch: "w", Key: "r " + text, Role: "m", Path: "/r/" + text, Reason: "reason " + text, At: then}},
		Destinations: []status.Destination{
			{Name: "lab " + text, Kind: "s3", Address: "s3://b/" + text, Pending: 3, PendingBytes: 5 << 30, Unchecked: 1200, Rate: 20 << 20, ETA: 249, Sent: 7, SentBytes: 9 << 20, Failures: 2,
				Oldest:  &status.Unsent{Watch: "w", Key: "oldest " + text, Published: then},
				Sending: []status.Sending{{Watch: "w", Key: "goes " + text, Bytes: 40, Total: 100}},
				Probe:   &status.Probe{Class: status.ClassB, At: then, Lacks: []string{"it lacks " + text, "and more"}},
				Sweeps:  &status.Sweeps{Objects: 4, Bytes: 6 << 20, Failures: 1, Last: &then, Error: "sweep " + text},
				Error:   "error " + text, Since: &then, Retry: new(noon.Add(2 * time.Minute)), Conflicts: 1, Refused: 1,
				Refusals: []status.Unsendable{{Watch: "w", Key: "taken " + text, Conflict: true, Reason: "digests " + text, At: then}, {Watch: "w", Key: "hurt", Reason: "damaged", At: then}}},
			{Name: "hub", Kind: "oci", Address: "registry.example/m", Listed: true},
			{Name: "new", Kind: "s3", Address: "s3://n", Listed: true, Pending: 1, PendingBytes: 1},
		},
		Strays: []status.Stray{{Event: "tidied", Root: "/t", From: "/t/" + text, To: "/t/reports/" + text, Bytes: 12, At: then},
			{Event: "tidy_root_gone", Root: "/gone/" + text, Reason: "why " + text, At: then}},
	}
}

func newSite(t *testing.T, artifacts string, s *status.Snapshot) *Site {
	t.Helper()
	board := &status.Board{}
	if s != nil {
		board.Publish(s)
	}
	site := New(board, artifacts, func() time.Time { return noon })
	site.within = time.Minute // a slow machine is no hung file system
	t.Cleanup(site.Close)
	return site
}

func get(site http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

// body returns a page that must be there, at the latest when a machine that is busy has time for it.
func body(t *testing.T, site http.Handler, target string) string {
	t.Helper()
	w := get(site, target)
	for deadline := time.Now().Add(2 * time.Minute); w.Code == http.StatusServiceUnavailable && time.Now().Before(deadline); {
		w = get(site, target)
	}
	require.Equal(t, http.StatusOK, w.Code, "%s: %s", target, w.Body)
	return w.Body.String()
}

func escaped(place string) string { return url.QueryEscape(place) }
