// Package registry pushes bundles to a real registry, kills who takes part, and pulls with other people's clients.
package registry

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

func TestMain(m *testing.M) { program.Main(m) }

// server is a running registry.
type server struct {
	t       *testing.T
	dir     string // of its storage
	address string
	cmd     *exec.Cmd
	uploads map[string]bool // that were seen
}

func newServer(t *testing.T) *server {
	t.Helper()
	program.Slow(t)
	if os.Getenv("BUNDLEWATCH_REGISTRY") == "" {
		t.Skip("needs a registry program: make registry")
	}
	s := &server{t: t, dir: filepath.Join(t.TempDir(), "storage"), address: "127.0.0.1:0", uploads: make(map[string]bool)}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// start starts the registry, at the address that it had.
func (s *server) start() {
	s.t.Helper()
	program.Eventually(s.t, "a registry that listens", func() bool {
		address := s.address
		if strings.HasSuffix(address, ":0") { // a port that was free a moment ago
			l, err := net.Listen("tcp", address)
			require.NoError(s.t, err)
			address = l.Addr().String()
			require.NoError(s.t, l.Close())
		}
		config := filepath.Join(filepath.Dir(s.dir), "config.yml")
		require.NoError(s.t, os.WriteFile(config, fmt.Appendf(nil,
			"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n", s.dir, address), 0o644))
		s.cmd = exec.Command(os.Getenv("BUNDLEWATCH_REGISTRY"), "serve", config)
		s.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
		s.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		require.NoError(s.t, s.cmd.Start())
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if answer, err := http.Get("http://" + address + "/v2/"); err == nil {
				answer.Body.Close()
				s.address = address
				return true
			}
		}
		s.kill() // somebody else took the port
		return false
	})
}

func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
	http.DefaultClient.CloseIdleConnections()
}

// repository is where bundles go; tag has a colon before it when there is one.
func (s *server) repository(tag string) string { return s.address + "/team/models" + tag }

// tags are those of the repository.
func (s *server) tags() []string {
	s.t.Helper()
	answer, err := http.Get("http://" + s.address + "/v2/team/models/tags/list")
	require.NoError(s.t, err)
	defer answer.Body.Close()
	var list struct{ Tags []string }
	data, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	if answer.StatusCode == http.StatusNotFound {
		return nil
	}
	require.NoError(s.t, json.Unmarshal(data, &list), string(data))
	return list.Tags
}

// site is a root with two roles, and its artifact directory.
type site struct {
	t    *testing.T
	dir  string
	more string // of the config
}

func newSite(t *testing.T) *site { return &site{t: t, dir: t.TempDir()} }

func (s *site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// config writes bundlewatch.toml.
func (s *site) config() {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(s.path("bundlewatch.toml"), []byte(`[artifacts]
dir = "artifacts"

[[watch]]
name = "pairs"
root = "runs"
settle = "50ms"

[watch.members]
a = "{run}/a-{epoch}.ckpt"
b = "{run}/b-{epoch}.ckpt"
`+s.more), 0o644))
}

// save writes a pair with so many bytes in each member.
func (s *site) save(run string, bytes int, seed uint64) {
	s.t.Helper()
	require.NoError(s.t, os.MkdirAll(s.path("runs", run), 0o755))
	for i, role := range []string{"a", "b"} {
		c := torchfile.Checkpoint{State: []torchfile.Tensor{torchfile.Random("w", bytes, seed+uint64(i))}}
		require.NoError(s.t, c.Save(s.path("runs", run, role+"-1.ckpt")))
	}
}

// bundle makes one bundle and returns its directory.
func (s *site) bundle(run string, bytes int, seed uint64) string {
	s.t.Helper()
	s.config()
	s.save(run, bytes, seed)
	r := program.Run(s.t, "once", "--config", s.path("bundlewatch.toml"))
	require.Zero(s.t, r.Code, r.Stderr)
	return s.path("artifacts", "pairs", run, "1")
}

func run(t *testing.T, code int, args ...string) program.Result {
	t.Helper()
	r := program.Run(t, args...)
	require.Equal(t, code, r.Code, "%v\n%s%s", args, r.Stdout, r.Stderr)
	return r
}

// digestOf is the digest that push or pull told.
func digestOf(t *testing.T, r program.Result) string {
	t.Helper()
	digest := regexp.MustCompile("sha256:[0-9a-f]{64}").FindString(r.Stdout)
	require.NotEmpty(t, digest, r.Stdout)
	return digest
}

// whole pulls a reference and makes sure that it is that bundle.
func whole(t *testing.T, reference, dir string) {
	t.Helper()
	into := filepath.Join(t.TempDir(), "pulled")
	run(t, 0, "pull", "--plain-http", reference, into)
	out, err := exec.Command("diff", "-r", dir, into).CombinedOutput()
	require.NoError(t, err, string(out))
}

