package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// socketMode lets the owner and the group ask.
const socketMode = 0o660

// maxSocketClients is how many clients the socket has at a time: many jobs can end, and drain, at once.
const maxSocketClients = 32

// ErrInUse tells that another process answers on a socket.
var ErrInUse = errors.New("another process answers on it")

// Socket is the unix socket of a daemon.
type Socket struct {
	*Server
	path string
	made os.FileInfo
}

// ListenSocket makes the socket, in place of one that a dead process left, and answers on it. It never has
// another mode than 0660, and never replaces anything but a socket on which nobody answers.
func ListenSocket(path string, board *Board, drain Drainer) (*Socket, error) {
	l, made, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("make status socket %q: %w", path, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeSnapshot(w, board.Last()) })
	mux.HandleFunc("POST /drain", drainHandler(drain))
	return &Socket{Server: serve(l, path, maxSocketClients, mux), path: path, made: made}, nil
}

func listenUnix(path string) (net.Listener, os.FileInfo, error) {
	if err := mayReplace(path); err != nil {
		return nil, nil, err
	}
	dir, err := openDir(path)
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	hidden := "." + strconv.Itoa(os.Getpid()) + "." + filepath.Base(path)
	if err := os.Remove(filepath.Join(filepath.Dir(path), hidden)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short(dir, hidden), Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	l.SetUnlinkOnClose(false)
	made, err := reveal(filepath.Join(filepath.Dir(path), hidden), path)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, made, nil
}

// reveal gives a socket its mode and its name.
func reveal(hidden, path string) (os.FileInfo, error) {
	err := os.Chmod(hidden, socketMode)
	if err == nil {
		err = os.Rename(hidden, path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(hidden))
	}
	return os.Lstat(path)
}

// mayReplace makes sure that nothing is at path, or the socket of a dead process.
func mayReplace(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("something is there that is no socket: remove it, or set another path")
	}
	ctx, stop := context.WithTimeout(context.Background(), requestTime)
	defer stop()
	c, err := dial(ctx, path)
	switch {
	case err == nil:
		c.Close()
		return ErrInUse
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// IsThere tells whether the socket is still at its path.
func (s *Socket) IsThere() bool {
	now, err := os.Lstat(s.path)
	return err == nil && os.SameFile(now, s.made)
}

// Close ends the server and removes the socket, unless another one is in its place.
func (s *Socket) Close() error {
	err := s.Server.Close()
	if s.IsThere() {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}

// openDir opens the directory of a path.
func openDir(path string) (*os.File, error) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Dir(path)), nil
}

// maxAddress is how long the address of a socket can be in bytes (unix(7), sun_path).
const maxAddress = 107

// short is an address for a socket in a directory, however long its path is.
func short(dir *os.File, name string) string {
	if path := filepath.Join(dir.Name(), name); len(path) <= maxAddress {
		return path
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	dir, err := openDir(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short(dir, filepath.Base(path)))
}

// writeSnapshot writes a snapshot as one line.
func writeSnapshot(w http.ResponseWriter, s *Snapshot) {
	if s == nil {
		text(w, http.StatusServiceUnavailable, "starting\n")
		return
	}
	writeJSON(w, s)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // a client that is gone is no fault
}

// maxAnswer bounds what is taken from a daemon.
const maxAnswer = 16 << 20

// Ask returns the snapshot of the daemon that answers on a socket, and the line that it sent.
func Ask(ctx context.Context, path string) (*Snapshot, []byte, error) {
	ctx, stop := context.WithTimeout(ctx, answerTime)
	defer stop()
	line, err := converse(ctx, path, http.MethodGet, "/status", nil)
	if err != nil {
		return nil, nil, err
	}
	var s Snapshot
	if err := decode(path, line, &s, func() int { return s.Version }); err != nil {
		return nil, nil, err
	}
	s.made = time.Now()
	return &s, line, nil
}

// converse sends a request to the daemon on a socket and returns what it answers.
func converse(ctx context.Context, path, method, place string, body io.Reader) ([]byte, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) }}}
	request, err := http.NewRequestWithContext(ctx, method, "http://bundlewatch"+place, body)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon on %q: %w", path, errors.Unwrap(err))
	}
	defer response.Body.Close()
	line, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask the daemon on %q: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the daemon on %q: it answers %q", path, line)
	}
	return line, nil
}

// decode reads an answer of a version that this program knows.
func decode(path string, line []byte, answer any, version func() int) error {
	if err := json.Unmarshal(line, answer); err != nil {
		return fmt.Errorf("ask the daemon on %q: its answer makes no sense: %w", path, err)
	}
	if v := version(); v != Schema {
		return fmt.Errorf("ask the daemon on %q: it answers in version %d, and this program knows %d: use the daemon's own", path, v, Schema)
	}
	return nil
}
