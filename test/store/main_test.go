package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
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
)

// gateway is a versitygw in front of a directory.
type gateway struct {
	t       *testing.T
	program string
	dir     string
	address string
	cmd     *exec.Cmd
}

// newGateway starts versitygw, which $BUNDLEWATCH_VERSITYGW names. Without it the test is skipped.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	program := os.Getenv("BUNDLEWATCH_VERSITYGW")
	if program == "" {
		t.Skip("versitygw is not there: make store installs it, or name it in $BUNDLEWATCH_VERSITYGW")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gateway{t: t, program: program, dir: t.TempDir(), address: listener.Addr().String()}
	require.NoError(t, listener.Close())
	require.NoError(t, os.Mkdir(filepath.Join(g.dir, bucketName), 0o755))
	g.start()
	t.Cleanup(g.kill)
	return g
}

func (g *gateway) start() {
	g.cmd = exec.Command(g.program, "--port", g.address, "--access", accessKey, "--secret", secretKey, "--region", region, "--quiet", "posix", g.dir)
	require.NoError(g.t, g.cmd.Start())
	program.Eventually(g.t, "the gateway answers", func() bool {
		conn, err := net.Dial("tcp", g.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (g *gateway) kill() {
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
}

// client opens the bucket.
func (g *gateway) client(partSize int64) *bucket.Bucket {
	g.t.Helper()
	objects, err := objectstore.Open(objectstore.Options{Endpoint: "http://" + g.address, Bucket: bucketName, Region: region, PathStyle: true, Credentials: g.keys()})
	require.NoError(g.t, err)
	g.t.Cleanup(objects.Close)
	return bucket.New(objects, bucket.Options{Prefix: "lab", PartSize: partSize, Parallel: 4, Host: "test"})
}

func (g *gateway) keys() string {
	path := filepath.Join(g.t.TempDir(), "keys")
	require.NoError(g.t, os.WriteFile(path, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secretKey), 0o600))
	return path
}

// age makes all that the gateway has older, by the times of its files.
func (g *gateway) age(by time.Duration) {
	then := time.Now().Add(-by)
	require.NoError(g.t, filepath.WalkDir(g.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, then, then)
	}))
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

func (g *gateway) newHost(name, root string) *host {
	g.t.Helper()
	h := &host{t: g.t, name: name, dir: g.t.TempDir()}
	h.config, h.log = filepath.Join(h.dir, "bundlewatch.toml"), filepath.Join(h.dir, "log")
	require.NoError(g.t, os.WriteFile(h.config, fmt.Appendf(nil, `[artifacts]
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

[[store]]
name = "lab"
endpoint = "http://%s"
bucket = %q
prefix = "lab"
credentials = %q
part_size = "5MiB"
`, root, g.address, bucketName, g.keys()), 0o644))
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

func random() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
