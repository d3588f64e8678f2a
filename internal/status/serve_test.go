package status

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func listen(t *testing.T, path string, board *Board) *Socket {
	t.Helper()
	s, err := ListenSocket(path, board, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestSocketAnswers(t *testing.T) {
	board := &Board{}
	path := filepath.Join(t.TempDir(), "s.sock")
	listen(t, path, board)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660)|os.ModeSocket, info.Mode())
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1)

	_, _, err = Ask(context.Background(), path)
	require.ErrorContains(t, err, "starting")
	board.Publish(full())
	s, line, err := Ask(context.Background(), path)
	require.NoError(t, err)
	require.Equal(t, "w", s.Watches[0].Name)
	require.Equal(t, 1, strings.Count(string(line), "\n"))
	require.True(t, json.Valid(line))
}

func TestSocketPathsMayBeLong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120), strings.Repeat("e", 120))
	require.NoError(t, os.MkdirAll(dir, 0o755))
	board := &Board{}
	board.Publish(full())
	path := filepath.Join(dir, strings.Repeat("s", 50))
	s, err := ListenSocket(path, board, nil)
	require.NoError(t, err)
	_, _, err = Ask(context.Background(), path)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoFileExists(t, path)
}

func TestSocketOfADeadProcessIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.FileExists(t, path)
	board := &Board{}
	board.Publish(full())
	first := listen(t, path, board)

	_, err = ListenSocket(path, board, nil)
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, os.Remove(path))
	listen(t, path, board)
	require.NoError(t, first.Close())
	_, _, err = Ask(context.Background(), path)
	require.NoError(t, err, "closing the first one leaves the second alone")
}

func TestSocketReplacesNothingElse(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"file":      func(p string) error { return os.WriteFile(p, []byte("mine"), 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"link":      func(p string) error { return os.Symlink("/nowhere", p) },
		"pipe":      func(p string) error { return unix.Mkfifo(p, 0o600) },
	} {
		path := filepath.Join(t.TempDir(), "s.sock")
		require.NoError(t, make(path))
		_, err := ListenSocket(path, &Board{}, nil)
		require.ErrorContains(t, err, "no socket", name)
	}
	_, err := ListenSocket(filepath.Join(t.TempDir(), "none", "s.sock"), &Board{}, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, _, err = Ask(context.Background(), filepath.Join(t.TempDir(), "s.sock"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Clients that say nothing cannot keep others away for long, and those beyond the limit are sent away.
func TestHostileClients(t *testing.T) {
	board := &Board{}
	board.Publish(full())
	path := filepath.Join(t.TempDir(), "s.sock")
	listen(t, path, board)
	for range maxSocketClients {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Write([]byte("GET /sta"))
		require.NoError(t, err)
	}
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err, "one too many")
	c.Close()
	require.Eventually(t, func() bool {
		_, _, err := Ask(context.Background(), path)
		return err == nil
	}, 30*time.Second, 50*time.Millisecond)
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	listen(t, path, &Board{})
	for _, request := range []string{"\x00\x01\n\n", "GET /status\r\n\r\n", "POST /status HTTP/1.1\r\nHost: x\r\n\r\n", "GET /debug/pprof/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /status HTTP/1.1\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n"} {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		_, err = io.WriteString(c, request)
		if err == nil {
			line, _ := bufio.NewReader(c).ReadString('\n')
			require.Regexp(t, "^HTTP/1.[01] (4|5)|^$", line)
		}
		c.Close()
	}
}

func get(t *testing.T, board *Board, m *Metrics, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	httpMux(board, m, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHealth(t *testing.T) {
	board, m := metrics()
	code, body := get(t, board, m, "/healthz")
	require.Equal(t, 200, code, body)
	code, body = get(t, board, m, "/readyz")
	require.Equal(t, 503, code)
	require.Equal(t, "watch \"w\": root \"/data\" hangs: \"read\" of \"/data/x\" has not come back for 31 s\n"+
		"watch \"w\": packing \"k\" is stalled\nartifacts: \"5 B are free\"\n", body)
	well := full()
	well.Watches[0].Hung, well.Watches[0].Gone, well.Artifacts.Stopped, well.Packs = nil, "not there", "", nil
	board.Publish(well)
	code, body = get(t, board, m, "/readyz")
	require.Equal(t, 200, code, "a root that is missing is waited for")
	require.Equal(t, "ok\n", body)
	well = full()
	well.Ready = false
	board.Publish(well)
	_, body = get(t, board, m, "/readyz")
	require.Contains(t, body, "not every root was listed yet")
	code, body = get(t, board, m, "/metrics")
	require.Equal(t, 200, code)
	require.Contains(t, body, "bundlewatch_packs_running 2")
	require.Contains(t, body, "process_open_fds")
	code, _ = get(t, board, m, "/debug/pprof/")
	require.Equal(t, 404, code)
	code, _ = get(t, &Board{}, m, "/healthz")
	require.Equal(t, 503, code)
}

// A daemon whose coordinator is stuck is not healthy, whatever the wall clock says.
func TestStuckDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		board := &Board{}
		board.Publish(full())
		require.Empty(t, Health(board.Last()))
		time.Sleep(stale)
		require.Empty(t, Health(board.Last()))
		time.Sleep(time.Second)
		require.Equal(t, []string{"the coordinator has not turned for 31s"}, Health(board.Last()))
	})
}

func TestHTTPListener(t *testing.T) {
	board, m := metrics()
	l, err := ListenHTTP("127.0.0.1:0")
	require.NoError(t, err)
	s := ServeHTTP(l, board, m, nil, Access{})
	_, err = ListenHTTP(s.Address)
	require.ErrorContains(t, err, fmt.Sprintf("listen for HTTP on %q", s.Address))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + s.Address + "/healthz")
	require.NoError(t, err)
	require.Equal(t, 200, r.StatusCode)
	require.NoError(t, r.Body.Close())
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
}

func TestPlaces(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	require.NotEqual(t, SocketName("/a"), SocketName("/b"))
	require.Equal(t, SocketName("/a"), SocketName("/x/../a/"))
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if os.Geteuid() != 0 {
		path, err := Place("", "/a")
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, "bundlewatch", SocketName("/a")), path)
	}
	t.Setenv("RUNTIME_DIRECTORY", dir+"/one:"+dir+"/two")
	path, err := Place("", "/a")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "one", SocketName("/a")), path)
	require.Equal(t, path, Candidates("", "/a")[0])
	require.Contains(t, Candidates("", "/a"), "/run/bundlewatch/"+SocketName("/a"))
	require.Equal(t, []string{"/s"}, Candidates("/s", "/a"))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.Contains(t, Sockets(), path)
	path, err = Place("/s", "/a")
	require.NoError(t, err)
	require.Equal(t, "/s", path)
}