// others skips a test where the clients of others are missing.
func others(t *testing.T) string {
	t.Helper()
	python := os.Getenv("BUNDLEWATCH_PYTHON")
	if python == "" {
		t.Skip("needs ORAS for Python and model_signing: make registry")
	}
	return python
}

func must(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v\n%s", name, args, out)
}

func TestPushAndPull(t *testing.T) {
	s := newServer(t)
	dir := newSite(t).bundle("r", 1<<20, 1)
	first := run(t, 0, "push", "--plain-http", dir, s.repository(""))
	again := run(t, 0, "push", "--plain-http", dir, s.repository(":again"))
	require.Equal(t, digestOf(t, first), digestOf(t, again), "another digest for the same bundle")
	require.Len(t, s.tags(), 2)
	whole(t, s.repository(":again"), dir)
	whole(t, s.repository("@"+digestOf(t, first)), dir)
	other := newSite(t).bundle("q", 1<<20, 5)
	r := run(t, 1, "push", "--plain-http", other, s.repository(":again"))
	require.Contains(t, r.Stderr, "already, and is not overwritten")
	whole(t, s.repository(":again"), dir)
}

// ORAS for Python pulls what we pushed; sha256sum, model_signing and we prove it, with our signature and theirs.
func TestClientsOfOthers(t *testing.T) {
	s := newServer(t)
	python := others(t)
	keys := t.TempDir()
	private, public := filepath.Join(keys, "signing.pem"), filepath.Join(keys, "signing.pub")
	run(t, 0, "keygen", private)
	signed := newSite(t)
	signed.more = fmt.Sprintf("\n[sign]\nkey = %q\n", private)
	ours, theirs := signed.bundle("r", 1<<20, 1), newSite(t).bundle("r", 1<<20, 1)
	must(t, keys, python, "-m", "model_signing", "sign", "key", theirs, "--private_key", private, "--no-ignore-git-paths",
		"--signature", filepath.Join(theirs, "model.sig"))
	for tag, dir := range map[string]string{":ours": ours, ":theirs": theirs} {
		require.FileExists(t, filepath.Join(dir, "model.sig"))
		run(t, 0, "push", "--plain-http", dir, s.repository(tag))
		byUs, byORAS := filepath.Join(t.TempDir(), "us"), filepath.Join(t.TempDir(), "oras")
		run(t, 0, "pull", "--plain-http", s.repository(tag), byUs)
		must(t, keys, python, "-c", `import sys, oras.client
files = oras.client.OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])
assert len(files) == 5, files`, s.repository(tag), byORAS)
		for _, pulled := range []string{byUs, byORAS} {
			must(t, pulled, "sha256sum", "--strict", "-c", "SHA256SUMS")
			must(t, pulled, "diff", "-r", dir, pulled)
			must(t, keys, python, "-m", "model_signing", "verify", "key", pulled, "--public_key", public, "--signature", filepath.Join(pulled, "model.sig"))
			run(t, 0, "verify", "--key", public, pulled)
		}
	}
}

// Two hosts race for one tag: it names one of the two bundles, whole, and that host was told so. How often both
// believe that they were alone is logged: a registry has no way to exclude it.
func TestTwoHostsRaceForOneTag(t *testing.T) {
	s := newServer(t)
	dirs := [2]string{newSite(t).bundle("r", 1<<18, 1), newSite(t).bundle("r", 1<<18, 7)}
	both := 0
	for i := range 10 {
		reference := s.repository(fmt.Sprint(":race-", i))
		var results [2]program.Result
		done := make(chan struct{})
		go func() {
			defer close(done)
			results[1] = program.Run(t, "push", "--plain-http", dirs[1], reference)
		}()
		results[0] = program.Run(t, "push", "--plain-http", dirs[0], reference)
		<-done
		holder := digestOf(t, run(t, 0, "pull", "--plain-http", reference, filepath.Join(t.TempDir(), "pulled")))
		won := 0
		for n, r := range results {
			if r.Code != 0 {
				require.Equal(t, 1, r.Code)
				require.Contains(t, r.Stderr, "is not overwritten")
				continue
			}
			won++
			if digestOf(t, r) == holder {
				whole(t, reference, dirs[n])
			}
		}
		require.NotZero(t, won)
		if won == 2 {
			both++
		}
	}
	t.Logf("10 races: both hosts believed that they were alone in %d", both)
}

