package status

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func answered(a Access, change func(*http.Request)) int {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	change(r)
	a.guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { text(w, 200, "ok\n") })).ServeHTTP(w, r)
	return w.Code
}

func TestNamesOfTheServer(t *testing.T) {
	own := Access{Hosts: []string{"b.example.org"}}
	loopback := Access{Hosts: own.Hosts, loopback: true}
	for host, known := range map[string]bool{
		"127.0.0.1:9464": true, "127.0.0.1": true, "[::1]:9464": true, "[::1]": true, "localhost": true, "LocalHost.:9464": true, "a.localhost:1": true,
		"10.1.2.3:80": true, "b.example.org": true, "B.Example.org:443": true,
		"evil.example": false, "evil.example:9464": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "x.b.example.org": false, "": false,
	} {
		want := map[bool]int{true: 200, false: 421}[known]
		for _, a := range []Access{own, loopback} {
			require.Equal(t, want, answered(a, func(r *http.Request) { r.Host = host }), host)
		}
		require.Equal(t, 200, answered(Access{}, func(r *http.Request) { r.Host = host }), "any name is right on other interfaces: %s", host)
	}
}

func TestPagesOfOtherSites(t *testing.T) {
	a := Access{Hosts: []string{"b.example.org"}, loopback: true}
	for _, c := range []struct {
		origin, site, mode string
		want               int
	}{
		{"", "", "", 200},
		{"http://127.0.0.1:9464", "same-origin", "cors", 200},
		{"https://b.example.org", "same-origin", "cors", 200},
		{"http://127.0.0.1:9465", "", "", 403},
		{"http://evil.example", "", "", 403},
		{"null", "", "", 403},
		{"://", "", "", 403},
		{"", "none", "navigate", 200},
		{"", "cross-site", "navigate", 200},
		{"", "cross-site", "no-cors", 403},
		{"", "same-site", "cors", 403},
		{"", "cross-site", "", 403},
	} {
		require.Equal(t, c.want, answered(a, func(r *http.Request) {
			r.Host = "127.0.0.1:9464"
			for name, value := range map[string]string{"Origin": c.origin, "Sec-Fetch-Site": c.site, "Sec-Fetch-Mode": c.mode} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
		}), "%+v", c)
	}
}

// What is served can change while the listener stays.
func TestAnswersChange(t *testing.T) {
	board, m := metrics()
	l, err := ListenHTTP("127.0.0.1:0")
	require.NoError(t, err)
	s := ServeHTTP(l, board, m, nil, Access{})
	defer s.Close()
	get := func(path string) int {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Get("http://" + s.Address + path)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		return r.StatusCode
	}
	require.Equal(t, 404, get("/page"))
	s.Change(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusTeapot, "page\n") }), Access{})
	require.Equal(t, http.StatusTeapot, get("/page"))
	require.Equal(t, http.StatusTeapot, get("/"))
	require.Equal(t, 200, get("/metrics"))
	s.Change(nil, Access{})
	require.Equal(t, 200, get("/"))
}
