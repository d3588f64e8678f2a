package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// maxScouted bounds how many files of a run are looked at. Logs are at the top of a run, so that goes from the top
// down.
const maxScouted = 2000

// activity tells how it is known that a run is active: a file in its directory was changed since then, or a process
// has one open for writing. It returns "" when neither is seen. roots are the names of the root of the watch,
// dir is below it.
func activity(roots []string, dir string, since time.Time) string {
	top := filepath.Join(roots[0], dir)
	if path, at := newestIn(top); at.After(since) {
		return fmt.Sprintf("%q was changed at %s", status.Plain(path), at.Format("15:04:05"))
	}
	for _, root := range roots {
		if who := writerBelow(filepath.Join(root, dir)); who != "" {
			return who
		}
	}
	return ""
}

// newestIn returns the file or directory of a tree that was changed last, below the top, and when.
func newestIn(top string) (path string, at time.Time) {
	left := maxScouted
	for dirs := []string{""}; len(dirs) > 0 && left > 0; dirs = dirs[1:] {
		entries, err := os.ReadDir(filepath.Join(top, dirs[0]))
		if err != nil {
			continue // not ours to tell: the watcher does
		}
		for _, e := range entries[:min(len(entries), left)] {
			left--
			info, err := e.Info()
			if err != nil {
				continue
			}
			name := filepath.Join(dirs[0], e.Name())
			if info.ModTime().After(at) {
				path, at = name, info.ModTime()
			}
			if info.IsDir() {
				dirs = append(dirs, name)
			}
		}
	}
	return path, at
}

// writerBelow names a process that has a file below a directory open for writing, of those that this user may ask; ""
// for none. Links below /proc are read, not followed: following one to a file system that hangs would hang.
func writerBelow(dir string) string {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return ""
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		fds, err := os.ReadDir(filepath.Join("/proc", p.Name(), "fd"))
		if err != nil {
			continue // of another user, or gone
		}
		for _, fd := range fds {
			target, err := os.Readlink(filepath.Join("/proc", p.Name(), "fd", fd.Name()))
			if err == nil && strings.HasPrefix(target, dir+"/") && isForWriting(p.Name(), fd.Name()) {
				return fmt.Sprintf("process %d has %q open for writing", pid, status.Plain(strings.TrimPrefix(target, dir+"/")))
			}
		}
	}
	return ""
}

// isForWriting reads the flags of a descriptor, which are octal (proc_pid_fdinfo(5)).
func isForWriting(pid, fd string) bool {
	info, err := os.ReadFile(filepath.Join("/proc", pid, "fdinfo", fd))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(info)) {
		if value, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseInt(strings.TrimSpace(value), 8, 64)
			return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}
