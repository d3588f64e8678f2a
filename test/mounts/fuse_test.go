// Package mounts watches file systems that come and go, and that hang. They are FUSE mounts of bindfs, which
// shows a directory a second time: what happens in it there raises no event here, as on any network file
// system.
package mounts

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen. Files on FUSE settle for five seconds.
const patience = time.Minute

func need(t *testing.T) {
	t.Helper()
	if os.Getenv("BUNDLEWATCH_MOUNTS") == "" {
		t.Skip("mounts file systems: make mounts")
	}
	t.Parallel() // they wait for files to settle, mostly
}

// server is a running bindfs.
type server struct {
	t      *testing.T
	cmd    *exec.Cmd
	point  string
	behind string // the directory that is shown at point
	ended  chan error
}

// mount shows behind at point.
func mount(t *testing.T, behind, point string) *server {
	t.Helper()
	require.NoError(t, os.MkdirAll(point, 0o755))
	s := &server{t: t, cmd: exec.Command("bindfs", "-f", behind, point), point: point, behind: behind, ended: make(chan error, 1)}
	var said strings.Builder
	s.cmd.Stderr = &said
	require.NoError(t, s.cmd.Start())
	go func() { s.ended <- s.cmd.Wait() }()
	t.Cleanup(s.kill)
	require.Eventually(t, func() bool { return isMounted(point) || len(s.ended) > 0 }, patience, 10*time.Millisecond)
	if !isMounted(point) {
		t.Skipf("FUSE does not work here: %s", said.String())
	}
	return s
}

func isMounted(point string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(table), " "+point+" ")
}

// kill ends the server, also one that is stopped, and what hangs in its file system.
func (s *server) kill() {
	_ = unix.Unmount(s.point, unix.MNT_DETACH)
	_ = s.cmd.Process.Kill()
	s.ended <- <-s.ended
}

// watcher is a running watcher and what it told last of each path.
type watcher struct {
	*watch.Watcher
	t     *testing.T
	facts chan watch.Fact
	stop  func()
	ended chan error
	last  map[string]watch.Fact
}

