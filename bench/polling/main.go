// Command polling measures what it costs to watch a large tree: time until it is listed, memory, and the
// calls and the time of a pass over a tree in which nothing happened. It prints a Markdown table.
//
// Times are of the processor, so that other work on the machine counts less, and in brackets of the clock.
//
//	go run ./bench/polling [-dirs 100000] [-files 1000000] [-dir DIR]    where to work; needs an inode for each
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/watch"
)

func main() {
	dirs := flag.Int("dirs", 100_000, "number of directories")
	files := flag.Int("files", 1_000_000, "number of files; one in a thousand is a checkpoint")
	base := flag.String("dir", "", "where to make the tree, by default $TMPDIR or /tmp")
	root := flag.String("root", "", "measure on this tree, whatever it holds")
	source := flag.String("measure", "", "for the program's own use")
	flag.Parse()
	err := run(*base, *root, *source, *dirs, *files)
	if err != nil {
		fmt.Fprintln(os.Stderr, "polling: error:", err)
		os.Exit(1)
	}
}

func run(base, root, source string, dirs, files int) error {
	if source != "" {
		return measure(root, source)
	}
	if root == "" {
		dir, err := os.MkdirTemp(base, "bundlewatch-polling-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		root = dir
		if err := grow(root, dirs, files); err != nil {
			return err
		}
	}
	fmt.Println("| what | CPU time (clock) | of find | calls | resident bytes per directory |")
	fmt.Println("|---|---:|---:|---:|---:|")
	find, err := timeFind(root)
	if err != nil {
		return err
	}
	fmt.Printf("| `find ROOT -type f` | %s | 1.00 | | |\n", find)
	for _, source := range []string{"inotify", "poll"} {
		// A process of its own, for its memory.
		cmd := exec.Command(os.Args[0], "-measure", source, "-root", root)
		cmd.Env = append(os.Environ(), "FIND_SECONDS="+fmt.Sprint(find.cpu.Seconds()))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	return nil
}

// grow makes runs of ten directories, nine of which hold the files.
func grow(root string, dirs, files int) error {
	perLeaf := max(1, files*10/(dirs*9))
	for made := 0; made < dirs; {
		run := filepath.Join(root, fmt.Sprintf("project-%03d", made/1000), fmt.Sprintf("version_%d", made/10))
		for i := range 9 {
			leaf := filepath.Join(run, fmt.Sprintf("checkpoints-%d", i))
			if err := os.MkdirAll(leaf, 0o755); err != nil {
				return err
			}
			for n := range perLeaf {
				name := fmt.Sprintf("events.out.tfevents.%04d", n)
				if n == 0 && made%100 == 0 {
					name = fmt.Sprintf("autoencoder-epoch=%d.ckpt", i)
				}
				if err := os.WriteFile(filepath.Join(leaf, name), nil, 0o644); err != nil {
					return err
				}
			}
		}
		made += 10
	}
	return nil
}

// cost is the time of the processor and of the clock.
type cost struct{ cpu, clock time.Duration }

func (c cost) String() string {
	return fmt.Sprintf("%.2f s (%.2f s)", c.cpu.Seconds(), c.clock.Seconds())
}

func (c cost) least(other cost) cost {
	return cost{min(c.cpu, other.cpu), min(c.clock, other.clock)}
}

// timeFind returns the least of five times; the first ones warm the caches.
func timeFind(root string) (cost, error) {
	least := cost{time.Hour, time.Hour}
	for range 5 {
		begin := time.Now()
		cmd := exec.Command("find", root, "-type", "f")
		if err := cmd.Run(); err != nil {
			return cost{}, err
		}
		least = least.least(cost{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), time.Since(begin)})
	}
	return least, nil
}

// spent returns the processor time of this process so far.
func spent() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const rounds = 3

// measure prints what one watcher costs: listed, asked to list again, and when it polls, a pass.
func measure(root, source string) error {
	find, _ := strconv.ParseFloat(os.Getenv("FIND_SECONDS"), 64)
	row := func(what string, took cost, ops int64, bytes string) {
		fmt.Printf("| %s, %s | %s | %.2f | %d | %s |\n", source, what, took, took.cpu.Seconds()/find, ops, bytes)
	}
	opts := watch.Options{Root: root, Settle: time.Second, PollOps: 1 << 40, Poll: 100 * time.Millisecond, Rescan: time.Hour, NoFiles: true, Logger: zerolog.Nop(),
		Want: func(rel string) bool { return strings.HasSuffix(rel, ".ckpt") }}
	if err := opts.Source.UnmarshalText([]byte(source)); err != nil {
		return err
	}
	empty, err := resident()
	if err != nil {
		return err
	}
	w, err := watch.New(opts)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	facts, ended := make(chan watch.Fact), make(chan struct{})
	go func() { _ = w.Run(ctx, facts); close(ended) }()
	begin, clock := spent(), time.Now()
	listed(facts)
	ready := cost{spent() - begin, time.Since(clock)}
	s := w.State()
	full, err := resident()
	if err != nil {
		return err
	}
	row(fmt.Sprintf("ready (%d directories, %d watches)", s.Directories, s.Watches), ready, s.ScanOps, fmt.Sprint((full-empty)/int64(s.Directories)))
	if source == "poll" {
		took, ops := passes(w, facts, func() {})
		row("a pass when nothing changed", took, ops, "")
	}
	took, ops := passes(w, facts, w.Rescan)
	row("a listing that was asked for", took, ops, "")
	stop()
	<-ended
	return nil
}

func listed(facts <-chan watch.Fact) {
	for fact := range facts {
		if fact.Kind == watch.Listed {
			return
		}
	}
}

// passes returns the least time and the calls of some passes. Its clock is that of the pass: polling
// rests between two.
func passes(w *watch.Watcher, facts <-chan watch.Fact, ask func()) (cost, int64) {
	least := cost{time.Hour, time.Hour}
	for range rounds {
		begin := spent()
		ask()
		listed(facts)
		least = least.least(cost{spent() - begin, w.State().ScanTook})
	}
	return least, w.State().ScanOps
}

// resident returns the resident set of this process in bytes, at its peak.
func resident() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in /proc/self/status on %s", runtime.GOOS)
}
