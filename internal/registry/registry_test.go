package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/daemon"
	oci "github.com/bundlewatch/bundlewatch/internal/registry"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// examples is an artifact directory with the bundles of the example runs.
var examples string

func TestMain(m *testing.M) { goleak.VerifyTestMain(withExamples{m}) }

// withExamples makes the bundles before the tests, and removes them after.
type withExamples struct{ *testing.M }

// Run implements goleak's interface.
func (m withExamples) Run() int {
	dir, err := os.MkdirTemp("", "bundlewatch-registry-")
	if err == nil {
		defer os.RemoveAll(dir)
		examples = filepath.Join(dir, "artifacts")
		err = publish(examples)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.M.Run()
}

func publish(dir string) error {
	c, err := config.Load(filepath.Join("..", "..", "examples", "bundlewatch.toml"))
	if err != nil {
		return err
	}
	c.Artifacts.Dir = dir
	return daemon.Once(context.Background(), c, daemon.Options{Tool: "bundlewatch test", Emit: func(daemon.Event) {}})
}

// server is a registry in memory, with somebody in between.
type server struct {
	*httptest.Server
	t     *testing.T
	inner http.Handler

	mu      sync.Mutex
	between func(w http.ResponseWriter, r *http.Request, next http.Handler) // nil for nobody
	calls   []string
}

func newServer(t *testing.T) *server {
	s := &server{t: t, inner: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	between := s.between
	s.calls = append(s.calls, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if between != nil {
		between(w, r, s.inner)
		return
	}
	s.inner.ServeHTTP(w, r)
}

func (s *server) stand(between func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.between, s.calls = between, nil
}

// made returns the calls since somebody stands in between.
func (s *server) made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

// repository is a client of its own.
func (s *server) repository() *oci.Repository {
	r := oci.NewRepository(s.host()+"/team/models", oci.Access{PlainHTTP: true, Agent: "bundlewatch test"})
	s.t.Cleanup(r.Close)
	return r
}

func noProgress(int64) {}

// bundles returns copies of two bundles of the examples.
func bundles(t *testing.T) [2]shelf.Bundle {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "artifacts")
	require.NoError(t, os.CopyFS(dir, os.DirFS(examples)))
	s, err := shelf.Open(dir)
	require.NoError(t, err)
	var all []shelf.Bundle
	require.NoError(t, s.Each(context.Background(), "", func(b shelf.Bundle) error {
		all = append(all, b)
		return nil
	}))
	require.Greater(t, len(all), 2)
	return [2]shelf.Bundle(all[:2])
}

func open(t *testing.T, dir string) *oci.Artifact {
	t.Helper()
	a, err := oci.Open(dir)
	require.NoError(t, err)
	return a
}

// contents are the files of a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := make(map[string]string)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		files[e.Name()] = string(data)
	}
	return files
}

// sameAs pulls a reference and holds it against a bundle.
func (s *server) sameAs(reference, dir string) {
	s.t.Helper()
	into := filepath.Join(s.t.TempDir(), "pulled")
	p, err := s.repository().Pull(context.Background(), reference, into, nil)
	require.NoError(s.t, err)
	require.Equal(s.t, contents(s.t, dir), contents(s.t, into))
	require.Len(s.t, p.Files, len(contents(s.t, dir)))
	s.alone(into)
}

// alone makes sure that nothing else is left beside a directory, which may be missing.
func (s *server) alone(dir string) {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(s.t, err)
	for _, e := range entries {
		require.Equal(s.t, filepath.Base(dir), e.Name(), "litter")
	}
}

