package watch

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What follows happens on the real kernel, at once. At the end a watcher must know what a walk of the tree
// finds, having told each content of each file once.

// burst is a running watcher that is compared with the tree.
type burst struct {
	*run
	root string
	// last is what was told last of each path, settled how often each state of a file was told as settled.
	last    map[string]Fact
	settled map[string]map[Stat]int
	// swaps: the test moves files away and back.
	swaps bool
}

func startBurst(t *testing.T, source Source) *burst {
	t.Helper()
	root := t.TempDir()
	opts := options(root)
	opts.Source = source
	opts.NoFiles = true
	b := &burst{run: start(t, opts), root: root, last: map[string]Fact{}, settled: map[string]map[Stat]int{}}
	b.until("listed", func(f Fact) bool { return b.note(f) && f.Kind == Listed })
	return b
}

func (b *burst) note(f Fact) bool {
	if f.Path == "" {
		return true
	}
	b.last[f.Path] = f
	switch f.Kind {
	case Settled:
		if b.settled[f.Path] == nil {
			b.settled[f.Path] = map[Stat]int{}
		}
		key := f.Stat
		key.Nlink = 0
		b.settled[f.Path][key]++
	case Gone:
		delete(b.last, f.Path)
		if b.swaps {
			delete(b.settled, f.Path)
		}
	}
	return true
}

// find returns the state of every wanted file in the tree.
func (b *burst) find() map[string]Stat {
	b.t.Helper()
	found := map[string]Stat{}
	require.NoError(b.t, filepath.WalkDir(b.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !wantCheckpoints(path) {
			return err
		}
		rel, err := filepath.Rel(b.root, path)
		if err == nil {
			found[rel], _, err = statAt(unix.AT_FDCWD, path, 0)
		}
		return err
	}))
	return found
}

// agrees waits until all that is told is what find says, and checks that nothing was told twice and
// that there is one watch for each directory.
func (b *burst) agrees() {
	b.t.Helper()
	found := b.find()
	missing := len(found)
	for path, st := range found {
		if b.isTold(path, st) {
			missing--
		}
	}
	if missing > 0 || len(b.last) != len(found) {
		b.until(fmt.Sprintf("the %d files of the tree", len(found)), func(f Fact) bool {
			before := f.Path != "" && b.isTold(f.Path, found[f.Path])
			b.note(f)
			switch after := f.Path != "" && b.isTold(f.Path, found[f.Path]); {
			case after && !before:
				missing--
			case before && !after:
				missing++
			}
			return missing == 0 && len(b.last) == len(found)
		})
	}
	for path, states := range b.settled {
		for st, times := range states {
			require.Equal(b.t, 1, times, "%s was told to have settled, as %v", path, st)
		}
	}
	b.watchesAgree()
}

func (b *burst) isTold(path string, st Stat) bool {
	f, told := b.last[path]
	return told && f.Kind == Settled && f.Stat.Same(st)
}

// watchesAgree waits until each directory is known, and watched where the kernel is to tell of changes.
func (b *burst) watchesAgree() {
	b.t.Helper()
	dirs := 0
	require.NoError(b.t, filepath.WalkDir(b.root, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs++
		}
		return err
	}))
	watches := dirs
	if b.w.opts.Source == Poll {
		watches = 0
	}
	b.state(fmt.Sprintf("%d directories, %d watches", dirs, watches), func(s State) bool {
		return s.Directories == dirs && s.Watches == watches && watches == kernelWatches(b.t)
	})
}

// kernelWatches counts the watches of inotify that this process has (proc_pid_fdinfo(5)).
func kernelWatches(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	require.NoError(t, err)
	n := 0
	for _, file := range files {
		text, _ := os.ReadFile(file) // the one of the directory's own descriptor is gone
		n += strings.Count(string(text), "inotify wd:")
	}
	return n
}

func command(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}

// during does something while facts are received.
func (b *burst) during(do func()) {
	b.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	for {
		select {
		case f := <-b.facts:
			b.keep(f)
			b.note(f)
		case <-done:
			return
		}
	}
}

func eachSource(t *testing.T, test func(t *testing.T, b *burst)) {
	for _, source := range []Source{Inotify, Poll} {
		t.Run(source.String(), func(t *testing.T) { test(t, startBurst(t, source)) })
	}
}

// makeRuns writes a tree like those of trainers, outside of the root.
func makeRuns(t *testing.T, runs int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range runs {
		run := filepath.Join(dir, "lightning_logs", fmt.Sprintf("version_%d", i))
		write(t, filepath.Join(run, "hparams.yaml"), "lr: 0.1")
		for epoch := range 5 {
			write(t, filepath.Join(run, "checkpoints", fmt.Sprintf("epoch=%d.ckpt", epoch)), fmt.Sprint(i, epoch))
		}
		write(t, filepath.Join(run, "checkpoints", "shards", "last.ckpt"), strconv.Itoa(i))
	}
	return dir
}

func TestTwentyThousandFilesAtOnce(t *testing.T) {
	eachSource(t, func(t *testing.T, b *burst) {
		b.during(func() {
			for i := range 20_000 {
				f, err := os.Create(filepath.Join(b.root, fmt.Sprintf("%05d.ckpt", i)))
				if err != nil {
					t.Error(err)
					return
				}
				f.Close()
			}
		})
		b.agrees()
	})
}

