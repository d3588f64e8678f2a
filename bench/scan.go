package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// scan compares the first listing of a large tree with find, and shows what watching it costs.
func (b *bench) scan() error {
	dirs := 10_000
	if b.full {
		dirs = 100_000
	}
	root := filepath.Join(b.dir, "tree")
	if err := plant(root, dirs); err != nil {
		return err
	}
	b.printf("\n| %d directories, %d files | median of %d | find = 1 |\n|---|---:|---:|\n", dirs, 10*dirs, b.runs)
	var find, ready []time.Duration
	var rss int64
	var idle float64
	for round := range b.runs {
		took, err := timed(exec.Command("find", root, "-type", "f", "-fprintf", "/dev/null", "x"))
		if err != nil {
			return err
		}
		find = append(find, took)
		took, memory, share, err := b.watchTree(root, round == b.runs-1)
		if err != nil {
			return err
		}
		ready, rss, idle = append(ready, took), memory, share
	}
	base := middle(find)
	b.printf("| find -type f | %.2f s | 1.00 |\n", base.Seconds())
	b.printf("| bundlewatch run, until ready | %.2f s | %.2f |\n", middle(ready).Seconds(), float64(middle(ready))/float64(base))
	empty, err := b.emptyRSS()
	if err != nil {
		return err
	}
	b.printf("\nResident memory: %s, of which %s with an empty root: %d bytes for each directory. Idle: %.3f %% of a core.\n",
		mib(rss), mib(empty), (rss-empty)/int64(dirs), 100*idle)
	return os.RemoveAll(root)
}

// plant makes a tree of so many directories with ten files each, one of which looks like a member of a set.
func plant(root string, dirs int) error {
	for i := range dirs {
		dir := filepath.Join(root, fmt.Sprintf("project%02d/run%04d/logs%d", i%50, i/50/10, i%10))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for f := range 10 {
			name := fmt.Sprintf("events.%d.%d", i, f)
			if f == 0 {
				name = fmt.Sprintf("a-%d.ckpt", i)
			}
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func timed(cmd *exec.Cmd) (time.Duration, error) {
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	return time.Since(begin), nil
}

// watchTree starts a daemon and returns how long it took to be ready, its memory then, and, if asked for, which
// share of a core it takes when nothing happens.
func (b *bench) watchTree(root string, measureIdle bool) (took time.Duration, rss int64, idle float64, err error) {
	if err := os.WriteFile(filepath.Join(b.dir, "scan.toml"), fmt.Appendf(nil, config, root, "1s"), 0o644); err != nil {
		return 0, 0, 0, err
	}
	begin := time.Now()
	d, err := b.startDaemon(filepath.Join(b.dir, "scan.toml"))
	if err != nil {
		return 0, 0, 0, err
	}
	if err := d.ready(); err != nil {
		return 0, 0, 0, err
	}
	took, rss = time.Since(begin), d.rss()
	if measureIdle {
		time.Sleep(5 * time.Second) // until what the start left to do is done
		before, window := d.cpu(), 30*time.Second
		time.Sleep(window)
		rss, idle = d.rss(), (d.cpu()-before)/window.Seconds()
	}
	return took, rss, idle, d.stop()
}

func (b *bench) emptyRSS() (int64, error) {
	root := filepath.Join(b.dir, "empty")
	if err := os.Mkdir(root, 0o755); err != nil {
		return 0, err
	}
	_, rss, _, err := b.watchTree(root, false)
	return rss, err
}

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[(len(all)-1)/2]
}