func TestSameBundleSameDigest(t *testing.T) {
	b := bundles(t)[0]
	require.NoError(t, os.WriteFile(filepath.Join(b.Path, bundle.SignatureName), []byte("{}"), 0o644))
	a := open(t, b.Path)
	for range 2 {
		s := newServer(t)
		var sent atomic.Int64
		require.NoError(t, s.repository().Push(context.Background(), a, a.Tag, func(n int64) { sent.Add(n) }))
		require.GreaterOrEqual(t, sent.Load(), a.Bytes)
		require.Equal(t, open(t, b.Path).Digest, a.Digest)
		s.stand(nil)
		require.NoError(t, s.repository().Push(context.Background(), a, a.Tag, noProgress), "what is there is no conflict")
		require.Len(t, s.made(), 1, "and is not sent again")
		s.stand(nil)
		require.NoError(t, s.repository().Push(context.Background(), a, "again", noProgress))
		for _, call := range s.made() {
			require.NotContains(t, call, "POST", "no blob goes twice")
		}
		s.sameManifest(a.Tag, string(a.Digest))
	}
}

// sameManifest looks at a tag as another client does.
func (s *server) sameManifest(tag, digest string) {
	s.t.Helper()
	answer, err := http.Get(s.URL + "/v2/team/models/manifests/" + tag)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, digest, fmt.Sprintf("sha256:%x", sha256.Sum256(data)))
	require.Contains(s.t, string(data), `"org.opencontainers.image.title":"model.sig"`)
}

func TestPullByTagAndByDigest(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	require.NoError(t, s.repository().Push(context.Background(), a, a.Tag, noProgress))
	s.sameAs(a.Tag, b.Path)
	s.sameAs(string(a.Digest), b.Path)
	_, err := s.repository().Pull(context.Background(), "nothing", t.TempDir(), nil)
	require.ErrorIs(t, err, oci.ErrNotFound)
}

// A tag that holds another digest is an error and never overwritten.
func TestTakenTag(t *testing.T) {
	both := bundles(t)
	first, second, s := open(t, both[0].Path), open(t, both[1].Path), newServer(t)
	require.NoError(t, s.repository().Push(context.Background(), first, "v1", noProgress))
	s.stand(nil)
	err := s.repository().Push(context.Background(), second, "v1", noProgress)
	var taken *oci.TakenError
	require.ErrorAs(t, err, &taken)
	require.ErrorIs(t, err, backlog.ErrConflict)
	require.False(t, taken.SameArchive)
	require.ErrorContains(t, err, string(first.Digest))
	require.ErrorContains(t, err, string(second.Digest))
	require.Len(t, s.made(), 1, "nothing was sent")
	s.sameAs("v1", both[0].Path)
	_, err = s.repository().Has(context.Background(), second, "v1")
	require.ErrorIs(t, err, backlog.ErrConflict)
}

// elsewhere makes a bundle what another host would have made of the same files.
func elsewhere(t *testing.T, dir string) {
	t.Helper()
	manifest, sums := filepath.Join(dir, bundle.ManifestName), filepath.Join(dir, bundle.SumsName)
	before, err := os.ReadFile(manifest)
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, json.Unmarshal(before, &all))
	all["provenance"].(map[string]any)["host"] = "another"
	after, err := json.MarshalIndent(all, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(manifest, after, 0o644))
	text, err := os.ReadFile(sums)
	require.NoError(t, err)
	old, now := fmt.Sprintf("%x", sha256.Sum256(before)), fmt.Sprintf("%x", sha256.Sum256(after))
	require.NoError(t, os.WriteFile(sums, bytes.ReplaceAll(text, []byte(old), []byte(now)), 0o644))
}

// The bundle that two hosts make of the same files is sent once.
func TestSameBundleOfTwoHosts(t *testing.T) {
	here, there := bundles(t)[0], bundles(t)[0]
	elsewhere(t, there.Path)
	s := newServer(t)
	first, second := oci.NewDestination("lab", s.repository()), oci.NewDestination("lab", s.repository())
	has, err := first.Has(context.Background(), here)
	require.NoError(t, err)
	require.False(t, has)
	require.NoError(t, first.Send(context.Background(), here, noProgress))
	for _, d := range []*oci.Destination{first, second} {
		for _, b := range []shelf.Bundle{here, there} {
			has, err := d.Has(context.Background(), b)
			require.NoError(t, err)
			require.True(t, has)
			require.NoError(t, d.Send(context.Background(), b, noProgress))
		}
	}
	s.sameAs(open(t, there.Path).Tag, here.Path)
	err = s.repository().Push(context.Background(), open(t, there.Path), open(t, there.Path).Tag, noProgress)
	require.ErrorIs(t, err, backlog.ErrConflict, "a tag that was asked for is never anything else")
	require.ErrorContains(t, err, "the archive in both is the same")
}

