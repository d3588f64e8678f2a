package tidy

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// procSearch looks for processes that use a stray.
type procSearch struct {
	ids    map[tree.ID]bool
	inodes map[uint64]bool
	names  map[string]bool // base names, by which links below /proc are chosen before they are followed
	all    bool            // files have other names elsewhere: every link is followed
}

// openBy returns a process that has the stray open, mapped, or as its working directory; "" for none of those that
// this user may ask. Links below /proc are only followed where their text has the name of the stray, because
// following one to a file system that hangs would hang.
func openBy(s *stray) (who string) {
	search := newProcSearch(s)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return ""
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if search.process(filepath.Join("/proc", e.Name())) {
			return fmt.Sprintf("process %d%s", pid, command(e.Name()))
		}
	}
	return ""
}

func newProcSearch(s *stray) *procSearch {
	p := &procSearch{ids: map[tree.ID]bool{s.stat.ID(): true}, inodes: map[uint64]bool{s.stat.Ino: true}, names: map[string]bool{s.name: true}}
	p.all = s.shape == shapeFile && s.stat.Links > 1
	for _, e := range s.inside {
		p.ids[e.stat.ID()], p.inodes[e.stat.Ino], p.names[path.Base(e.path)] = true, true, true
		p.all = p.all || e.stat.IsRegular() && e.stat.Links > 1
	}
	return p
}

// process tells whether a process uses the stray. What it may not be asked is not known.
func (p *procSearch) process(dir string) bool {
	for _, link := range []string{"cwd", "root", "exe"} {
		if p.leads(filepath.Join(dir, link)) {
			return true
		}
	}
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if p.leads(filepath.Join(dir, "fd", fd.Name())) {
			return true
		}
	}
	return p.maps(filepath.Join(dir, "maps"))
}

func (p *procSearch) leads(link string) bool {
	target, err := os.Readlink(link)
	if err != nil || !strings.HasPrefix(target, "/") {
		return false
	}
	if !p.all && !p.names[path.Base(strings.TrimSuffix(target, " (deleted)"))] {
		return false
	}
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, link, unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st) != nil {
		return false
	}
	return p.ids[tree.ID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}]
}

// maps looks at what a process has mapped. Device numbers are not compared: btrfs and overlayfs show others
// there than in stat(2); the name decides together with the inode.
func (p *procSearch) maps(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := bytes.SplitN(lines.Bytes(), []byte(" "), 6)
		if len(fields) < 6 {
			continue
		}
		name := strings.TrimSuffix(strings.TrimSpace(string(fields[5])), " (deleted)")
		inode, err := strconv.ParseUint(string(fields[4]), 10, 64)
		if err == nil && inode != 0 && p.inodes[inode] && (p.all || p.names[path.Base(name)]) {
			return true
		}
	}
	return false
}

// command names the program of a process for people.
func command(pid string) string {
	name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	if err != nil {
		return ""
	}
	return " (" + visible(strings.TrimSpace(string(name))) + ")"
}
