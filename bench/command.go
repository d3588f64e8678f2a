package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// peer is a way to put the files of a run into one place. Its command is run by sh in the directory that holds the
// sources, with the sources as "$@", and puts what it makes into ./out, on the disk when it ends.
type peer struct {
	name    string
	needs   string // a program, "" for none
	command string
	once    bool // too slow to be run more often
}

// sample is what one run of a command took.
type sample struct {
	seconds, cpu   float64
	rss            int64 // peak, in bytes
	written, taken int64 // bytes written towards the disk, and taken on it
}

func (p peer) installed() bool {
	_, err := exec.LookPath(cmp.Or(p.needs, "sh"))
	return err == nil
}

// measure runs the peers in turn, runs times, and returns the samples of each; the sources are in the page cache.
func (b *bench) measure(dir string, peers []peer, sources []string) (map[string][]sample, error) {
	samples := map[string][]sample{}
	for round := range b.runs {
		for i := range peers {
			p := peers[(i+round)%len(peers)] // nobody always comes after the same other
			if !p.installed() || (p.once && round > 0) {
				continue
			}
			s, err := b.sample(dir, p, sources)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			samples[p.name] = append(samples[p.name], s)
		}
	}
	return samples, nil
}

func (b *bench) sample(dir string, p peer, sources []string) (sample, error) {
	if err := os.RemoveAll(filepath.Join(dir, "out")); err != nil {
		return sample{}, err
	}
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o755); err != nil {
		return sample{}, err
	}
	if err := warm(dir, sources); err != nil {
		return sample{}, err
	}
	before := used(dir)
	cmd := exec.Command("sh", append([]string{"-c", p.command, "sh"}, sources...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BUNDLEWATCH="+b.program, "BENCH="+b.self)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("%w\n%s", err, out.String())
	}
	s := sample{seconds: time.Since(begin).Seconds()}
	use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	s.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	s.rss, s.written = use.Maxrss<<10, use.Oublock*512
	syncAll(dir)
	s.taken = used(dir) - before
	return s, nil
}

// warm reads the sources, and writes everything else to the disk.
func warm(dir string, sources []string) error {
	syncAll(dir)
	for _, s := range sources {
		if err := exec.Command("sh", "-c", `cat "$1" >/dev/null`, "sh", filepath.Join(dir, s)).Run(); err != nil {
			return fmt.Errorf("read %s: %w", s, err)
		}
	}
	return nil
}

func syncAll(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = unix.Syncfs(int(f.Fd()))
		f.Close()
	}
}

func median[T cmp.Ordered](samples []sample, figure func(sample) T) T {
	var all []T
	for _, s := range samples {
		all = append(all, figure(s))
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

// table prints one row per peer, with ratios to the first.
func (b *bench) table(title string, bytes int64, peers []peer, samples map[string][]sample) {
	b.printf("\n| %s | median | source MiB/s | %s = 1 | CPU | peak RSS | written | disk taken |\n|---|---:|---:|---:|---:|---:|---:|---:|\n", title, peers[0].name)
	seconds := func(s sample) float64 { return s.seconds }
	base := median(samples[peers[0].name], seconds)
	var missing []string
	for _, p := range peers {
		all := samples[p.name]
		if len(all) == 0 {
			missing = append(missing, p.name)
			continue
		}
		name, took := p.name, median(all, seconds)
		if p.once {
			name += " (one run)"
		}
		b.printf("| %s | %.2f s | %.0f | %.2f | %.2f s | %s | %s | %s |\n", name, took, float64(bytes)/took/(1<<20), took/base,
			median(all, func(s sample) float64 { return s.cpu }), mib(median(all, func(s sample) int64 { return s.rss })),
			mib(median(all, func(s sample) int64 { return s.written })), mib(median(all, func(s sample) int64 { return s.taken })))
	}
	if len(missing) > 0 {
		b.printf("\nNot installed: %s.\n", strings.Join(missing, ", "))
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
