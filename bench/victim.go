package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	victimMemory = 2 << 30                // of the group that the data loader and its neighbour share
	victimData   = victimMemory / 10 * 6  // what the loader reads again and again
	victimTime   = time.Second            // of each measurement
	victimTimes  = 6                      // measurements with a neighbour, for each run
	victimGroup  = "bundlewatch-bench-%d" // control group, by pid
)

// neighbours are what the loader is measured beside; the first is nobody.
var neighbours = []struct{ name, command string }{
	{"nobody", "sleep 1"},
	{"bundlewatch", `"$BUNDLEWATCH" once --config quiet.toml >/dev/null`},
	{"bundlewatch without a limit", `"$BUNDLEWATCH" once --config bare.toml >/dev/null`},
	{"sha256sum", `sha256sum "$@" >/dev/null`},
	{"cp", `cp "$@" out && sync out/*`},
	{"Python zipfile", fmt.Sprintf(pythonZip, "ZIP_STORED")},
}

// victim shows what a data loader, whose data set takes 60 % of the memory, notices of a neighbour that packs
// checkpoints which are not in the page cache. Both share the memory of one control group; the neighbour has the priorities
// and the CPU weight of the systemd unit.
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
	pair := dataset{bare, 256 << 20}
	if err := pair.write(dir); err != nil {
		return err
	}
	if err := quieten(dir, pair.kind); err != nil {
		return err
	}
	b.printf("\n| a data loader with a data set of 60 %% of the memory | throughput | of that while it is stopped | of its data cached at the end |\n|---|---:|---:|---:|\n")
	for _, n := range neighbours {
		loaded, err := b.load(dir, data, groups, pair.sources(), n.command)
		if err != nil {
			return fmt.Errorf("beside %s: %w", n.name, err)
		}
		b.printf("| beside %s | %.0f MiB/s | %.2f | %.0f %% |\n", n.name, loaded.rate/(1<<20), loaded.ofAlone, 100*loaded.cached)
	}
	return nil
}

// usualCPU is how much the daemon takes while it packs.
const usualCPU = "[limits]\ncpu = \"40%\"\n"

// quieten writes quiet.toml, which limits once as the daemon is by itself.
func quieten(dir, kind string) error {
	config, err := os.ReadFile(filepath.Join(dir, kind+".toml"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "quiet.toml"), append([]byte(usualCPU), config...), 0o644)
}

// loaded is what the data loader reached.
type loaded struct {
	rate    float64 // bytes per second beside its neighbour, the median of all times
	ofAlone float64 // of its rate just before, while the neighbour was stopped: again the median
	cached  float64 // share of its data that is in the page cache at the end
}

// load reads the data in a loop while the neighbour packs one cold pair after the other.
func (b *bench) load(dir, data string, groups *controlGroups, sources []string, neighbour string) (l loaded, err error) {
	stop := filepath.Join(dir, "stop")
	_ = os.Remove(stop)
	// dd drops the pages of the sources, so that each pair is read from the disk.
	script := groups.neighbour + ` && renice -n 10 $$ >/dev/null && ionice -c 3 -p $$; while ! [ -e stop ]; do rm -rf out; mkdir out
		for f in "$@"; do dd if="$f" iflag=nocache count=0 status=none; done
		` + neighbour + `; done`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, sources...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BUNDLEWATCH="+b.program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL} // to be stopped as a whole
	if err := cmd.Start(); err != nil {
		return l, err
	}
	defer func() {
		if err != nil {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			_ = cmd.Wait()
		}
	}()
	loader := exec.Command("sh", "-c", groups.loader+` && exec "$BENCH" read-loop "$1" "$2" "$3"`, "sh",
		data, strconv.Itoa(b.runs*victimTimes), strconv.Itoa(cmd.Process.Pid))
	loader.Env = append(os.Environ(), "BENCH="+b.self)
	out, err := loader.Output()
	if err != nil {
		return l, err
	}
	if _, err := fmt.Sscan(string(out), &l.rate, &l.ofAlone); err != nil {
		return l, err
	}
	l.cached = residentShare(data)
	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		return l, err
	}
	return l, cmd.Wait()
}

// readLoop reads a file again and again, and stops and continues the process group of its neighbour so many times, as the speed of
// memory changes with what others do on the same host. It prints what [loaded] holds.
func readLoop(path, times, neighbour string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	group, err := strconv.Atoi(neighbour)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(io.Discard, f); err != nil { // into the page cache
		return err
	}
	r := &repeater{file: f, buffer: make([]byte, 1<<20)}
	var rates, ofAlone []float64
	for range n {
		alone, err := r.readWhile(group, unix.SIGSTOP)
		if err != nil {
			return err
		}
		beside, err := r.readWhile(group, unix.SIGCONT)
		if err != nil {
			return err
		}
		rates, ofAlone = append(rates, beside), append(ofAlone, beside/alone)
	}
	fmt.Println(middle(rates), middle(ofAlone))
	return nil
}

// repeater reads a file again and again.
type repeater struct {
	file   *os.File
	buffer []byte
	offset int64
}

// readWhile sends the signal to a process group and returns the bytes per second that are read from then on.
func (r *repeater) readWhile(group int, signal unix.Signal) (float64, error) {
	if err := unix.Kill(-group, signal); err != nil {
		return 0, fmt.Errorf("signal the neighbour: %w", err)
	}
	if _, err := r.read(victimTime / 10); err != nil { // what the disk still has to do
		return 0, err
	}
	return r.read(victimTime)
}

func (r *repeater) read(length time.Duration) (float64, error) {
	var read int64
	begin := time.Now()
	for time.Since(begin) < length {
		n, err := r.file.ReadAt(r.buffer, r.offset)
		if r.offset += int64(n); err == io.EOF {
			r.offset = 0
		} else if err != nil {
			return 0, err
		}
		read += int64(n)
	}
	return float64(read) / time.Since(begin).Seconds(), nil
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
