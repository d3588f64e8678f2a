package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// scan compares the first listing of a large tree with find, and shows what watching it costs.
func (b *bench) scan() error {
	leaves := 10_000
	if b.full {
		leaves = 100_000
	}
	root := filepath.Join(b.dir, "tree")
	dirs, err := plant(root, leaves)
	if err != nil {
		return err
	}
	empty, err := b.watchTree(filepath.Join(b.dir, "empty"), "a-{epoch}.ckpt", 0)
	if err != nil {
		return err
	}
	b.printf("\n| %d directories, %d files | until ready: CPU | clock | CPU of find = 1 | resident | bytes for each directory | idle |\n|---|---:|---:|---:|---:|---:|---:|\n",
		dirs, 10*leaves)
	find, err := b.findTree(root)
	if err != nil {
		return err
	}
	b.printf("| find -type f | %.2f s | %.2f s | 1.00 | | | |\n", find.cpu, find.clock)
	for _, r := range []struct{ what, matching string }{
		{"bundlewatch run, no file matches", "none-{epoch}.ckpt"},
		{fmt.Sprintf("bundlewatch run, %d files match", leaves/10), "a-{epoch}.ckpt"},
	} {
		if err := b.watchTimes(root, r.what, r.matching, dirs, find, empty); err != nil {
			return err
		}
	}
	if err := b.otherWatchers(root, dirs, find); err != nil {
		return err
	}
	if err := b.polling(root); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

// idleWindow is for how long watchers are looked at while nothing happens, and settleDown what they get before that.
const (
	idleWindow = 60 * time.Second
	settleDown = 5 * time.Second
)

// watching is what it costs to watch a tree: until it is watched, then in memory, and as a share of a core.
type watching struct {
	cpu, clock float64
	rss        int64
	idle       float64
}

func (b *bench) findTree(root string) (watching, error) {
	var cpu, clock []float64
	for range b.runs {
		begin := time.Now()
		cmd := exec.Command("find", root, "-type", "f", "-fprintf", "/dev/null", "x")
		if out, err := cmd.CombinedOutput(); err != nil {
			return watching{}, fmt.Errorf("%w\n%s", err, out)
		}
		cpu = append(cpu, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
		clock = append(clock, time.Since(begin).Seconds())
	}
	return watching{cpu: middle(cpu), clock: middle(clock)}, nil
}

// watchTimes prints a row: the median of several starts, and what the last one costs then.
func (b *bench) watchTimes(root, what, matching string, dirs int, find, empty watching) error {
	var cpu, clock []float64
	var last watching
	for round := range b.runs {
		window := time.Duration(0)
		if round == b.runs-1 {
			window = idleWindow
		}
		w, err := b.watchTree(root, matching, window)
		if err != nil {
			return err
		}
		cpu, clock, last = append(cpu, w.cpu-empty.cpu), append(clock, w.clock), w
	}
	b.printf("| %s | %.2f s | %.2f s | %.2f | %s | %d | %.3f %% |\n", what, middle(cpu), middle(clock), middle(cpu)/find.cpu, mib(last.rss),
		(last.rss-empty.rss)/int64(dirs), 100*last.idle)
	return nil
}

// plant makes a tree with so many directories at its leaves, each with ten files; in every tenth one, one looks like a
// member of a set. It returns how many directories there are.
func plant(root string, leaves int) (dirs int, err error) {
	checkpoint, err := (&torchfile.Checkpoint{State: []torchfile.Tensor{torchfile.Random("w", 1024, 1)}}).Bytes()
	if err != nil {
		return 0, err
	}
	for i := range leaves {
		dir := filepath.Join(root, fmt.Sprintf("project%02d/run%04d/logs%d", i%50, i/500, i/50%10))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return 0, err
		}
		for f := range 10 {
			name, content := fmt.Sprintf("events.%d.%d", i, f), []byte(nil)
			if f == 0 && i%10 == 0 {
				name, content = fmt.Sprintf("a-%d.ckpt", i), checkpoint
			}
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
				return 0, err
			}
		}
	}
	projects, runs := min(50, leaves), (leaves+9)/10
	return 1 + projects + runs + leaves, nil
}

const scanConfig = `[artifacts]
dir = "out"
[[watch]]
name = "w"
root = %q
settle = "1s"
[watch.members]
a = "{run...}/%s"
b = "{run...}/b-{epoch}.ckpt"
`

// watchTree starts a daemon, and looks at it for a while after it is ready.
func (b *bench) watchTree(root, matching string, window time.Duration) (watching, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return watching{}, err
	}
	config := filepath.Join(b.dir, "scan.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, scanConfig, root, matching), 0o644); err != nil {
		return watching{}, err
	}
	begin := time.Now()
	d, err := b.startDaemon(config)
	if err != nil {
		return watching{}, err
	}
	if err := d.ready(); err != nil {
		return watching{}, err
	}
	w := watching{cpu: d.cpu(), clock: time.Since(begin).Seconds()}
	time.Sleep(settleDown)
	before := d.cpu()
	time.Sleep(window)
	w.rss = d.rss()
	if window > 0 {
		w.idle = (d.cpu() - before) / window.Seconds()
	}
	return w, d.stop()
}

// otherWatchers prints what inotifywait and a loop around find cost.
func (b *bench) otherWatchers(root string, dirs int, find watching) error {
	if _, err := exec.LookPath("inotifywait"); err == nil {
		cmd := exec.Command("inotifywait", "-m", "-r", "-e", "close_write", root)
		tells, err := cmd.StderrPipe()
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			return err
		}
		for lines := bufio.NewScanner(tells); lines.Scan() && !strings.Contains(lines.Text(), "Watches established"); {
		}
		d := &daemon{cmd: cmd}
		w := watching{cpu: d.cpu(), clock: time.Since(begin).Seconds(), rss: d.rss()}
		time.Sleep(idleWindow)
		w.idle = (d.cpu() - w.cpu) / idleWindow.Seconds()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		b.printf("| inotifywait -m -r | %.2f s | %.2f s | %.2f | %s | %d | %.3f %% |\n", w.cpu, w.clock, w.cpu/find.cpu, mib(w.rss), w.rss/int64(dirs), 100*w.idle)
	} else {
		b.printf("| inotifywait -m -r | not installed | | | | | |\n")
	}
	loop := exec.Command("sh", "-c", fmt.Sprintf(`timeout %d sh -c 'while sleep 1; do find "$0" -name "a-*.ckpt" -newer "$0" >/dev/null; done' "$1"`, int(idleWindow.Seconds())), "sh", root)
	_ = loop.Run() // it is ended by timeout
	use := loop.ProcessState.SysUsage().(*syscall.Rusage)
	share := float64(use.Utime.Nano()+use.Stime.Nano()) / float64(idleWindow.Nanoseconds())
	b.printf("| a poller: find every second | | | | | | %.1f %% |\n", 100*share)
	return nil
}

// polling prints the table of bench/polling: what listing costs alone, and a pass over what is polled.
func (b *bench) polling(root string) error {
	cmd := exec.Command("go", "run", "./bench/polling", "-root", root)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("bench/polling: %w", err)
	}
	b.printf("\n%s", out)
	return nil
}

func middle[T ~int64 | ~float64](all []T) T {
	slices.Sort(all)
	return all[(len(all)-1)/2]
}
