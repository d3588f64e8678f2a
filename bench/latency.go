package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// latency measures from the close of a pair's last file to the published bundle, less the pack time.
func (b *bench) latency() error {
	n := 100
	b.printf("\n| close to published, less the pack time; %d pairs of 2 x 1 MiB | median | p99 |\n|---|---:|---:|\n", n)
	for _, noise := range []bool{false, true} {
		what := "on its own"
		if noise {
			what = "beside 1 GiB/s of unrelated writes in the same tree"
		}
		all, err := b.latencies(n, noise)
		if err != nil {
			return err
		}
		b.printf("| bundlewatch run, %s | %s | %s |\n", what, ms(middle(all)), ms(all[len(all)*99/100]))
	}
	for _, p := range []struct{ name, needs, command string }{
		{"inotifywait -m (the event alone)", "inotifywait", `exec inotifywait -q -m -r -e close_write --format %w%f "$1"`},
		{"a poller: find every second", "find", `while sleep 1; do find "$1" -name 'b-*.ckpt' -newer "$1/stamp"; done`},
	} {
		if _, err := exec.LookPath(p.needs); err != nil {
			b.printf("| %s | not installed | |\n", p.name)
			continue
		}
		all, err := b.peerLatencies(p.command, 20)
		if err != nil {
			return err
		}
		b.printf("| %s | %s | %s |\n", p.name, ms(middle(all)), ms(all[len(all)*99/100]))
	}
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", d.Seconds()*1000) }

// latencies returns n latencies in ascending order.
func (b *bench) latencies(n int, noise bool) ([]time.Duration, error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("latency-%t", noise))
	root := filepath.Join(dir, "runs")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "c.toml"), fmt.Appendf(nil, config, "runs", "50ms"), 0o644); err != nil {
		return nil, err
	}
	d, err := b.startDaemon(filepath.Join(dir, "c.toml"))
	if err != nil {
		return nil, err
	}
	if err := d.ready(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var writing sync.WaitGroup
	if noise {
		writing.Go(func() { writeNoise(ctx, filepath.Join(root, "noise.bin")) })
	}
	var all []time.Duration
	for i := range n {
		took, err := pairLatency(d, dir, root, i)
		if err != nil {
			return nil, err
		}
		all = append(all, took)
	}
	stop()
	writing.Wait()
	slices.Sort(all)
	return all, d.stop()
}

func pairLatency(d *daemon, dir, root string, i int) (time.Duration, error) {
	run := fmt.Sprintf("r%d", i)
	if err := os.Mkdir(filepath.Join(root, run), 0o755); err != nil {
		return 0, err
	}
	closed, err := savePair(filepath.Join(root, run), i)
	if err != nil {
		return 0, err
	}
	bundle := filepath.Join(dir, "out/w", run, "1")
	for {
		if _, err := os.Stat(bundle); err == nil {
			break
		}
		if time.Since(closed) > time.Minute {
			return 0, fmt.Errorf("%s was not published within a minute", bundle)
		}
		time.Sleep(200 * time.Microsecond)
	}
	return time.Since(closed) - <-d.published, nil
}

// savePair writes a pair and returns when the last file was closed.
func savePair(dir string, i int) (time.Time, error) {
	for n, role := range []string{"a", "b"} {
		c := torchfile.Checkpoint{State: []torchfile.Tensor{torchfile.Random("w", 1<<20, uint64(2*i+n))}}
		if err := c.Save(filepath.Join(dir, role+"-1.ckpt")); err != nil {
			return time.Time{}, err
		}
	}
	return time.Now(), nil
}

// writeNoise writes 1 GiB/s over one file until the context is done.
func writeNoise(ctx context.Context, path string) {
	f, err := os.Create(path)
	if err != nil {
		return
	}
	defer f.Close()
	block, begin := make([]byte, 1<<20), time.Now()
	for written := int64(0); ctx.Err() == nil; written += 1 << 20 {
		if _, err := f.WriteAt(block, written%(256<<20)); err != nil {
			return
		}
		time.Sleep(time.Until(begin.Add(time.Duration(float64(written) / (1 << 30) * float64(time.Second)))))
	}
}

// peerLatencies measures from the close to a line of the command that names the file.
func (b *bench) peerLatencies(command string, n int) ([]time.Duration, error) {
	root := filepath.Join(b.dir, "peer")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	if err := os.WriteFile(filepath.Join(root, "stamp"), nil, 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command("sh", "-c", command, "sh", root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	time.Sleep(time.Second) // until it watches
	var all []time.Duration
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("r%d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		time.Sleep(50 * time.Millisecond) // inotifywait -r needs a moment for a new directory
		closed, err := savePair(dir, i)
		if err != nil {
			return nil, err
		}
		if err := waitFor(out, filepath.Join(dir, "b-1.ckpt")); err != nil {
			return nil, err
		}
		all = append(all, time.Since(closed))
	}
	slices.Sort(all)
	return all, nil
}

func waitFor(out io.Reader, text string) error {
	var seen strings.Builder
	buffer := make([]byte, 64<<10)
	for !strings.Contains(seen.String(), text) {
		n, err := out.Read(buffer)
		if err != nil {
			return fmt.Errorf("wait for %s: %w", text, err)
		}
		seen.Write(buffer[:n])
	}
	return nil
}
