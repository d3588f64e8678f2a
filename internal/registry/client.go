package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/time/rate"
	orasref "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// Access says how a registry is reached.
type Access struct {
	// PlainHTTP is for registries on this machine alone; see [IsLoopback].
	PlainHTTP bool
	// CAFile holds certificates in PEM that are trusted besides the system's; "" for none.
	CAFile string
	// Credentials is a config.json as docker login writes it; "" for the usual places.
	Credentials string
	// Agent is sent as User-Agent.
	Agent string
	// Rate bounds what is sent and received, in bytes per second; 0 for no bound.
	Rate int64
}

// Repository is one repository of a registry. It may be used from many goroutines.
type Repository struct {
	name    string
	access  Access
	limiter *rate.Limiter // nil for none

	mu     sync.Mutex
	client *auth.Client // made at the first use
}

// NewRepository returns the repository of a name such as registry.example/team/models. Nothing is read or asked yet.
func NewRepository(name string, access Access) *Repository {
	r := &Repository{name: name, access: access}
	if access.Rate > 0 {
		r.limiter = rate.NewLimiter(rate.Limit(access.Rate), int(max(1<<10, min(access.Rate/10, chunk))))
	}
	return r
}

// Name returns the name without scheme.
func (r *Repository) Name() string { return r.name }

// Close gives idle connections up.
func (r *Repository) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		r.client.Client.CloseIdleConnections()
	}
}

// Reference is a parsed name of an artifact: a repository, and a tag or a digest or neither.
type Reference struct{ Repository, Tag, Digest string }

// String writes the reference as it is given on a command line.
func (r Reference) String() string {
	switch {
	case r.Digest != "":
		return r.Repository + "@" + r.Digest
	case r.Tag != "":
		return r.Repository + ":" + r.Tag
	}
	return r.Repository
}

// ParseReference reads host[:port]/repository with :tag or @sha256:digest behind it, or neither.
func ParseReference(text string) (Reference, error) {
	if before, _, ok := strings.Cut(text, "/"); ok && strings.Contains(before, "@") {
		return Reference{}, errors.New("parse reference: there are credentials in it; log in with docker login or oras login instead")
	}
	if strings.Contains(text, "://") {
		return Reference{}, fmt.Errorf("parse reference %q: it has a scheme; write host[:port]/repository:tag", text)
	}
	ref, err := orasref.ParseReference(text)
	if err != nil {
		return Reference{}, fmt.Errorf("parse reference %q: %w; write host[:port]/repository:tag, with a repository in lower case", text, err)
	}
	parsed := Reference{Repository: ref.Registry + "/" + ref.Repository}
	if strings.Contains(ref.Reference, ":") {
		parsed.Digest = ref.Reference
	} else {
		parsed.Tag = ref.Reference
	}
	return parsed, nil
}

// IsLoopback tells whether a repository's registry is on this machine.
func IsLoopback(repository string) bool {
	host, _, _ := strings.Cut(repository, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// remote returns the repository as a client sees it. What it needs is read at each attempt until it is there.
func (r *Repository) remote() (*remote.Repository, error) {
	ref, err := orasref.ParseReference(r.name)
	if err != nil {
		return nil, fmt.Errorf("parse repository %q: %w", r.name, err)
	}
	if r.access.PlainHTTP && !IsLoopback(r.name) {
		return nil, fmt.Errorf("%s is not on this machine: credentials and models go there over TLS alone", ref.Registry)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == nil {
		base, err := r.access.transport()
		if err != nil {
			return nil, err
		}
		r.client = &auth.Client{Client: &http.Client{Transport: retry.NewTransport(base)}, Cache: auth.NewCache(), Credential: r.access.credential,
			BlockedRealmPrefixes: r.strangeRealms(), Header: http.Header{"User-Agent": {strings.ReplaceAll(r.access.Agent, " ", "/")}}}
	}
	return &remote.Repository{Client: r.client, Reference: ref, PlainHTTP: r.access.PlainHTTP, MaxMetadataBytes: maxManifest}, nil
}

// strangeRealms are addresses that no registry may send a login to. One on this machine may name this machine.
func (r *Repository) strangeRealms() []netip.Prefix {
	strange := auth.DefaultBlockedRealmPrefixes()
	if IsLoopback(r.name) {
		strange = slices.DeleteFunc(strange, func(p netip.Prefix) bool { return p.Addr().IsLoopback() })
	}
	return strange
}

func (a Access) transport() (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	t.WriteBufferSize, t.ReadBufferSize = 256<<10, 256<<10
	if a.CAFile == "" {
		return t, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pem, err := os.ReadFile(a.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read ca_file %q: there is no certificate in PEM", a.CAFile)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

// credential looks up what docker login, oras login or podman login left, anew for each login, so that a new one is
// noticed. Nobody is asked, and none is no error: many registries can be read without.
func (a Access) credential(ctx context.Context, host string) (auth.Credential, error) {
	for _, path := range a.credentialFiles() {
		_, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) && path != a.Credentials {
			continue
		}
		if err != nil {
			return auth.EmptyCredential, fmt.Errorf("read credentials: %w", err)
		}
		store, err := credentials.NewStore(path, credentials.StoreOptions{})
		if err != nil {
			return auth.EmptyCredential, fmt.Errorf("read credentials %q: %w", path, err)
		}
		found, err := credentials.Credential(store)(ctx, host)
		if err != nil {
			return auth.EmptyCredential, fmt.Errorf("look up credentials of %s in %q: %w", host, path, err)
		}
		if found != auth.EmptyCredential {
			return found, nil
		}
	}
	return auth.EmptyCredential, nil
}

// credentialFiles are where credentials can be, the first that has some for a registry wins.
func (a Access) credentialFiles() []string {
	if a.Credentials != "" {
		return []string{a.Credentials}
	}
	var paths []string
	if path := os.Getenv("REGISTRY_AUTH_FILE"); path != "" {
		paths = append(paths, path)
	}
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		paths = append(paths, filepath.Join(dir, "config.json"))
	} else if home, err := os.UserHomeDir(); err == nil {
		paths = append(paths, filepath.Join(home, ".docker", "config.json"))
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	}
	return paths
}
