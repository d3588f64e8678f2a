package bucket

import (
	"bytes"
	"io"
	"log"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/test/objectserver"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	place    = "ptycho/r7/epoch=3"
	testPart = 16 << 10 // bytes; real stores want more
)

// pack makes a bundle of weights that depend on seed, as host would.
func pack(t testing.TB, seed float32, host string, partSize int64) string {
	t.Helper()
	return packOf(t, 10_000, seed, host, partSize)
}

// packOf makes a bundle of so many weights.
func packOf(t testing.TB, n int, seed float32, host string, partSize int64) string {
	t.Helper()
	source, err := torchfile.Of(pickle.NewDict("state_dict", pickle.NewDict("w", torchfile.View(0, n))), torchfile.Counting(n, seed))
	require.NoError(t, err)
	c, err := checkpoint.Open(bytes.NewReader(source), int64(len(source)))
	require.NoError(t, err)
	s, err := c.StateDict("")
	require.NoError(t, err)
	model, err := c.Extract(s)
	require.NoError(t, err)
	dir := t.TempDir()
	m, err := bundle.Pack(t.Context(), dir, &bundle.Contents{Watch: "ptycho", Key: "r7/epoch=3", Params: pickle.NewDict("N", int64(64)), ParamsSource: "none",
		Parts: []bundle.Part{bundle.Model(model, bundle.Member{Role: "model", Payload: bundle.PayloadExtracted, StateDict: "state_dict", Tensors: checkpoint.ListTensors(s.Tensors()),
			Source: &bundle.Source{Path: "/run/x.ckpt"}, Evidence: &bundle.Evidence{Quiet: "1s"}})},
		PartSize: partSize}, nil)
	require.NoError(t, err)
	m.Tool, m.Version, m.Captures = "bundlewatch test", 1, bundle.Captures{"run": "r7"}
	m.Provenance = bundle.Provenance{Published: time.Now().UTC(), Host: host}
	require.NoError(t, bundle.Seal(dir, m))
	return dir
}

// host is one that publishes.
type host struct {
	*Bucket
	name, dir string
	uploads   string
	unnamed   bool // its destination asked for the name before, and found none
}

func serve(t testing.TB) *objectserver.Server {
	t.Helper()
	s := objectserver.New()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	return s
}

func dial(t testing.TB, s *objectserver.Server) *objectstore.Client {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keys, []byte("[default]\naws_access_key_id="+objectserver.AccessKey+"\naws_secret_access_key="+objectserver.SecretKey+"\n"), 0o600))
	c, err := objectstore.Open(objectstore.Options{Endpoint: s.URL, Bucket: objectserver.Bucket, Region: objectserver.Region, PathStyle: true, Credentials: keys,
		Patience: objectstore.Patience{Tries: 4, First: time.Millisecond, Longest: 2 * time.Millisecond}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// newHost makes a host with a bundle, that sends archives in parts of partSize.
func newHost(t testing.TB, s *objectserver.Server, name string, seed float32, partSize int64) *host {
	t.Helper()
	h := &host{name: name, dir: pack(t, seed, name, partSize), uploads: t.TempDir()}
	h.Bucket = New(dial(t, s), Options{Prefix: "lab", PartSize: partSize, Parallel: 1, Host: name, Uploads: h.uploads})
	return h
}

func (h *host) publish(t testing.TB) (Published, error) {
	t.Helper()
	l, err := OpenLocal(h.dir, place)
	require.NoError(t, err)
	defer l.Close()
	if h.unnamed {
		return h.publishUnnamed(t.Context(), l)
	}
	return h.Publish(t.Context(), l)
}

// requireWhole proves that what has a name in the store is a bundle whose every byte is right.
func requireWhole(t testing.TB, s *objectserver.Server) {
	t.Helper()
	b := New(dial(t, s), Options{Prefix: "lab"})
	for _, key := range s.Keys("lab/names/") {
		at, ok := b.placeOfName(key, namesFolder)
		require.True(t, ok, key)
		names, err := b.names(t.Context(), at)
		require.NoError(t, err)
		require.Len(t, names, 1)
		dir := t.TempDir()
		for _, f := range names[0].Files {
			data := s.Object(b.dataKey(at, f.Path))
			require.Equal(t, f.SHA256, hexSum(data), f.Path)
			require.NoError(t, os.WriteFile(filepath.Join(dir, f.Base()), data, 0o444))
		}
		r, err := bundle.Verify(t.Context(), dir)
		require.NoError(t, err)
		require.Empty(t, r.Problems)
	}
}
