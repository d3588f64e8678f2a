package watch

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountTable is /proc/self/mountinfo (proc_pid_mountinfo(5)), read anew when it changed.
type mountTable struct {
	file *os.File // nil where there is no proc file system
	byID map[place]mountEntry
}

// mountEntry is one line of the table.
type mountEntry struct {
	id                 place
	path, kind, device string
	// cache is the longest time for which the options let attributes be cached.
	cache time.Duration
}

const mountInfo = "/proc/self/mountinfo"

// openMountTable reads the table. Without one nothing is known of mounts, which is no error: they are
// then found by the device numbers of what is listed.
func openMountTable() *mountTable {
	t := &mountTable{}
	// Not by os.Open: its poller would take the events that changed looks for.
	if fd, err := unix.Open(mountInfo, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		t.file = os.NewFile(uintptr(fd), mountInfo)
	}
	_, _ = t.update()
	return t
}

func (t *mountTable) close() {
	if t.file != nil {
		t.file.Close()
	}
}

// changed tells whether something was mounted or unmounted since the last call: the kernel then has
// POLLPRI ready (proc_pid_mounts(5)).
func (t *mountTable) changed() bool {
	if t.file == nil {
		return false
	}
	defer runtime.KeepAlive(t.file)
	fds := []unix.PollFd{{Fd: int32(t.file.Fd()), Events: unix.POLLPRI}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// update reads the table and returns the mount points that it has or had: true for those that were gained
// or lost, false for those of which the same is said. The latter may be another mount all the same, as the
// kernel gives the identifier of what was unmounted to the next one.
func (t *mountTable) update() (map[string]bool, error) {
	if t.file == nil {
		return nil, nil
	}
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read %s: %w", mountInfo, err)
	}
	text, err := io.ReadAll(t.file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", mountInfo, err)
	}
	old := t.byID
	t.byID = parseMountInfo(string(text))
	points := map[string]bool{}
	for id, entry := range t.byID {
		points[entry.path] = points[entry.path] || old[id] != entry
	}
	for id, entry := range old {
		points[entry.path] = points[entry.path] || t.byID[id] != entry
	}
	return points, nil
}

// entry returns the line of a mount, an empty one when there is none.
func (t *mountTable) entry(at place) mountEntry {
	if _, known := t.byID[at]; !known && t.file != nil {
		// Mounted since. It is for update to tell the difference to the table that was read last.
		if text, err := os.ReadFile(mountInfo); err == nil {
			return parseMountInfo(string(text))[at]
		}
	}
	return t.byID[at]
}

func parseMountInfo(text string) map[place]mountEntry {
	entries := map[place]mountEntry{}
	for line := range strings.Lines(text) {
		if entry, ok := parseMountLine(line); ok {
			entries[entry.id] = entry
		}
	}
	return entries
}

// parseMountLine reads a line such as
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - nfs4 server:/export rw,acregmax=10
func parseMountLine(line string) (mountEntry, bool) {
	left, right, found := strings.Cut(line, " - ")
	fields, super := strings.Fields(left), strings.Fields(right)
	if !found || len(fields) < 6 || len(super) < 3 {
		return mountEntry{}, false
	}
	id, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return mountEntry{}, false
	}
	return mountEntry{
		id:     place(id),
		path:   unescapeMount(fields[4]),
		kind:   super[0],
		device: unescapeMount(super[1]),
		cache:  attributeCache(super[2]),
	}, true
}

// unescapeMount undoes the octal escapes of blanks, newlines and backslashes.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// attributeCache returns the longest time of the cache options of nfs(5) and mount.cifs(8), which are in
// seconds. The kernel leaves out what has its default.
func attributeCache(options string) time.Duration {
	var longest time.Duration
	for option := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "actimeo", "acregmin", "acregmax", "acdirmin", "acdirmax":
			if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
				longest = max(longest, time.Duration(seconds)*time.Second)
			}
		}
	}
	return longest
}