// A registry that lost the archive does not hold the bundle.
func TestLostArchive(t *testing.T) {
	b := bundles(t)[0]
	s := newServer(t)
	d := oci.NewDestination("lab", s.repository())
	require.NoError(t, d.Send(context.Background(), b, noProgress))
	s.stand(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/sha256:"+b.Archive.SHA256) {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
	has, err := d.Has(context.Background(), b)
	require.NoError(t, err)
	require.False(t, has)
}

// Two hosts that race for one tag: it holds one of the two, whole, and who did not get it is told, or was first.
func TestRaceForOneTag(t *testing.T) {
	both := bundles(t)
	for i := range 10 {
		s := newServer(t)
		tag := fmt.Sprint("v", i)
		var errs [2]error
		var work sync.WaitGroup
		for n := range both {
			a, r := open(t, both[n].Path), s.repository()
			work.Go(func() { errs[n] = r.Push(context.Background(), a, tag, noProgress) })
		}
		work.Wait()
		holder := slices.IndexFunc(both[:], func(b shelf.Bundle) bool {
			has, err := s.repository().Has(context.Background(), open(t, b.Path), tag)
			return err == nil && has
		})
		require.GreaterOrEqual(t, holder, 0)
		require.NoError(t, errs[holder])
		if err := errs[1-holder]; err != nil {
			require.ErrorIs(t, err, backlog.ErrConflict)
		}
		s.sameAs(tag, both[holder].Path)
	}
}

// faults are what can go wrong with one call.
var faults = map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
	"500": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusInternalServerError)
	},
	"403": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusForbidden) },
	"not sent": func(http.ResponseWriter, *http.Request, http.Handler) {
		panic(http.ErrAbortHandler)
	},
	"lost answer": func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	},
	"cut body": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		got := httptest.NewRecorder()
		next.ServeHTTP(got, r)
		for name, values := range got.Header() {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", fmt.Sprint(got.Body.Len()))
		w.WriteHeader(got.Code)
		w.Write(got.Body.Bytes()[:got.Body.Len()/2])
		panic(http.ErrAbortHandler)
	},
}

// With a fault at each call in turn the tag is free or names the whole bundle, and another attempt ends well.
func TestFaultAtEachCallOfAPush(t *testing.T) {
	b := bundles(t)[0]
	a := open(t, b.Path)
	calm := newServer(t)
	calm.stand(nil)
	require.NoError(t, calm.repository().Push(context.Background(), a, "v1", noProgress))
	calls := calm.made()
	require.Greater(t, len(calls), 15)
	for name, fault := range faults {
		for n, call := range calls {
			t.Run(fmt.Sprintf("%s at %s", name, strings.ReplaceAll(call, "/", " ")), func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				s.breakCall(n, fault)
				err := s.repository().Push(context.Background(), a, "v1", noProgress)
				s.stand(nil)
				has, hasErr := s.repository().Has(context.Background(), a, "v1")
				require.NoError(t, hasErr)
				if err == nil {
					require.True(t, has)
				}
				if has {
					s.sameAs("v1", b.Path)
				}
				require.NoError(t, s.repository().Push(context.Background(), a, "v1", noProgress))
				s.sameAs("v1", b.Path)
			})
		}
	}
}

