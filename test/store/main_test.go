package store

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }

const (
	bucketName = "bundles"
	accessKey  = "bundlewatch"
	secretKey  = "secret-of-this-test"
	region     = "us-east-1"
	prefix     = "lab"
)

// software is a program that serves S3 in front of a directory, in which a directory is a bucket. $variable names it.
type software struct {
	name, variable string
	command        func(program, address, dir string) *exec.Cmd
}

var (
	versitygw = software{"versitygw", "BUNDLEWATCH_VERSITYGW", func(program, address, dir string) *exec.Cmd {
		return exec.Command(program, "--port", address, "--access", accessKey, "--secret", secretKey, "--region", region, "--quiet", "posix", dir)
	}}
	minio = software{"MinIO", "BUNDLEWATCH_MINIO", func(program, address, dir string) *exec.Cmd {
		cmd := exec.Command(program, "server", "--quiet", "--address", address, "--console-address", "127.0.0.1:0", dir)
		cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+accessKey, "MINIO_ROOT_PASSWORD="+secretKey, "MINIO_UPDATE=off", "MINIO_BROWSER=off")
		return cmd
	}}
)

// server is a store that can be killed and started again.
type server struct {
	t *testing.T
	software
	program string
	dir     string
	address string
	cmd     *exec.Cmd
}

// newServer starts a server with an empty bucket. The test is skipped where the program is not there.
func newServer(t *testing.T, of software) *server {
	t.Helper()
	path := os.Getenv(of.variable)
	if path == "" {
		t.Skipf("%s is not there: test/store/run.sh builds it, or name it in $%s", of.name, of.variable)
	}
	s := &server{t: t, software: of, program: path, dir: t.TempDir(), address: freeAddress(t)}
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, bucketName), 0o755))
	s.start()
	t.Cleanup(s.kill)
	s.ready()
	return s
}

func (s *server) start() {
	s.cmd = s.command(s.program, s.address, s.dir)
	require.NoError(s.t, s.cmd.Start())
}

// ready waits until it answers.
func (s *server) ready() {
	objects := s.objects(s.address)
	program.Eventually(s.t, s.name+" answers", func() bool {
		return objects.List(s.t.Context(), "", "", true, func(objectstore.Object) error { return nil }) == nil
	})
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// objects opens the bucket at an address: that of the server, or of one in front of it.
func (s *server) objects(address string) *objectstore.Client {
	s.t.Helper()
	c, err := objectstore.Open(objectstore.Options{Endpoint: "http://" + address, Bucket: bucketName, Region: region, PathStyle: true, Credentials: s.keys(),
		Patience: objectstore.Patience{Tries: 1}})
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

func (s *server) bucket(address string) *bucket.Bucket {
	s.t.Helper()
	return bucket.New(s.objects(address), bucket.Options{Prefix: prefix, PartSize: bucket.MinPartSize, Parallel: 4, Host: "test"})
}

func (s *server) keys() string {
	path := filepath.Join(s.t.TempDir(), "keys")
	require.NoError(s.t, os.WriteFile(path, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secretKey), 0o600))
	return path
}

// later returns the address of a proxy to the server, whose clock is ahead: what it says of the time is all that a sweep
// knows of it.
func (s *server) later(by time.Duration) string {
	transport := &http.Transport{DisableCompression: true}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: s.address})
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			now, err := http.ParseTime(r.Header.Get("Date"))
			r.Header.Set("Date", now.Add(by).UTC().Format(http.TimeFormat))
			return err
		},
	})
	s.t.Cleanup(transport.CloseIdleConnections)
	s.t.Cleanup(proxy.Close)
	return proxy.Listener.Addr().String()
}

// host is a daemon with an artifact directory of its own.
type host struct {
	t      *testing.T
	name   string
	config string
	dir    string
	log    string
	cmd    *exec.Cmd
}

// newHost makes a host that publishes what is below root into the store at an address.
func (s *server) newHost(name, root, address string) *host {
	s.t.Helper()
	h := &host{t: s.t, name: name, dir: s.t.TempDir()}
	h.config, h.log = filepath.Join(h.dir, "bundlewatch.toml"), filepath.Join(h.dir, "log")
	require.NoError(s.t, os.WriteFile(h.config, fmt.Appendf(nil, `[artifacts]
dir = "artifacts"

[status]
socket = "status.sock"

[[watch]]
name = "w"
root = %q
settle = "20ms"
rescan = "1s"

[watch.members]
a = "{run...}/a-{step}.pt"
b = "{run...}/b-{step}.pt"

[watch.payload]
keep = "verbatim"

[[store]]
name = "lab"
endpoint = "http://%s"
bucket = %q
prefix = %q
credentials = %q
part_size = "5MiB"
`, root, address, bucketName, prefix, s.keys()), 0o644))
	return h
}

func (h *host) start() {
	log, err := os.OpenFile(h.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	require.NoError(h.t, err)
	defer log.Close()
	h.cmd = exec.Command(program.Path(), "run", "--config", h.config)
	h.cmd.Stderr, h.cmd.Stdout = log, log
	require.NoError(h.t, h.cmd.Start())
}

func (h *host) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

func (h *host) stop() {
	require.NoError(h.t, h.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(h.t, h.cmd.Wait())
}

// run runs a verb with the config of the host.
func (h *host) run(args ...string) string {
	h.t.Helper()
	cmd := exec.Command(program.Path(), append(args, "--config", h.config)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	require.True(h.t, err == nil || errors.As(err, new(*exec.ExitError)))
	require.NoError(h.t, err, "%v: %s", args, errs.String())
	return out.String()
}
