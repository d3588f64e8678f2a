package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func TestOnlyReadingIsAnswered(t *testing.T) {
	site := newSite(t, t.TempDir(), busy("x"))
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"} {
		for path := range site.pages {
			w := httptest.NewRecorder()
			site.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			require.Equal(t, http.StatusMethodNotAllowed, w.Code, "%s %s", method, path)
		}
	}
	server := httptest.NewServer(site)
	defer server.Close()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path := range site.pages {
		r, err := client.Head(server.URL + path)
		require.NoError(t, err, path)
		require.NoError(t, r.Body.Close())
		require.Equal(t, 200, max(200, r.StatusCode-204), path) // /bundle without a place is 404
	}
}

func TestEveryAnswerHasTheHeaders(t *testing.T) {
	site := newSite(t, t.TempDir(), busy("x"))
	for _, path := range []string{"/", "/bundles", "/bundles?in=..", "/bundle?at=w/k", "/page.css", "/page.js", "/icon.svg", "/nothing", "/../etc/passwd", "/assets/page.css"} {
		h := get(site, path).Header()
		require.Equal(t, policy, h.Get("Content-Security-Policy"), path)
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
		require.Equal(t, "no-referrer", h.Get("Referrer-Policy"), path)
		require.Equal(t, "DENY", h.Get("X-Frame-Options"), path)
		require.Empty(t, h.Get("Access-Control-Allow-Origin"), path)
		require.Empty(t, h.Get("Set-Cookie"), path)
	}
	require.NotContains(t, policy, "unsafe")
	require.NotContains(t, policy, "http")
	require.Equal(t, 404, get(site, "/nothing").Code)
	require.Equal(t, "text/css; charset=utf-8", get(site, "/page.css").Header().Get("Content-Type"))
}

// An attribute or element that would need more than the policy allows, or that would leave the host.
var forbidden = regexp.MustCompile(`(?i)<style|\sstyle=|<script(?: src="page\.js" defer)?>[^<]|\son[a-z]+=["']|<iframe|<object|<embed|<base|https?://|href="/|src="/`)

// What is sent back with a search must be as it came.
var hiddenInput = regexp.MustCompile(`<input type="hidden" name="[a-z]+" value="[^"<>]*">`)

// Whatever texts come from outside, they stay texts.
func TestHostileTextsStayTexts(t *testing.T) {
	dir := t.TempDir()
	site := newSite(t, dir, busy(hostile))
	key := strings.NewReplacer("\x1b[31m\xff", "", "/", "-").Replace(hostile)
	publish(t, dir, "w", key, noon.Add(-time.Hour), func(m *bundle.Manifest) {
		m.Notes, m.ParamsSource, m.Provenance.Host = []string{hostile}, hostile, hostile
		m.Params = json.RawMessage(`{"a": {` + quoted(hostile) + `: ` + quoted(hostile) + `}}`)
		m.Config = []bundle.Digest{{Name: hostile}}
		member := &m.Members[0]
		member.Role, member.StateDict, member.Dropped, member.Imports = hostile, hostile, []string{hostile}, []string{hostile}
		member.Source = &bundle.Source{Path: "/s/" + hostile}
		member.Evidence = &bundle.Evidence{Quiet: hostile, Closed: hostile, Whole: hostile, Unchanged: hostile}
		member.Metrics = bundle.Metrics{hostile: 1}
	}, hostile, "plain")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "w", "\xff<b>"), 0o755))
	place := escaped("w/" + key)
	for _, target := range []string{"/", "/bundles", "/bundles?in=w", "/bundles?in=w&q=%3Cscript", "/bundle?at=" + place, "/bundle?q=script&at=" + place,
		"/bundle?at=" + place + "&role=" + escaped(hostile)} {
		text := hiddenInput.ReplaceAllString(body(t, site, target), "")
		require.NotContains(t, text, "<script>alert", target)
		require.NotContains(t, text, "<img src=x", target)
		require.NotContains(t, text, "\u202e", target)
		require.NotContains(t, text, "\x1b", target)
		require.Empty(t, forbidden.FindString(text), target)
		require.True(t, strings.Contains(text, "&lt;script&gt;alert(1)") || target == "/bundles", target)
	}
	require.Contains(t, body(t, site, "/bundles?in=w"), `\xff&lt;b&gt;`)
	w := get(site, "/bundle?at="+escaped("w/"+hostile))
	require.Equal(t, 404, w.Code)
	require.NotContains(t, w.Body.String(), "<script>alert")
}