// breakCall makes the n-th call go wrong.
func (s *server) breakCall(n int, fault func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	count := 0
	s.stand(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s.mu.Lock()
		mine := count == n
		count++
		s.mu.Unlock()
		if mine {
			fault(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// With a fault at each call in turn a pull brings all or nothing, and leaves nothing else behind.
func TestFaultAtEachCallOfAPull(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	require.NoError(t, s.repository().Push(context.Background(), a, "v1", noProgress))
	for name, fault := range faults {
		for n := range 5 {
			s.breakCall(n, fault)
			into := filepath.Join(t.TempDir(), "pulled")
			_, err := s.repository().Pull(context.Background(), "v1", into, nil)
			s.alone(into)
			if err != nil {
				require.NoDirExists(t, into, "%s %d", name, n)
				continue
			}
			require.Equal(t, contents(t, b.Path), contents(t, into), "%s %d", name, n)
		}
	}
}

// A broken connection is taken up where it broke, as long as it goes on.
func TestPullGoesOnWhereItBroke(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	require.NoError(t, s.repository().Push(context.Background(), a, "v1", noProgress))
	cuts := 0
	s.stand(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s.mu.Lock()
		cut := strings.Contains(r.URL.Path, b.Archive.SHA256) && cuts < 3
		if cut {
			cuts++
		}
		s.mu.Unlock()
		if cut {
			faults["cut body"](w, r, next)
		}
		next.ServeHTTP(w, r)
	})
	s.sameAs("v1", b.Path)
	require.Equal(t, 3, cuts)
}

// swap serves other bytes of the same size for a blob.
func swap(digest string, alter func([]byte) []byte) func(w http.ResponseWriter, r *http.Request, next http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, digest) {
			next.ServeHTTP(w, r)
			return
		}
		got := httptest.NewRecorder()
		next.ServeHTTP(got, r)
		for name, values := range got.Header() {
			if name != "Content-Length" {
				w.Header()[name] = values
			}
		}
		w.Write(alter(got.Body.Bytes()))
	}
}

// Every byte that is pulled is hashed: a registry whose disk or owner changed something is caught.
func TestCorruptRegistry(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	require.NoError(t, s.repository().Push(context.Background(), a, "v1", noProgress))
	tree, err := os.ReadFile(filepath.Join(b.Path, bundle.TreeName))
	require.NoError(t, err)
	flip := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	for _, c := range []struct {
		name, reference, digest string
		alter                   func([]byte) []byte
	}{
		{"archive", "v1", b.Archive.SHA256, flip},
		{"longer archive", "v1", b.Archive.SHA256, func(data []byte) []byte { return append(data, 0) }},
		{"shorter archive", "v1", b.Archive.SHA256, func(data []byte) []byte { return data[:len(data)-1] }},
		{"tree", "v1", fmt.Sprintf("%x", sha256.Sum256(tree)), flip},
		{"manifest by digest", string(a.Digest), string(a.Digest), func(data []byte) []byte { return bytes.Replace(data, []byte("weight"), []byte("Weight"), 1) }},
	} {
		s.stand(swap(c.digest, c.alter))
		into := filepath.Join(t.TempDir(), "pulled")
		_, err := s.repository().Pull(context.Background(), c.reference, into, nil)
		require.Error(t, err, c.name)
		require.NoDirExists(t, into)
		s.alone(into)
	}
	s.stand(swap(b.Archive.SHA256, flip))
	_, err = s.repository().Pull(context.Background(), "v1", filepath.Join(t.TempDir(), "pulled"), nil)
	require.ErrorIs(t, err, backlog.ErrRefused)
	require.ErrorContains(t, err, "wts.h5.zip: ")
	require.ErrorContains(t, err, "serves other bytes")
}

// What is whole as blobs and no bundle all the same is not pulled.
func TestForeignArtifact(t *testing.T) {
	both := bundles(t)
	s := newServer(t)
	data, err := os.ReadFile(filepath.Join(both[1].Path, bundle.ArchiveName))
	require.NoError(t, err)
	mixed := both[0].Path // the archive of another bundle, under digests that are right
	require.NoError(t, os.WriteFile(filepath.Join(mixed, bundle.ArchiveName), data, 0o644))
	manifest := filepath.Join(mixed, bundle.ManifestName)
	text, err := os.ReadFile(manifest)
	require.NoError(t, err)
	text = bytes.ReplaceAll(text, []byte(both[0].Archive.SHA256), []byte(both[1].Archive.SHA256))
	text = bytes.Replace(text, fmt.Appendf(nil, `"bytes": %d`, both[0].Archive.Bytes), fmt.Appendf(nil, `"bytes": %d`, both[1].Archive.Bytes), 1)
	require.NoError(t, os.WriteFile(manifest, text, 0o644))
	tree, err := os.ReadFile(filepath.Join(mixed, bundle.TreeName))
	require.NoError(t, err)
	sums := fmt.Sprintf("%x  %s\n%x  %s\n%s  %s\n", sha256.Sum256(tree), bundle.TreeName, sha256.Sum256(text), bundle.ManifestName, both[1].Archive.SHA256, bundle.ArchiveName)
	require.NoError(t, os.WriteFile(filepath.Join(mixed, bundle.SumsName), []byte(sums), 0o644))
	require.NoError(t, s.repository().Push(context.Background(), open(t, mixed), "v1", noProgress))
	into := filepath.Join(t.TempDir(), "pulled")
	_, err = s.repository().Pull(context.Background(), "v1", into, nil)
	require.ErrorContains(t, err, "no whole bundle")
	s.alone(into)
}

// An archive that is damaged on the local disk is not sent, and no manifest names it.
func TestDamagedLocalArchive(t *testing.T) {
	b := bundles(t)[0]
	s := newServer(t)
	archive := filepath.Join(b.Path, bundle.ArchiveName)
	data, err := os.ReadFile(archive)
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	require.NoError(t, os.WriteFile(archive, data, 0o644))
	err = oci.NewDestination("lab", s.repository()).Send(context.Background(), b, noProgress)
	require.ErrorIs(t, err, backlog.ErrRefused)
	require.ErrorContains(t, err, "the local bundle is damaged")
	require.ErrorContains(t, err, "was published with")
	for _, call := range s.made() {
		require.NotContains(t, call, "PUT /v2/team/models/manifests")
	}
	require.NoError(t, os.WriteFile(archive, data[:100], 0o644))
	require.ErrorIs(t, s.repository().Push(context.Background(), open(t, b.Path), "v1", noProgress), backlog.ErrRefused)
}

func TestPullNeverReplaces(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	require.NoError(t, s.repository().Push(context.Background(), a, "v1", noProgress))
	into := t.TempDir()
	_, err := s.repository().Pull(context.Background(), "v1", into, nil)
	require.NoError(t, err, "an empty directory")
	s.stand(nil)
	_, err = s.repository().Pull(context.Background(), "v1", into, nil)
	require.ErrorContains(t, err, "not empty")
	require.Empty(t, s.made())
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = s.repository().Pull(context.Background(), "v1", file, nil)
	require.ErrorContains(t, err, "not a directory")
	_, err = s.repository().Pull(context.Background(), "v1", filepath.Join(t.TempDir(), "no", "parent"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// What a pull that was killed has left goes with the next one to the same place; what lives stays.
func TestLeftoversOfPulls(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	require.NoError(t, s.repository().Push(context.Background(), a, "v1", noProgress))
	parent := t.TempDir()
	dead, other := filepath.Join(parent, ".pulled[1].pull-1"), filepath.Join(parent, ".other.pull-1")
	for _, dir := range []string{dead, other} {
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o644))
	}
	var inner error
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	s.stand(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, b.Archive.SHA256) {
			<-hold
		}
		next.ServeHTTP(w, r)
	})
	var work sync.WaitGroup
	work.Go(func() {
		_, inner = s.repository().Pull(context.Background(), "v1", filepath.Join(parent, "pulled[1]"), nil)
	})
	require.Eventually(t, func() bool { _, err := os.Stat(dead); return err != nil }, patience, tick)
	require.DirExists(t, other)
	ctx, stop := context.WithCancel(context.Background())
	var second error
	work.Go(func() { _, second = s.repository().Pull(ctx, "v1", filepath.Join(parent, "pulled[1]"), nil) })
	require.Eventually(t, func() bool {
		found, _ := filepath.Glob(filepath.Join(parent, ".pulled*"))
		return len(found) == 2
	}, patience, tick, "two at work")
	stop()
	release()
	work.Wait()
	require.NoError(t, inner)
	require.ErrorIs(t, second, context.Canceled)
	found, err := filepath.Glob(filepath.Join(parent, ".pulled*"))
	require.NoError(t, err)
	require.Empty(t, found)
}