func start(t *testing.T, root string) *watcher {
	t.Helper()
	w, err := watch.New(watch.Options{Root: root, Want: func(rel string) bool { return strings.HasSuffix(rel, ".ckpt") },
		Settle: 40 * time.Millisecond, Rescan: time.Hour, Logger: zerolog.Nop()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &watcher{Watcher: w, t: t, facts: make(chan watch.Fact), stop: cancel, ended: make(chan error, 1), last: map[string]watch.Fact{}}
	go func() { r.ended <- w.Run(ctx, r.facts) }()
	t.Cleanup(r.end)
	return r
}

// end stops the watcher and waits until it has returned.
func (r *watcher) end() {
	r.stop()
	for {
		select {
		case f := <-r.facts:
			r.note(f)
		case err := <-r.ended:
			require.NoError(r.t, err)
			r.ended <- nil
			return
		}
	}
}

func (r *watcher) note(f watch.Fact) {
	if f.File != nil {
		text, err := io.ReadAll(f.File)
		require.NoError(r.t, errors.Join(err, f.File.Close()))
		require.NotEmpty(r.t, text)
	}
	r.last[f.Path] = f
}

// until receives facts until something is so.
func (r *watcher) until(what string, is func() bool) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !is() {
		select {
		case f := <-r.facts:
			r.note(f)
		case <-tick.C:
		case <-timeout:
			require.FailNow(r.t, "never was: "+what, "%+v\n%v", r.State(), r.last)
		}
	}
}

func (r *watcher) told(kind watch.Kind, path string) {
	r.t.Helper()
	r.until(kind.String()+" "+path, func() bool { return r.last[path].Kind == kind })
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestFUSEAsARoot(t *testing.T) {
	need(t)
	behind, root := t.TempDir(), t.TempDir()
	write(t, filepath.Join(behind, "run1", "a.ckpt"), "x")
	s := mount(t, behind, root)
	r := start(t, root)
	r.told(watch.Settled, "run1/a.ckpt")
	state := r.State()
	require.Equal(t, watch.Poll, state.Source)
	require.Equal(t, "fuse", state.FileSystem[:4])
	require.Equal(t, watch.NetworkSettle, state.Settle)
	require.Zero(t, state.Watches)
	require.Equal(t, watch.ClosedUnknown, r.last["run1/a.ckpt"].Evidence.Closed)
	require.GreaterOrEqual(t, r.last["run1/a.ckpt"].Evidence.Quiet, watch.NetworkSettle)

	write(t, filepath.Join(behind, "run2", "deep", "b.ckpt"), "x") // as another host would
	r.told(watch.Settled, "run2/deep/b.ckpt")
	require.NoError(t, os.Rename(filepath.Join(behind, "run2"), filepath.Join(behind, "run3")))
	r.told(watch.Gone, "run2/deep/b.ckpt")
	r.told(watch.Settled, "run3/deep/b.ckpt")
	write(t, filepath.Join(behind, "run1", "a.ckpt"), "rewritten in place")
	r.until("the new content", func() bool { f := r.last["run1/a.ckpt"]; return f.Kind == watch.Settled && f.Stat.Size > 1 })

	r.until("unmounted, although it is watched", func() bool { return unix.Unmount(root, 0) == nil })
	r.told(watch.Gone, "run3/deep/b.ckpt")
	r.until("a local root", func() bool { return r.State().Source == watch.Inotify && r.State().Directories == 1 })
	s.kill()
	mount(t, behind, root)
	r.told(watch.Settled, "run3/deep/b.ckpt")
	require.Equal(t, watch.Poll, r.State().Source)
}

func TestFUSEBelowALocalRoot(t *testing.T) {
	need(t)
	behind, root := t.TempDir(), t.TempDir()
	write(t, filepath.Join(root, "local", "a.ckpt"), "x")
	r := start(t, root)
	r.told(watch.Settled, "local/a.ckpt")
	point := filepath.Join(root, "local", "remote")
	require.NoError(t, os.Mkdir(point, 0o755))
	for range 2 {
		write(t, filepath.Join(behind, "run1", "b.ckpt"), "x")
		s := mount(t, behind, point)
		r.told(watch.Settled, "local/remote/run1/b.ckpt")
		state := r.State()
		require.Len(t, state.Mounts, 2)
		require.Equal(t, "inotify", state.Mounts[0].Source)
		require.Equal(t, 2, state.Watches, "%+v", state)
		remote := state.Mounts[1]
		require.Equal(t, point, remote.Path)
		require.Equal(t, "poll", remote.Source)
		require.Equal(t, "fuse", remote.FileSystem)
		require.Equal(t, watch.NetworkSettle, remote.Settle)
		require.Equal(t, 2, remote.Directories)
		require.Empty(t, remote.Degraded)

		write(t, filepath.Join(behind, "run2", "c.ckpt"), "x")
		write(t, filepath.Join(root, "local", "d.ckpt"), "x")
		r.told(watch.Settled, "local/d.ckpt")
		require.NotEqual(t, watch.Settled, r.last["local/remote/run2/c.ckpt"].Kind, "it is told first, as its file system settles at once")
		r.told(watch.Settled, "local/remote/run2/c.ckpt")

		r.until("unmounted, although it is watched", func() bool { return unix.Unmount(point, 0) == nil })
		r.told(watch.Gone, "local/remote/run2/c.ckpt")
		r.until("one file system", func() bool { return len(r.State().Mounts) == 1 && r.State().Watches == 3 })
		write(t, filepath.Join(point, "below.ckpt"), "x")
		r.told(watch.Settled, "local/remote/below.ckpt")
		require.NoError(t, os.Remove(filepath.Join(point, "below.ckpt")))
		require.NoError(t, os.Remove(filepath.Join(root, "local", "d.ckpt")))
		r.told(watch.Gone, "local/d.ckpt")
		s.kill()
		require.NoError(t, os.RemoveAll(filepath.Join(behind, "run2")))
	}
}

func TestLocalMountBelowFUSE(t *testing.T) {
	need(t)
	behind, root := t.TempDir(), t.TempDir()
	point := filepath.Join(root, "scratch")
	require.NoError(t, os.Mkdir(filepath.Join(behind, "scratch"), 0o755))
	mount(t, behind, root)
	r := start(t, root)
	r.until("listed", func() bool { return r.State().Scans > 0 })
	require.NoError(t, unix.Mount("tmpfs", point, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
	r.until("watched", func() bool { return r.State().Watches == 1 })
	write(t, filepath.Join(point, "run1", "a.ckpt"), "x")
	r.told(watch.Settled, "scratch/run1/a.ckpt")
	require.Equal(t, watch.ClosedYes, r.last["scratch/run1/a.ckpt"].Evidence.Closed)
	mounts := r.State().Mounts
	require.Len(t, mounts, 2)
	require.Equal(t, "poll", mounts[0].Source)
	require.Equal(t, "inotify", mounts[1].Source)
	require.Equal(t, "tmpfs", mounts[1].FileSystem)
	require.Less(t, mounts[1].Settle, watch.NetworkSettle)
}

// A server that does not answer holds up its own root only, visibly, and no shutdown.
func TestServerThatHangs(t *testing.T) {
	need(t)
	behind, root, local := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(behind, "run1", "a.ckpt"), "x")
	s := mount(t, behind, root)
	hung, other := start(t, root), start(t, local)
	hung.told(watch.Settled, "run1/a.ckpt")

	require.NoError(t, s.cmd.Process.Signal(unix.SIGSTOP))
	hung.until("blocked", func() bool {
		b := hung.Progress().Blocked
		return !b.Since.IsZero() && time.Since(b.Since) > time.Second
	})
	blocked := hung.Progress().Blocked
	require.True(t, strings.HasPrefix(blocked.Path, root), blocked.Path)
	require.NotEmpty(t, blocked.Op)
	write(t, filepath.Join(local, "b.ckpt"), "x")
	other.told(watch.Settled, "b.ckpt")
	require.Equal(t, blocked, hung.Progress().Blocked, "it still hangs")

	require.NoError(t, s.cmd.Process.Signal(unix.SIGCONT))
	write(t, filepath.Join(behind, "run1", "c.ckpt"), "x")
	hung.told(watch.Settled, "run1/c.ckpt")

	require.NoError(t, s.cmd.Process.Signal(unix.SIGSTOP))
	hung.until("blocked again", func() bool { return !hung.Progress().Blocked.Since.IsZero() })
	hung.end()
	require.NoError(t, s.cmd.Process.Signal(unix.SIGCONT))
}