// A blob that rots on the registry's disk is served with 200, and is caught.
func TestRottenRegistry(t *testing.T) {
	s := newServer(t)
	dir := newSite(t).bundle("r", 1<<20, 1)
	run(t, 0, "push", "--plain-http", dir, s.repository(":v1"))
	archive, err := os.ReadFile(filepath.Join(dir, "wts.h5.zip"))
	require.NoError(t, err)
	sum := fmt.Sprintf("%x", sha256.Sum256(archive))
	blob := filepath.Join(s.dir, "docker/registry/v2/blobs/sha256", sum[:2], sum, "data")
	archive[len(archive)/2] ^= 1
	require.NoError(t, os.WriteFile(blob, archive, 0o644))
	into := filepath.Join(t.TempDir(), "pulled")
	r := run(t, 1, "pull", "--plain-http", s.repository(":v1"), into)
	require.Contains(t, r.Stderr, "wts.h5.zip: ")
	require.Contains(t, r.Stderr, "the registry serves other bytes than those of sha256:"+sum)
	require.NoDirExists(t, into)
}

// daemon is a running bundlewatch.
type daemon struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  string
	from int64 // of the log
}

func (s *site) daemon() *daemon {
	s.t.Helper()
	d := &daemon{t: s.t, log: s.path("daemon.log")}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(s.t, err)
	defer log.Close()
	info, err := log.Stat()
	require.NoError(s.t, err)
	d.from = info.Size()
	d.cmd = exec.Command(program.Path(), "run", "--config", s.path("bundlewatch.toml"))
	d.cmd.Stderr = log
	d.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	require.NoError(s.t, d.cmd.Start())
	s.t.Cleanup(func() { d.end(unix.SIGKILL) })
	return d
}

func (d *daemon) end(signal unix.Signal) {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(signal)
		_ = d.cmd.Wait()
		d.cmd = nil
	}
}

// says tells whether a message was logged since the start.
func (d *daemon) says(message string) bool {
	data, err := os.ReadFile(d.log)
	require.NoError(d.t, err)
	return strings.Contains(string(data[d.from:]), `"message":"`+message+`"`)
}

// push is the config of a destination that takes about two seconds for a bundle of 32 MiB.
func (s *site) push(server *server) {
	s.more = fmt.Sprintf("\n[[push]]\nname = \"lab\"\nkind = \"oci\"\nrepository = %q\nplain_http = true\nrate = \"16MiB\"\n", server.repository(""))
	s.config()
}

// halfWay waits until bytes of an upload that it has not waited for before have arrived, and a random while more. It is false when the machine was so
// slow that the bundle is there already.
func (s *server) halfWay(d *daemon) bool {
	s.t.Helper()
	program.Eventually(s.t, "an upload", func() bool {
		if d.says("bundle sent") {
			return true
		}
		found, err := filepath.Glob(filepath.Join(s.dir, "docker/registry/v2/repositories/team/models/_uploads/*/data"))
		require.NoError(s.t, err)
		for _, path := range found {
			if info, err := os.Stat(path); err == nil && info.Size() > 1<<20 && !s.uploads[path] {
				s.uploads[path] = true
				return true
			}
		}
		return false
	})
	time.Sleep(rand.N(800 * time.Millisecond))
	return !d.says("bundle sent")
}

// A daemon that is killed while it sends leaves no tag that is not whole, and the next one goes on.
func TestClientKilledInMidPush(t *testing.T) {
	server := newServer(t)
	s := newSite(t)
	dir := s.bundle("r", 16<<20, 1)
	s.push(server)
	for range 4 {
		d := s.daemon()
		half := server.halfWay(d)
		d.end(unix.SIGKILL)
		for _, tag := range server.tags() {
			whole(t, server.repository(":"+tag), dir)
		}
		if !half {
			break
		}
	}
	d := s.daemon()
	program.Eventually(t, "the bundle to be there", func() bool { return len(server.tags()) == 1 })
	whole(t, server.repository(":"+server.tags()[0]), dir)
	d.end(unix.SIGTERM)
}

// A registry that is killed while it receives delays nothing, and gets the bundle when it is back.
func TestRegistryKilledInMidPush(t *testing.T) {
	server := newServer(t)
	s := newSite(t)
	dir := s.bundle("r", 16<<20, 1)
	s.push(server)
	d := s.daemon()
	killed := false
	for range 2 {
		if !server.halfWay(d) {
			break
		}
		server.kill()
		program.Eventually(t, "the failure or the end to be told", func() bool {
			killed = d.says("sending fails; it is tried again")
			return killed || d.says("bundle sent")
		})
		server.start()
	}
	s.save("q", 1<<16, 9)
	program.Eventually(t, "both bundles to be there", func() bool { return len(server.tags()) == 2 })
	for _, tag := range server.tags() {
		key := "q"
		if strings.HasPrefix(tag, "r-") {
			key = "r"
		}
		whole(t, server.repository(":"+tag), s.path("artifacts", "pairs", key, "1"))
	}
	require.Equal(t, killed, d.says("sending works again"))
	require.DirExists(t, dir)
	d.end(unix.SIGTERM)
}