func quoted(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}

func TestFrontPageShowsEverything(t *testing.T) {
	dir := t.TempDir()
	s := busy("x")
	site := newSite(t, dir, s)
	text := body(t, site, "/")
	for _, want := range []string{
		"Nothing is bundled", "problem x", ">1\u202f234\u202f567<", "stopped x",
		`<progress max="100" value="30" aria-label="Packing pack x">30 %</progress>`, "at 10 B/s", "7 s to go", `<progress aria-label="Packing new"></progress>`, "a call to op x does not come back",
		"waits x", "7 more sets", ">expired<", "not there", "gone x", "has not come back for 31 s", "which leads to", "degraded x", "2 file systems in the tree",
		"9 known, 5 published, 3 waiting, 1 packing", "reason x", "/t/reports/x", "root gone", "why x", "1.0 GiB", "75 %", "must stay free", "alert x", ">stalled<", "growing by 3.0 GiB a day, 1.2 days until less than the floor is free",
		"lab x", "s3://b/x", ">fails<", "error x", ", tried again in 2 min", "3 bundles, 5.0 GiB; 1\u202f200 to be asked for; not every bundle was looked at yet", "oldest x", "20.0 MiB/s, 4 min 9 s to go",
		"7 bundles, 9.0 MiB since the start; 2 failed attempts", "1 conflict, 1 refused", "B: <bdi>it lacks x; and more</bdi>", "last probe", "taken x", "digests x", ">conflict<", ">refused<", "damaged",
		`<progress max="100" value="40" aria-label="Sending goes x">40 %</progress>`, "4 objects, 6.0 MiB since the start; the last sweep", "sweep x", ">has all<", ">behind<", "none yet",
		`<noscript><meta http-equiv="refresh" content="10"></noscript>`, `<html lang="en">`, `<main id="main">`,
	} {
		require.Contains(t, text, want)
	}
	require.Less(t, strings.Index(text, ">old<"), strings.Index(text, "key x"), "those that wait longest come first")
	require.NotContains(t, text, "is packed", "what is packed does not wait")
}

func TestDestinationsStand(t *testing.T) {
	for want, d := range map[string]status.Destination{
		"ok has all":       {Listed: true},
		"warn being asked": {Listed: true, Unchecked: 1},
		"warn behind":      {Listed: true, Pending: 1},
		"ok sending":       {Listed: true, Pending: 1, Sending: []status.Sending{{}}},
		"warn refuses":     {Listed: true, Pending: 1, Refused: 1},
		"warn conflict":    {Listed: true, Conflicts: 1, Refused: 1},
		"bad fails":        {Conflicts: 1, Error: "down"},
		"bad not used":     {Error: "class C", Probe: &status.Probe{Class: status.ClassC, Refused: true}},
	} {
		mood, word := standing(&d)
		require.Equal(t, want, mood+" "+word)
	}
	require.Contains(t, body(t, newSite(t, "", &status.Snapshot{Ready: true}), "/"), "None is set: bundles stay in the artifact directory.")
}