func TestThousandSetsCompleteTogether(t *testing.T) {
	eachSource(t, func(t *testing.T, b *burst) {
		for i := range 1000 {
			for _, role := range []string{"a", "b"} {
				write(t, filepath.Join(b.root, fmt.Sprintf("run%d", i%20), strconv.Itoa(i), role+".tmp"), role)
			}
		}
		b.during(func() {
			for i := range 1000 {
				for _, role := range []string{"a", "b"} {
					path := filepath.Join(b.root, fmt.Sprintf("run%d", i%20), strconv.Itoa(i), role)
					if err := os.Rename(path+".tmp", path+".ckpt"); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
		b.agrees()
		require.Len(t, b.last, 2000)
	})
}

func TestDirectoryRenamedOverAnother(t *testing.T) {
	eachSource(t, func(t *testing.T, b *burst) {
		b.swaps = true
		for i := range 10 {
			final, tmp := filepath.Join(b.root, "final"), filepath.Join(b.root, "tmp")
			require.NoError(t, os.MkdirAll(final, 0o755))
			write(t, filepath.Join(tmp, "sub", fmt.Sprintf("%d.ckpt", i)), "x")
			b.agrees()
			if i%2 == 0 {
				require.NoError(t, os.RemoveAll(final))
				require.NoError(t, os.Mkdir(final, 0o755))
				require.NoError(t, unix.Rename(tmp, final))
			} else {
				require.NoError(t, unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, final, unix.RENAME_EXCHANGE))
			}
			b.agrees()
			write(t, filepath.Join(final, "sub", "more.ckpt"), strconv.Itoa(i))
			b.agrees()
		}
	})
}

func TestWholeTreeCopied(t *testing.T) {
	eachSource(t, func(t *testing.T, b *burst) {
		runs := makeRuns(t, 50)
		b.during(func() { command(t, "", "cp", "-a", runs+"/.", b.root) })
		b.agrees()
		require.Len(t, b.last, 300)
	})
}

func TestRsync(t *testing.T) {
	eachSource(t, func(t *testing.T, b *burst) {
		runs := makeRuns(t, 30)
		b.during(func() { command(t, "", "rsync", "-a", runs+"/", b.root) })
		b.agrees()
		write(t, filepath.Join(runs, "lightning_logs/version_3/checkpoints/epoch=1.ckpt"), "longer than before")
		require.NoError(t, os.RemoveAll(filepath.Join(runs, "lightning_logs/version_4")))
		b.during(func() { command(t, "", "rsync", "-a", "--delete", "--inplace", runs+"/", b.root) })
		b.agrees()
		require.Len(t, b.last, 29*6)
		for path := range b.settled {
			require.NotContains(t, filepath.Base(path), ".ckpt.", "a temporary name of rsync")
		}
	})
}

func TestGitCheckout(t *testing.T) {
	eachSource(t, func(t *testing.T, b *burst) {
		git := func(args ...string) {
			command(t, b.root, "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=one"}, args...)...)
		}
		git("init", "-q")
		for i := range 50 {
			write(t, filepath.Join(b.root, "runs", strconv.Itoa(i), "m.ckpt"), "one")
			write(t, filepath.Join(b.root, "runs", strconv.Itoa(i), "only-one.ckpt"), "one")
		}
		git("add", ".")
		git("commit", "-qm", "one")
		b.agrees()
		git("checkout", "-qb", "two")
		for i := range 50 {
			write(t, filepath.Join(b.root, "runs", strconv.Itoa(i), "m.ckpt"), "two and more")
			require.NoError(t, os.Remove(filepath.Join(b.root, "runs", strconv.Itoa(i), "only-one.ckpt")))
			write(t, filepath.Join(b.root, "others", strconv.Itoa(i), "two.ckpt"), "two")
		}
		git("add", "-A")
		git("commit", "-qm", "two")
		b.agrees()
		for range 2 {
			b.during(func() { git("checkout", "-q", "one") })
			b.agrees()
			b.during(func() { git("checkout", "-q", "two") })
			b.agrees()
		}
		require.Len(t, b.last, 100)
	})
}

func TestTreeRemovedWhileItIsListed(t *testing.T) {
	eachSource(t, func(t *testing.T, b *burst) {
		runs := makeRuns(t, 30)
		for range 2 {
			command(t, "", "cp", "-a", runs+"/.", b.root)
			b.during(func() { command(t, "", "rm", "-rf", filepath.Join(b.root, "lightning_logs")) })
			b.agrees()
			require.Empty(t, b.last)
			require.Equal(t, 1, b.w.State().Directories)
		}
		b.during(func() { command(t, "", "cp", "-a", runs+"/.", b.root) })
		b.agrees()
		require.Len(t, b.last, 180)
	})
}

// A receiver that does not receive stops the owner, not the reader of the kernel's queue.
func TestFloodWithASlowReceiver(t *testing.T) {
	b := startBurst(t, Inotify)
	write(t, filepath.Join(b.root, "first.ckpt"), "x")
	for i := range 30_000 { // the kernel's queue holds 16,384
		f, err := os.Create(filepath.Join(b.root, fmt.Sprintf("%05d.ckpt", i)))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	b.agrees()
	require.Zero(t, b.w.State().Overflows)
}
