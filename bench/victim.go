package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
// checkpoints which are not in the page cache. Both run in one control group; the neighbour with the priorities of
// the systemd unit.
func (b *bench) victim() error {
	enter, remove, err := memoryGroup(victimMemory)
	if err != nil {
		b.printf("\nNo control group for the data loader: %v.\n", err)
		return nil
	}
	defer remove()
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
		{"beside bundlewatch once", `"$BUNDLEWATCH" once --config bare.toml >/dev/null`},
		{"beside cp", `cp "$@" out && sync out/*`},
		{"beside Python zipfile", fmt.Sprintf(pythonZip, "ZIP_STORED")},
	} {
		rate, cached, err := b.load(dir, data, enter, neighbour.command)
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
func (b *bench) load(dir, data, enter, neighbour string) (rate, cached float64, err error) {
	d := dataset{bare, 256 << 20}
	if err := d.write(dir); err != nil {
		return 0, 0, err
	}
	stop := filepath.Join(dir, "stop")
	_ = os.Remove(stop)
	// dd drops the pages of the sources, so that each pair is read from the disk.
	script := enter + ` && renice -n 10 $$ >/dev/null && ionice -c 3 -p $$; while ! [ -e stop ]; do rm -rf out; mkdir out
		for f in "$@"; do dd if="$f" iflag=nocache count=0 status=none; done
		` + neighbour + `; done`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, d.sources()...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BUNDLEWATCH="+b.program)
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	loader := exec.Command("sh", "-c", enter+` && exec "$BENCH" read-loop "$1" "$2"`, "sh", data, strconv.Itoa(int(victimTime.Seconds())))
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

// memoryGroup makes a control group with so much memory and returns the shell command that enters it.
func memoryGroup(limit int64) (enter string, remove func(), err error) {
	name := fmt.Sprintf(victimGroup, os.Getpid())
	for _, version := range []struct{ dir, limit string }{{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"}} {
		group := filepath.Join(version.dir, name)
		if err = os.Mkdir(group, 0o755); err != nil {
			continue
		}
		if err = os.WriteFile(filepath.Join(group, version.limit), strconv.AppendInt(nil, limit, 10), 0o644); err != nil {
			_ = os.Remove(group)
			continue
		}
		return "echo $$ >" + group + "/cgroup.procs", func() { _ = os.Remove(group) }, nil
	}
	return "", nil, err
}
