package watch

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const limitedEnv = "BUNDLEWATCH_TEST_LIMITED"

// limited runs the calling test again in a user namespace, where the limits of inotify are its own. It
// returns false in the process that started the other.
func limited(t *testing.T) bool {
	t.Helper()
	if os.Getenv(limitedEnv) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("only root can make a user namespace everywhere")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), limitedEnv+"=1")
	root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: root, GidMappings: root}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "--- SKIP") || (err != nil && len(out) == 0) {
		t.Skipf("no user namespace with limits of its own: %v %s", err, out)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// setLimit sets a limit of the user namespace, such as max_inotify_watches (namespaces(7)).
func setLimit(t *testing.T, name string, n int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("/proc/sys/user", name), []byte(strconv.Itoa(n)), 0); err != nil {
		t.Skipf("cannot set the limit: %v", err)
	}
}

func healing(root string) Options {
	opts := options(root)
	opts.Source = Inotify
	opts.Heal = 100 * time.Millisecond
	return opts
}

// The directories that got no watch are polled, the others are not; when the limit is raised, all are
// watched.
func TestRealWatchLimit(t *testing.T) {
	if !limited(t) {
		return
	}
	root := t.TempDir()
	for i := range 10 {
		require.NoError(t, os.Mkdir(filepath.Join(root, fmt.Sprint("run", i)), 0o755))
	}
	setLimit(t, "max_inotify_watches", 4)
	r := start(t, healing(root))
	r.fact(Listed, "")
	s := r.w.State()
	require.Equal(t, 4, s.Watches)
	require.Equal(t, Inotify, s.Source)
	require.Contains(t, s.Degraded, "max_user_watches")
	require.Len(t, s.Mounts, 1)
	require.Contains(t, s.Mounts[0].Degraded, "polling 7 of 11 directories")
	for i := range 10 {
		write(t, filepath.Join(root, fmt.Sprint("run", i), "a.ckpt"), "x")
	}
	for n := 0; n < 10; n++ {
		r.until("all directories", func(f Fact) bool { return f.Kind == Settled })
	}

	setLimit(t, "max_inotify_watches", 1000)
	r.state("healed", func(s State) bool { return s.Degraded == "" && s.Watches == 11 })
	require.Empty(t, r.w.State().Mounts[0].Degraded)
	require.Equal(t, 11, kernelWatches(t))
	write(t, filepath.Join(root, "run9", "b.ckpt"), "x")
	r.fact(Settled, "run9/b.ckpt")
}

func TestRealInstanceLimit(t *testing.T) {
	if !limited(t) {
		return
	}
	root := t.TempDir()
	setLimit(t, "max_inotify_instances", 0)
	r := start(t, healing(root))
	r.fact(Listed, "")
	require.Contains(t, r.w.State().Degraded, "max_user_instances")
	write(t, filepath.Join(root, "sub", "a.ckpt"), "x")
	r.fact(Settled, "sub/a.ckpt")
	setLimit(t, "max_inotify_instances", 10)
	r.state("healed", func(s State) bool { return s.Degraded == "" && s.Watches == 2 })
}

func TestRescanHealsAtOnce(t *testing.T) {
	if !limited(t) {
		return
	}
	root := t.TempDir()
	setLimit(t, "max_inotify_watches", 0)
	opts := healing(root)
	opts.Heal = time.Hour
	r := start(t, opts)
	r.fact(Listed, "")
	setLimit(t, "max_inotify_watches", 10)
	r.w.Rescan()
	r.state("healed", func(s State) bool { return s.Degraded == "" && s.Watches == 1 })
}

// The open files of the process run out while the root is listed. What could not be listed is listed when
// there are some again.
func TestDescriptorsRunOut(t *testing.T) {
	if !limited(t) {
		return
	}
	root := t.TempDir()
	for i := range 5 {
		write(t, filepath.Join(root, fmt.Sprint(i), "deep", "down", "a.ckpt"), "x")
	}
	opts := healing(root)
	opts.NoFiles = true
	r := start(t, opts)
	r.fact(Listed, "")
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: old.Max}))
	r.w.Rescan()
	r.state("a directory that could not be listed", func(s State) bool { return s.UnreadableDirs > 0 })
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old))
	r.state("all directories listed", func(s State) bool { return s.UnreadableDirs == 0 })
	write(t, filepath.Join(root, "4", "deep", "down", "b.ckpt"), "x")
	r.fact(Settled, "4/deep/down/b.ckpt")
	require.Equal(t, 5, strings.Count(fmt.Sprint(r.paths()), "a.ckpt"))
}

// paths returns the files that are known by what was told.
func (r *run) paths() []string {
	known := map[string]bool{}
	for _, f := range r.seen {
		known[f.Path] = f.Kind != Gone
	}
	var paths []string
	for path, is := range known {
		if is && path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// The queue of the kernel overflows for real: nobody reads it for a while.
func TestRealOverflow(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	require.NoError(t, err)
	queue, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	if queue > 50_000 {
		t.Skipf("fs.inotify.max_queued_events = %d: too many files to make", queue)
	}
	root := t.TempDir()
	var n *notifier
	opts := options(root)
	opts.Source = Inotify
	opts.NoFiles = true
	r := start(t, opts, func(w *Watcher) {
		w.newNotifier = func() (*notifier, error) {
			var err error
			n, err = newNotifier()
			return n, err
		}
	})
	r.fact(Listed, "")
	n.mu.Lock()
	files := queue/2 + 5000 // two events each, at least; the reader takes some before it has to wait
	for i := range files {
		f, err := os.Create(filepath.Join(root, fmt.Sprintf("%d.ckpt", i)))
		require.NoError(t, err)
		require.NoError(t, f.Truncate(1))
		require.NoError(t, f.Close())
	}
	n.mu.Unlock()
	settled := map[string]bool{}
	r.until("all files", func(f Fact) bool {
		if f.Kind == Settled {
			settled[f.Path] = true
		}
		return len(settled) == files
	})
	require.Positive(t, r.w.State().Overflows)
}