// guarded is a registry that wants a name and a password.
func (s *server) guarded(user, password string) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	s.stand(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Header.Get("Authorization") != want {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) login(path, password string) {
	s.t.Helper()
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	auth := base64.StdEncoding.EncodeToString([]byte("me:" + password))
	require.NoError(s.t, os.WriteFile(path, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, s.host(), auth), 0o600))
}

// Credentials are those of docker login, oras login or podman login, or of a file, and are never shown.
func TestCredentials(t *testing.T) {
	a, s := open(t, bundles(t)[0].Path), newServer(t)
	s.guarded("me", "s3cret-right")
	home := t.TempDir()
	for _, name := range []string{"DOCKER_CONFIG", "XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	push := func(credentials string) error {
		r := oci.NewRepository(s.host()+"/team/models", oci.Access{PlainHTTP: true, Credentials: credentials})
		defer r.Close()
		return r.Push(context.Background(), a, "v1", noProgress)
	}
	require.ErrorContains(t, push(""), "docker login")
	for _, c := range []struct{ variable, value, path string }{
		{"HOME", home, ".docker/config.json"}, {"DOCKER_CONFIG", filepath.Join(home, "docker"), "docker/config.json"},
		{"XDG_RUNTIME_DIR", filepath.Join(home, "run"), "run/containers/auth.json"}, {"REGISTRY_AUTH_FILE", filepath.Join(home, "auth.json"), "auth.json"},
	} {
		t.Setenv(c.variable, c.value)
		path := filepath.Join(home, c.path)
		s.login(path, "s3cret-wrong")
		err := push("")
		require.ErrorContains(t, err, "401", path)
		require.NotContains(t, err.Error(), "s3cret")
		s.login(path, "s3cret-right")
		require.NoError(t, push(""), path)
		require.NoError(t, os.Remove(path))
	}
	path := filepath.Join(home, "own.json")
	require.ErrorContains(t, push(path), "own.json")
	s.login(path, "s3cret-right")
	require.NoError(t, push(path))
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	require.ErrorContains(t, push(path), "own.json")

	// A daemon notices a new login.
	r := oci.NewRepository(s.host()+"/team/models", oci.Access{PlainHTTP: true, Credentials: path})
	defer r.Close()
	s.login(path, "s3cret-wrong")
	require.Error(t, r.Push(context.Background(), a, "v1", noProgress))
	s.login(path, "s3cret-right")
	require.NoError(t, r.Push(context.Background(), a, "v1", noProgress))
}

