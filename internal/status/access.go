package status

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Access says who may ask over HTTP.
type Access struct {
	// Hosts are the names, in lower case, that requests may be addressed to besides addresses and localhost.
	// None are any name, unless the listener is on the loopback interface.
	Hosts []string

	loopback bool
}

// guard sends away what a browser asks on behalf of a web page from elsewhere: one whose own name was pointed
// here (DNS rebinding), and one that embeds what is served here.
func (a Access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !a.knows(r.Host):
			text(w, http.StatusMisdirectedRequest, "this server is not known by that name: use its address, or add the name to hosts under [http]\n")
		case !a.isFriendly(r):
			text(w, http.StatusForbidden, "pages of other sites are not answered\n")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// knows tells whether a Host header is one that this server is asked by.
func (a Access) knows(hostport string) bool {
	if !a.loopback && len(a.Hosts) == 0 {
		return true
	}
	return a.names(hostname(hostport))
}

func (a Access) names(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(a.Hosts, host)
}

// hostname is a Host header in lower case without a port, brackets, and the dot of the root.
func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// isFriendly tells whether a request is no other site's. Programs send none of these headers (Fetch standard,
// "Origin"; Fetch Metadata Request Headers).
func (a Access) isFriendly(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && (strings.EqualFold(u.Host, r.Host) || slices.Contains(a.Hosts, hostname(u.Host)))
}
