package config

import (
	"net"
	"regexp"
	"strconv"
	"strings"
)

// Push is one [[push]]: a registry that published bundles are sent to.
type Push struct {
	Name        string   // unique among all destinations
	Kind        PushKind // PushOCI
	Repository  string   // host[:port]/path
	Watches     []string // whose bundles go there; none for all
	Parallel    int      // bundles at the same time
	PlainHTTP   bool     // on this machine alone
	CAFile      string   // absolute; "" for the system's certificates
	Credentials string   // absolute; "" for the usual places
	Rate        int64    // bytes per second; 0 for no limit
}

// PushKind is what kind of destination a [[push]] is.
type PushKind string

// PushOCI is an OCI registry.
const PushOCI PushKind = "oci"

// UnmarshalText accepts the names of the kinds.
func (k *PushKind) UnmarshalText(text []byte) error { return choose(k, text, PushOCI) }

// maxParallel bounds connections; each sends a bundle.
const maxParallel = 16

var pushTable = tableDoc{
	header: "[[push]]",
	meaning: "An OCI registry that every published bundle is sent to: [registries](oci.md). Bundles are published locally first, and " +
		"what still has to go is found out anew after a restart.",
	keys: []keyDoc{
		{
			name: "name", kind: "string", required: true,
			meaning: "What status, metrics and log call it. Letters, digits, `.`, `_` and `-`, a letter or digit first. No two share a name.",
		},
		{
			name: "kind", kind: "string", required: true,
			meaning: "`\"oci\"`: artifacts of the ModelPack specification in an OCI registry.",
		},
		{
			name: "repository", kind: "string", required: true,
			meaning: "The repository, such as `\"registry.example/team/models\"`: host, port where it is not 443, and a path in lower case. " +
				"Each bundle has a tag of its own there.",
		},
		{
			name: "watches", kind: "array of strings",
			meaning: "The names of the watches whose bundles go there. Without it those of all watches.",
		},
		{
			name: "parallel", kind: "integer", initial: "2",
			meaning: "How many bundles are sent at the same time. From 1 to 16.",
		},
		{
			name: "rate", kind: "size", initial: "0",
			meaning: "How many bytes are sent in a second at most, such as `\"50MiB\"`, over all bundles on their way there. `\"0\"` is no limit.",
		},
		{
			name: "credentials", kind: "path",
			meaning: "A `config.json` as `docker login` and `oras login` write it. Without it the usual places: `$REGISTRY_AUTH_FILE`, " +
				"`$DOCKER_CONFIG/config.json` or `~/.docker/config.json`, `$XDG_RUNTIME_DIR/containers/auth.json`.",
		},
		{
			name: "ca_file", kind: "path",
			meaning: "Certificates in PEM that are trusted besides those of the system.",
		},
		{
			name: "plain_http", kind: "boolean", initial: "false",
			meaning: "HTTP without TLS, for a registry on this machine (`localhost`, `127.0.0.1`, `[::1]`) and no other.",
		},
	},
}

// repositorySyntax is what registries take for a repository
// (https://github.com/distribution/reference, regexp.go), with a host before it.
var repositorySyntax = regexp.MustCompile(`^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+$`)

func readPush(s section, cfg *Config) Push {
	var p Push
	p.Name, _ = s.name("name")
	s.ownName(p.Name, cfg)
	s.choice("kind", &p.Kind)
	p.Repository = s.repository()
	p.Watches = s.watchNames("watches", cfg)
	p.Parallel = int(s.integer("parallel", 1, maxParallel))
	p.Rate, _ = s.size("rate")
	p.Credentials = s.absolute("credentials", cfg)
	p.CAFile = s.absolute("ca_file", cfg)
	p.PlainHTTP = s.flag("plain_http")
	if p.PlainHTTP && p.Repository != "" && !isLoopback(p.Repository) {
		s.add(s.place("plain_http"), "true, for a registry on another machine", "false: credentials and models go there over TLS alone")
	}
	return p
}

func (s section) repository() string {
	text, ok := s.text("repository")
	switch {
	case !ok:
	case strings.Contains(text, "@"):
		s.add(s.place("repository"), "a text with an @", "a repository without credentials or digest; log in with docker login or oras login")
	case !repositorySyntax.MatchString(text):
		s.add(s.place("repository"), strconv.Quote(text), `a repository without scheme and tag, in lower case, such as "registry.example/team/models"`)
	default:
		return text
	}
	return ""
}

// isLoopback tells whether the host before a path is this machine.
func isLoopback(repository string) bool {
	host, _, _ := strings.Cut(repository, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