// Tokens are got with the credentials, once for a push, for pulling and pushing at once.
func TestTokens(t *testing.T) {
	a, s := open(t, bundles(t)[0].Path), newServer(t)
	var mu sync.Mutex
	var scopes []string
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "me" || password != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		scopes = append(scopes, strings.Join(r.URL.Query()["scope"], " "))
		fmt.Fprint(w, `{"token":"t0ken"}`)
	}))
	defer tokens.Close()
	s.stand(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`/token",service="lab",scope="repository:team/models:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
	path := filepath.Join(t.TempDir(), "config.json")
	s.login(path, "s3cret")
	r := oci.NewRepository(s.host()+"/team/models", oci.Access{PlainHTTP: true, Credentials: path})
	defer r.Close()
	require.NoError(t, r.Push(context.Background(), a, "v1", noProgress))
	require.Equal(t, []string{"repository:team/models:pull,push"}, scopes)
	s.login(path, "wrong")
	other := oci.NewRepository(s.host()+"/team/models", oci.Access{PlainHTTP: true, Credentials: path})
	defer other.Close()
	err := other.Push(context.Background(), a, "v1", noProgress)
	require.ErrorContains(t, err, "401")
	require.ErrorContains(t, err, "docker login")
}

func TestCertificates(t *testing.T) {
	a := open(t, bundles(t)[0].Path)
	s := httptest.NewTLSServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	name := strings.TrimPrefix(s.URL, "https://") + "/team/models"
	r := oci.NewRepository(name, oci.Access{CAFile: ca})
	defer r.Close()
	require.ErrorContains(t, r.Push(context.Background(), a, "v1", noProgress), "ca_file")
	require.NoError(t, os.WriteFile(ca, []byte("no"), 0o644))
	require.ErrorContains(t, r.Push(context.Background(), a, "v1", noProgress), "no certificate in PEM")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644))
	require.NoError(t, r.Push(context.Background(), a, "v1", noProgress), "it is read again")
	distrustful := oci.NewRepository(name, oci.Access{})
	defer distrustful.Close()
	require.ErrorContains(t, distrustful.Push(context.Background(), a, "v1", noProgress), "certificate")
	plain := oci.NewRepository("registry.example/a", oci.Access{PlainHTTP: true})
	require.ErrorContains(t, plain.Push(context.Background(), a, "v1", noProgress), "not on this machine")
}

// A registry that is no registry.
func TestStrangeServers(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, next http.Handler)
		want   string
	}{
		"a web page": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, "<html>\x1b[2J") }, ""},
		"too large a manifest": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Write(make([]byte, 5<<20))
		}, ""},
		"too large a body": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPut {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			next.ServeHTTP(w, r)
		}, "413"},
	} {
		s.stand(c.answer)
		err := s.repository().Push(context.Background(), a, "v1", noProgress)
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "\x1b")
		if c.want == "413" {
			require.ErrorIs(t, err, backlog.ErrRefused)
		}
	}
	s.Close()
	err := s.repository().Push(context.Background(), a, "v1", noProgress)
	require.ErrorContains(t, err, "connection refused")
	require.NotErrorIs(t, err, backlog.ErrRefused)
}

// A registry with immutable tags refuses also what it has; it is asked what that is.
func TestImmutableTags(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	s.stand(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(w, r)
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/v1") {
			panic(http.ErrAbortHandler) // its answer is lost
		}
	})
	require.NoError(t, s.repository().Push(context.Background(), a, "v1", noProgress))
	s.sameAs("v1", b.Path)
}

// A registry that shows a tag only a while after it took it.
func TestTagThatComesLate(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	hidden := 0
	s.stand(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		s.mu.Lock()
		hide := r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/v1") && hidden < 4
		if hide {
			hidden++ // twice before it is there
		}
		s.mu.Unlock()
		if hide {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
	require.NoError(t, s.repository().Push(context.Background(), a, "v1", noProgress))
	require.Equal(t, 4, hidden)
	s.sameAs("v1", b.Path)
}

func TestStopInMidPush(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	ctx, stop := context.WithCancel(context.Background())
	err := s.repository().Push(ctx, a, "v1", func(int64) { stop() })
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.repository().Push(context.Background(), a, "v1", noProgress))
	s.sameAs("v1", b.Path)
}

// The rate is kept over a whole transfer.
func TestRate(t *testing.T) {
	b := bundles(t)[0]
	a, s := open(t, b.Path), newServer(t)
	r := oci.NewRepository(s.host()+"/team/models", oci.Access{PlainHTTP: true, Rate: a.Bytes})
	defer r.Close()
	begun := time.Now()
	require.NoError(t, r.Push(context.Background(), a, "v1", noProgress))
	require.Greater(t, time.Since(begun), 700*time.Millisecond, "all of it in less than a second, at a rate of all of it per second")
}

const (
	patience = 30 * time.Second
	tick     = time.Millisecond
)
