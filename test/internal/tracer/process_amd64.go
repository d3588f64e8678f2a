package tracer

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// Run runs bundlewatch with these arguments until it ends, asks react about every call that it is about
// to make, and does as it says. It uses the caller's thread, so that it also sees its mounts.
func Run(t testing.TB, react func(Call) Reaction, args ...string) program.Result {
	t.Helper()
	p := &Process{t: t}
	p.run(react, args, func() {})
	return p.result()
}

// Process is a traced program that is running. Its methods may be used from the test's goroutine.
type Process struct {
	// Pid is its process id.
	Pid int

	t      testing.TB
	stdout *os.File
	stderr *os.File
	status syscall.WaitStatus
	err    error
	ended  chan struct{}
}

// Start is Run in the background. React is called from another goroutine. What still runs when the test
// ends is killed.
func Start(t testing.TB, react func(Call) Reaction, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, ended: make(chan struct{})}
	started := make(chan struct{})
	known := sync.OnceFunc(func() { close(started) })
	go func() {
		defer close(p.ended)
		defer known()
		p.run(react, args, known)
	}()
	<-started
	require.NoError(t, p.err)
	t.Cleanup(func() {
		if !p.HasEnded() {
			_ = syscall.Kill(p.Pid, syscall.SIGKILL)
			<-p.ended
		}
	})
	return p
}

// run starts the program and follows it to its end. Tracing belongs to a thread.
func (p *Process) run(react func(Call) Reaction, args []string, started func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if p.err = p.open(); p.err != nil {
		return
	}
	argv := append([]string{program.Path()}, args...)
	p.Pid, p.err = syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Env: os.Environ(), Sys: &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
		Files: []uintptr{0, p.stdout.Fd(), p.stderr.Fd()}})
	if p.err != nil {
		return
	}
	started()
	tr := &tracer{pid: p.Pid, react: react, failing: make(map[int]unix.Errno), known: map[int]bool{p.Pid: true}}
	p.err = tr.follow()
	p.status = syscall.WaitStatus(tr.status)
}

func (p *Process) open() error {
	for _, f := range []**os.File{&p.stdout, &p.stderr} {
		file, err := os.CreateTemp("", "bundlewatch-suite-*.txt")
		if err != nil {
			return err
		}
		if err := os.Remove(file.Name()); err != nil {
			return err
		}
		*f = file
	}
	return nil
}

// Signal sends a signal to the program, if it still runs.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.Pid, sig); !errors.Is(err, syscall.ESRCH) {
		require.NoError(p.t, err)
	}
}

// HasEnded tells whether the program has ended.
func (p *Process) HasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Log returns what the program has written to standard error so far.
func (p *Process) Log() string {
	p.t.Helper()
	return contentOf(p.t, p.stderr)
}

// Wait waits until the program has ended, by itself or killed by a reaction.
func (p *Process) Wait() program.Result {
	p.t.Helper()
	<-p.ended
	return p.result()
}

func (p *Process) result() program.Result {
	p.t.Helper()
	require.NoError(p.t, p.err)
	code := -1
	if p.status.Exited() {
		code = p.status.ExitStatus()
	}
	defer p.stdout.Close()
	defer p.stderr.Close()
	return program.Result{Code: code, Stdout: contentOf(p.t, p.stdout), Stderr: contentOf(p.t, p.stderr)}
}

func contentOf(t testing.TB, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	require.NoError(t, err)
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if n < len(data) {
		require.NoError(t, err)
	}
	return string(data)
}
