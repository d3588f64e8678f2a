package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine names what the figures were measured on.
func (b *bench) machine() string {
	var uts unix.Utsname
	kernel := "?"
	if unix.Uname(&uts) == nil {
		kernel = unix.ByteSliceToString(uts.Release[:])
	}
	return fmt.Sprintf("%s, %d cores, %s of memory, Linux %s, %s, %s", field("/proc/cpuinfo", `model name\s*: (.*)`), runtime.NumCPU(),
		field("/proc/meminfo", `MemTotal:\s*(.*)`), kernel, fileSystem(b.dir), runtime.Version())
}

func field(path, pattern string) string {
	text, _ := os.ReadFile(path)
	m := regexp.MustCompile(pattern).FindStringSubmatch(string(text))
	if m == nil {
		return "?"
	}
	return strings.TrimSpace(m[1])
}

func fileSystem(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return "?"
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	}
	return fmt.Sprintf("file system %#x", st.Type)
}

// used returns how many bytes of the file system at dir are taken.
func used(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}
