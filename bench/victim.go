package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	victimMemory = 2 << 30                // of the group that the data loader and its neighbour share
	victimData   = victimMemory / 10 * 6  // what the loader reads again and again
	victimTime   = 20 * time.Second       // of each measurement
	victimGroup  = "bundlewatch-bench-%d" // control group, by pid
)

// victim shows what a data loader, whose data set takes 60 % of the memory, notices of a neighbour that packs
// checkpoints which are not in the page cache. Both share the memory of one control group; the neighbour has the priorities,
// the CPU weight and the number of processors of the systemd unit.
func (b *bench) victim() error {
	groups, err := makeGroups(victimMemory)
	if err != nil {
		b.printf("\nNo control groups for the data loader and its neighbour: %v.\n", err)
		return nil
	}
	defer groups.remove()
	dir := filepath.Join(b.dir, "victim")
	if err := os.MkdirAll(filepath.Join(dir, "runs"), 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "data")
	if err := writeZeros(data, victimData); err != nil {
		return err
	}
	b.printf("\n| a data loader with a data set of 60 %% of the memory | throughput | alone = 1 | of its data cached at the end |\n|---|---:|---:|---:|\n")
	alone := 0.0
	for _, neighbour := range []struct{ name, command string }{
		{"alone", "sleep 1"},
		{"beside bundlewatch once", `GOMAXPROCS=1 "$BUNDLEWATCH" once --config bare.toml >/dev/null`},
		{"beside bundlewatch once, on all processors", `"$BUNDLEWATCH" once --config bare.toml >/dev/null`},
		{"beside cp", `cp "$@" out && sync out/*`},
		{"beside Python zipfile", fmt.Sprintf(pythonZip, "ZIP_STORED")},
	} {
		rate, cached, err := b.load(dir, data, groups, neighbour.command)
		if err != nil {
			return fmt.Errorf("%s: %w", neighbour.name, err)
		}
		if alone == 0 {
			alone = rate
		}
		b.printf("| %s | %.0f MiB/s | %.2f | %.0f %% |\n", neighbour.name, rate/(1<<20), rate/alone, 100*cached)
	}
	return nil
}

// load reads the data in a loop while the neighbour packs one cold pair after the other. It returns the bytes per
// second and the share of the data that is cached at the end.
func (b *bench) load(dir, data string, groups *controlGroups, neighbour string) (rate, cached float64, err error) {
	d := dataset{bare, 256 << 20}
	if err := d.write(dir); err != nil {
		return 0, 0, err
	}
	stop := filepath.Join(dir, "stop")
	_ = os.Remove(stop)
	// dd drops the pages of the sources, so that each pair is read from the disk.
	script := groups.neighbour + ` && renice -n 10 $$ >/dev/null && ionice -c 3 -p $$; while ! [ -e stop ]; do rm -rf out; mkdir out
		for f in "$@"; do dd if="$f" iflag=nocache count=0 status=none; done
		` + neighbour + `; done`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, d.sources()...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BUNDLEWATCH="+b.program)
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	loader := exec.Command("sh", "-c", groups.loader+` && exec "$BENCH" read-loop "$1" "$2"`, "sh", data, strconv.Itoa(int(victimTime.Seconds())))
	loader.Env = append(os.Environ(), "BENCH="+b.self)
	out, err := loader.Output()
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(string(out), &rate); err != nil {
		return 0, 0, err
	}
	cached = residentShare(data)
	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		return 0, 0, err
	}
	return rate, cached, cmd.Wait()
}

// readLoop reads a file again and again for so many seconds and prints the bytes per second, after a first round
// that brings it into the page cache.
func readLoop(path, seconds string) error {
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buffer := make([]byte, 1<<20)
	var read int64
	begin := time.Now()
	for round := 0; round == 0 || time.Since(begin) < time.Duration(n)*time.Second; round++ {
		if round == 1 {
			read, begin = 0, time.Now()
		}
		for at := int64(0); ; {
			n, err := f.ReadAt(buffer, at)
			at, read = at+int64(n), read+int64(n)
			if err != nil {
				break
			}
		}
	}
	fmt.Println(float64(read) / time.Since(begin).Seconds())
	return nil
}

func writeZeros(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// residentShare returns which share of a file is in the page cache.
func residentShare(path string) float64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	var st unix.Cachestat_t
	if unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Len: uint64(info.Size())}, &st, 0) != nil {
		return 0
	}
	return float64(st.Cache) * float64(os.Getpagesize()) / float64(info.Size())
}

// weight is the CPUWeight of the systemd unit, where everybody else has 100.
const weight = 5

// controlGroups are those of the data loader and of its neighbour.
type controlGroups struct {
	loader, neighbour string   // shell commands that enter them
	made              []string // outermost first
}

// makeGroups makes two groups that share so much memory in bytes.
func makeGroups(memory int64) (*controlGroups, error) {
	g := new(controlGroups)
	name := fmt.Sprintf(victimGroup, os.Getpid())
	lay := g.makeUnified
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		lay = g.makeSeparate
	}
	if err := lay(name, memory); err != nil {
		g.remove()
		return nil, err
	}
	return g, nil
}

// makeUnified makes them where all controllers have one hierarchy (cgroup v2).
func (g *controlGroups) makeUnified(name string, memory int64) error {
	const root = "/sys/fs/cgroup"
	both := filepath.Join(root, name)
	loader, neighbour := filepath.Join(both, "loader"), filepath.Join(both, "neighbour")
	g.loader, g.neighbour = enter(loader), enter(neighbour)
	return errors.Join(
		set(root, "cgroup.subtree_control", "+memory +cpu"),
		g.mkdir(both), set(both, "memory.max", memory), set(both, "cgroup.subtree_control", "+cpu"),
		g.mkdir(loader), g.mkdir(neighbour), set(neighbour, "cpu.weight", weight))
}

// makeSeparate makes them where each controller has a hierarchy of its own (cgroup v1), in which the weight 100 is 1024.
func (g *controlGroups) makeSeparate(name string, memory int64) error {
	both, neighbour := filepath.Join("/sys/fs/cgroup/memory", name), filepath.Join("/sys/fs/cgroup/cpu", name)
	g.loader, g.neighbour = enter(both), enter(both)+" && "+enter(neighbour)
	return errors.Join(
		g.mkdir(both), set(both, "memory.limit_in_bytes", memory),
		g.mkdir(neighbour), set(neighbour, "cpu.shares", 1024*weight/100))
}

func (g *controlGroups) mkdir(dir string) error {
	g.made = append(g.made, dir)
	return os.Mkdir(dir, 0o755)
}

func set(group, key string, value any) error {
	return os.WriteFile(filepath.Join(group, key), fmt.Append(nil, value), 0o644)
}

func enter(group string) string { return "echo $$ >" + group + "/cgroup.procs" }

func (g *controlGroups) remove() {
	for _, dir := range slices.Backward(g.made) {
		_ = os.Remove(dir)
	}
}