func TestMoods(t *testing.T) {
	well := &status.Snapshot{Ready: true, At: noon}
	for _, c := range []struct {
		change func(*status.Snapshot)
		want   string
	}{
		{func(*status.Snapshot) {}, "All is well"},
		{func(s *status.Snapshot) { s.Problems = []string{"a"} }, "1 thing needs a look"},
		{func(s *status.Snapshot) { s.Ready = false }, "Listing the roots"},
		{func(s *status.Snapshot) { s.Artifacts.Fault = "no" }, "Nothing is bundled"},
	} {
		s := *well
		c.change(&s)
		require.Contains(t, body(t, newSite(t, "", &s), "/"), c.want)
	}
	require.Contains(t, body(t, newSite(t, "", nil), "/"), "Starting")
	require.Equal(t, 404, get(newSite(t, "", well), "/bundles").Code, "there is no artifact directory")
}

// The past is read when somebody looks, and then kept up with what the daemon publishes.
func TestPastIsKeptUp(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		publish(t, dir, "w", fmt.Sprintf("run/%d", i), noon.Add(time.Duration(i-10)*time.Minute), nil)
	}
	publish(t, dir, "w", "single", noon.Add(-time.Hour), nil)
	broken := publish(t, dir, "w", "broken", noon, nil)
	require.NoError(t, os.WriteFile(filepath.Join(broken, bundle.ManifestName), []byte("{}"), 0o644))
	board := &status.Board{}
	s := status.Snapshot{Ready: true, At: noon}
	first := s
	board.Publish(&first)
	site := New(board, dir, func() time.Time { return noon })
	defer site.Close()
	shows := func(texts ...string) func() bool {
		return func() bool {
			text := get(site, "/").Body.String()
			for _, want := range texts {
				if !strings.Contains(text, want) {
					return false
				}
			}
			return true
		}
	}
	require.Contains(t, body(t, site, "/"), "Reading the artifact directory")
	require.Eventually(t, shows("7 bundles in", "5 bundles,", "typically one every <b>1 min</b>", `href="bundle?at=w%2frun%2f4"`), 30*time.Second, 50*time.Millisecond)

	path := publish(t, dir, "w", "run/5", noon, nil)
	second := s
	second.Counts.Published, second.Bundles = 1, []status.Bundle{{Watch: "w", Key: "run/5", Path: path, At: noon}}
	board.Publish(&second)
	require.Eventually(t, shows("8 bundles in", "6 bundles,", "at most 6 min apart", `href="bundle?at=w%2frun%2f5"`), 30*time.Second, 50*time.Millisecond)

	for i := range 4 { // more than the snapshot names
		publish(t, dir, "w", fmt.Sprintf("other/%d", i), noon, nil)
	}
	third := second
	third.Counts.Published = 5
	board.Publish(&third)
	require.Eventually(t, shows("12 bundles in", `href="bundle?at=w%2fother%2f3"`), 30*time.Second, 50*time.Millisecond)
}

func TestPastOfADirectoryThatCannotBeRead(t *testing.T) {
	site := newSite(t, filepath.Join(t.TempDir(), "none"), &status.Snapshot{Ready: true})
	require.Eventually(t, func() bool {
		return strings.Contains(get(site, "/").Body.String(), "The artifact directory cannot be read")
	}, 30*time.Second, 50*time.Millisecond)
	require.Equal(t, 404, get(site, "/bundles").Code)
}

// docs/page.md promises what is in force.
func TestPageIsAsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/page.md")
	require.NoError(t, err)
	words := strings.Join(strings.Fields(string(text)), " ")
	for _, want := range []string{
		"Content-Security-Policy: " + policy,
		fmt.Sprintf("At most %d browsers are shown it live", maxStreams),
		fmt.Sprintf("does not receive in %.0f seconds is dropped", tellWithin.Seconds()),
		fmt.Sprintf("At most %d requests read the artifact directory", maxReaders),
		fmt.Sprintf("an error page after %.0f seconds", readWithin.Seconds()),
		fmt.Sprintf("keeps at most %d bundles", maxPast),
		fmt.Sprintf("%d names on a page", pageSize),
		fmt.Sprintf("tensors (%d on a page", tensorsOnPage),
		fmt.Sprintf("loads it anew every %d seconds", reloadEach),
	} {
		require.Contains(t, words, want)
	}
}
