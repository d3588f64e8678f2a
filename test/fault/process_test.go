package fault

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// daemon is a running `bundlewatch run`.
type daemon struct {
	*bench
	cmd *exec.Cmd
	log *logBuffer
}

// logBuffer is written by the process and read by the test.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count returns how many lines of the log hold a text.
func (l *logBuffer) count(text string) int { return strings.Count(l.String(), text) }

// start runs the daemon until it is ready.
func (b *bench) start() *daemon {
	b.Helper()
	d := &daemon{bench: b, cmd: exec.Command(program.Path(), "run", "--config", b.config()), log: &logBuffer{}}
	d.cmd.Stderr = d.log
	require.NoError(b, d.cmd.Start())
	b.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			_ = d.cmd.Process.Kill()
			_ = d.cmd.Wait()
		}
		if b.Failed() {
			b.Logf("the daemon's log:\n%s", d.log)
		}
	})
	program.Eventually(b, "the daemon is ready", func() bool { return d.log.count("ready: every root was listed") == 1 })
	return d
}

// stop ends the daemon as systemd does, and wants it to end well.
func (d *daemon) stop() {
	d.Helper()
	require.NoError(d, d.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(d, d.cmd.Wait(), d.log)
	d.requireNoStaging()
}

// end ends the daemon, which may have something to complain about.
func (d *daemon) end() {
	d.Helper()
	require.NoError(d, d.cmd.Process.Signal(syscall.SIGTERM))
	_ = d.cmd.Wait()
	require.Contains(d, []int{0, 1}, d.cmd.ProcessState.ExitCode(), d.log)
}
