package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// command runs a program for each message, in a process group of its own, without a shell.
type command struct{ block config.Notify }

// grace is how long a program that took too long has between SIGTERM and SIGKILL.
const grace = 2 * time.Second

// passedOn are the variables that a program gets from the daemon's environment. The others are not its business:
// $NOTIFY_SOCKET and $CREDENTIALS_DIRECTORY are the daemon's own.
var passedOn = []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"}

func (c command) send(ctx context.Context, m *Message) error {
	body, err := m.body()
	if err != nil {
		return &finalError{err}
	}
	cmd := exec.Command(c.block.Command[0], c.block.Command[1:]...)
	stderr := &tail{}
	cmd.Stdin, cmd.Stderr, cmd.Dir, cmd.Env = bytes.NewReader(body), stderr, "/", m.environment()
	for _, name := range passedOn {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = grace // for who keeps its output open and has left the group
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %q: %w", c.block.Command[0], err)
	}
	if err := c.follow(ctx, cmd); err != nil {
		return fmt.Errorf("run %q: %w%s", c.block.Command[0], err, stderr.text())
	}
	return nil
}

// follow waits for the program, and ends all that is left of its group: when it took too long, and when it has
// ended. The group is ended before the program is reaped, so that its number can be nobody else's yet.
func (c command) follow(ctx context.Context, cmd *exec.Cmd) error {
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		awaitExit(cmd.Process.Pid)
	}()
	var why error
	select {
	case <-exited:
	case <-ctx.Done():
		why = fmt.Errorf("it took longer than %s and was ended", c.block.Timeout)
		if errors.Is(ctx.Err(), context.Canceled) {
			why = errors.New("it was ended, because the daemon ends")
		}
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGTERM)
		within(exited, grace)
	}
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // ESRCH when nothing is left
	if !within(exited, grace) {
		go func() { _ = cmd.Wait() }()
		return fmt.Errorf("%w; it does not end, and is left behind as process %d", why, cmd.Process.Pid)
	}
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; who has its output has left the group
	}
	if why != nil {
		return why
	}
	return err
}

func within(exited <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-exited:
		return true
	case <-timer.C:
		return false
	}
}

// awaitExit waits until a child has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// maxTail is how many of the last bytes that a program wrote to its standard error are told.
const maxTail = 300

// tail keeps the last bytes that were written to it.
type tail struct {
	mu   sync.Mutex // a program that is left behind may still write
	last []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p[max(0, len(p)-maxTail):]...)
	t.last = t.last[max(0, len(t.last)-maxTail):]
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(t.last))
	if text == "" {
		return ""
	}
	return fmt.Sprintf("; it said %q", text)
}
