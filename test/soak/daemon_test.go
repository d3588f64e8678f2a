package soak

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// daemon is a running `bundlewatch run`.
type daemon struct {
	t   *testing.T
	cmd *exec.Cmd
	log *logFile
}

// logFile is written by the process and read by the test.
type logFile struct{ path string }

func (l logFile) String() string {
	text, err := os.ReadFile(l.path)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// lines returns the lines that hold a text.
func (l logFile) lines(text string) []string {
	var found []string
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// start runs the daemon until it is ready. A data race makes it end with 66.
func start(t *testing.T, dir string) *daemon {
	t.Helper()
	log, err := os.CreateTemp(dir, "daemon-*.log")
	require.NoError(t, err)
	defer log.Close()
	d := &daemon{t: t, cmd: exec.Command(program.Path(), "run", "--config", filepath.Join(dir, "bundlewatch.toml")), log: &logFile{log.Name()}}
	d.cmd.Stderr = log
	d.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66")
	require.NoError(t, d.cmd.Start())
	t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			_ = d.cmd.Process.Kill()
			_ = d.cmd.Wait()
		}
		if t.Failed() {
			text := d.log.String()
			t.Logf("the daemon's log, without its middle:\n%s", withoutMiddle(text))
		}
	})
	program.Eventually(t, "the daemon is ready", func() bool { return len(d.log.lines("ready: every root was listed")) == 1 })
	return d
}

// withoutMiddle cuts a text down to its ends, where the events begin, and where a crash is told.
func withoutMiddle(text string) string {
	const most = 8000
	if at := strings.Index(text, "\ngoroutine "); at >= 0 {
		text = text[:min(len(text), at+most)] // the trace of a crash begins with what went wrong
	}
	return text[max(0, len(text)-2*most):]
}

// stop ends the daemon as systemd does, and wants it to end well.
func (d *daemon) stop() {
	d.t.Helper()
	require.NoError(d.t, d.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(d.t, d.cmd.Wait(), d.log)
}

// goroutines ends the daemon with SIGQUIT, and returns how many goroutines it had, as the trace shows.
func (d *daemon) goroutines() map[string]int {
	d.t.Helper()
	require.NoError(d.t, d.cmd.Process.Signal(syscall.SIGQUIT))
	_ = d.cmd.Wait()
	counts := make(map[string]int)
	for _, g := range created.FindAllStringSubmatch(d.log.String(), -1) {
		counts[g[1]]++
	}
	return counts
}

// created tells where a goroutine of a trace comes from.
var created = regexp.MustCompile(`(?m)^created by (\S+)`)

func (d *daemon) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(d.cmd.Process.Pid), name)
}

// descriptors returns what the daemon has open.
func (d *daemon) descriptors() []string {
	d.t.Helper()
	entries, err := os.ReadDir(d.proc("fd"))
	require.NoError(d.t, err)
	var open []string
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(d.proc("fd"), e.Name())); err == nil {
			open = append(open, target)
		}
	}
	return open
}

// watches returns how many inotify watches the daemon has.
func (d *daemon) watches() int {
	d.t.Helper()
	entries, err := os.ReadDir(d.proc("fdinfo"))
	require.NoError(d.t, err)
	n := 0
	for _, e := range entries {
		if info, err := os.ReadFile(filepath.Join(d.proc("fdinfo"), e.Name())); err == nil {
			n += bytes.Count(info, []byte("inotify wd:"))
		}
	}
	return n
}

// memory returns a field of /proc/PID/status such as VmRSS, in bytes, or 0 when the process is gone.
func (d *daemon) memory(field string) int64 {
	f, err := os.Open(d.proc("status"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(s.Text(), field+": %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}
