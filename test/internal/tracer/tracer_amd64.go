package tracer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is a system call that a traced program is about to make.
type Call struct {
	Name string
	// Path is what it is about: the file of the descriptor, or the path argument; of a rename the target.
	Path string
	// Changes tells that the call could change what is on disk, or what others see of it.
	Changes bool
	// Offset is where a pread64 begins in the file.
	Offset int64
	// Length is how many bytes a write, pwrite64, copy_file_range or sendfile is asked for; 0 for other calls.
	Length int64
}

// Reaction is what to do about a call. The zero value lets it be made.
type Reaction struct {
	Kill  bool       // end the program with SIGKILL; the call is not made
	Fail  unix.Errno // the call is not made and returns this
	Short int64      // the call is made for so many bytes only; see Call.Length
}

// signature says where a system call has what it is about: a descriptor, or a path that may be
// relative to a descriptor.
type signature struct {
	name    string
	fd      int // argument that is a descriptor, -1 for the working directory
	path    int // argument that is a path, -1 for none
	changes bool
	length  int // argument that is a number of bytes, 0 for none
}

// signatures are of the calls that are told. Numbers differ between architectures; names do not.
var signatures = map[uint64]signature{
	unix.SYS_OPENAT:          {"openat", 0, 1, false, 0}, // see opensForWriting
	unix.SYS_MKDIRAT:         {"mkdirat", 0, 1, true, 0},
	unix.SYS_MKDIR:           {"mkdir", -1, 0, true, 0},
	unix.SYS_UNLINKAT:        {"unlinkat", 0, 1, true, 0},
	unix.SYS_UNLINK:          {"unlink", -1, 0, true, 0},
	unix.SYS_RMDIR:           {"rmdir", -1, 0, true, 0},
	unix.SYS_RENAME:          {"rename", -1, 1, true, 0},
	unix.SYS_RENAMEAT:        {"renameat", 2, 3, true, 0},
	unix.SYS_RENAMEAT2:       {"renameat2", 2, 3, true, 0},
	unix.SYS_LINKAT:          {"linkat", 2, 3, true, 0},
	unix.SYS_SYMLINKAT:       {"symlinkat", 1, 2, true, 0},
	unix.SYS_UTIMENSAT:       {"utimensat", 0, 1, true, 0},
	unix.SYS_FCHOWN:          {"fchown", 0, -1, true, 0},
	unix.SYS_FCHOWNAT:        {"fchownat", 0, 1, true, 0},
	unix.SYS_FSETXATTR:       {"fsetxattr", 0, -1, true, 0},
	unix.SYS_STATX:           {"statx", 0, 1, false, 0},
	unix.SYS_CLONE:           {"clone", -1, -1, false, 0},
	unix.SYS_CLONE3:          {"clone3", -1, -1, false, 0},
	unix.SYS_VFORK:           {"vfork", -1, -1, false, 0},
	unix.SYS_FCHMODAT:        {"fchmodat", 0, 1, true, 0},
	unix.SYS_FCHMOD:          {"fchmod", 0, -1, true, 0},
	unix.SYS_FTRUNCATE:       {"ftruncate", 0, -1, true, 0},
	unix.SYS_FALLOCATE:       {"fallocate", 0, -1, true, 0},
	unix.SYS_WRITE:           {"write", 0, -1, true, 2},
	unix.SYS_PWRITE64:        {"pwrite64", 0, -1, true, 2},
	unix.SYS_WRITEV:          {"writev", 0, -1, true, 0},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2, -1, true, 4},
	unix.SYS_SENDFILE:        {"sendfile", 0, -1, true, 3},
	unix.SYS_IOCTL:           {"ioctl", 0, -1, true, 0}, // FICLONE and FICLONERANGE
	unix.SYS_FSYNC:           {"fsync", 0, -1, true, 0},
	unix.SYS_FDATASYNC:       {"fdatasync", 0, -1, true, 0},
	unix.SYS_FLOCK:           {"flock", 0, -1, true, 0},
	unix.SYS_CLOSE:           {"close", 0, -1, true, 0},
	unix.SYS_READ:            {"read", 0, -1, false, 0},
	unix.SYS_PREAD64:         {"pread64", 0, -1, false, 0},
}

const opensForWriting = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC

// tracer follows one program and all its threads through their system calls.
type tracer struct {
	pid     int
	react   func(Call) Reaction
	failing map[int]unix.Errno // by thread, between the entry and the exit of a call
	known   map[int]bool       // threads that were met
	status  unix.WaitStatus
}

func (t *tracer) follow() error {
	var ws unix.WaitStatus
	if _, err := wait(t.pid, &ws); err != nil { // stopped at its exec
		return err
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return fmt.Errorf("set ptrace options: %w", err)
	}
	for tid, signal := t.pid, 0; ; {
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("let thread go on: %w", err)
		}
		var err error
		if tid, signal, err = t.nextStop(); err != nil || tid == 0 {
			return err
		}
	}
}

// nextStop waits for a thread to stop, and returns it with the signal that it is to get; 0 when the program
// has ended.
func (t *tracer) nextStop() (tid, signal int, err error) {
	for {
		var ws unix.WaitStatus
		tid, err := wait(-t.pid, &ws)
		switch {
		case errors.Is(err, unix.ECHILD):
			return 0, 0, nil
		case err != nil:
			return 0, 0, fmt.Errorf("wait for a stop: %w", err)
		case ws.Stopped():
			signal, err := t.stopped(tid, ws)
			return tid, signal, err
		case tid == t.pid:
			t.status = ws
		}
	}
}

// wait waits for a child or tracee of this thread; a negative pid is a process group, which holds the program
// and its threads alone, since the thread may have started other programs before.
func wait(pid int, ws *unix.WaitStatus) (int, error) {
	for {
		tid, err := unix.Wait4(pid, ws, unix.WALL|unix.WNOTHREAD, nil)
		if !errors.Is(err, unix.EINTR) {
			return tid, err
		}
	}
}

func (t *tracer) stopped(tid int, ws unix.WaitStatus) (signal int, err error) {
	first := !t.known[tid]
	t.known[tid] = true
	switch s := ws.StopSignal(); {
	case s == unix.SIGTRAP|0x80:
		err = t.atCall(tid)
		if errors.Is(err, unix.ESRCH) { // killed meanwhile
			err = nil
		}
		return 0, err
	case s == unix.SIGTRAP, s == unix.SIGSTOP && first:
		return 0, nil
	default:
		return int(s), nil
	}
}

// syscallInfo is struct ptrace_syscall_info of linux/ptrace.h.
type syscallInfo struct {
	op     uint8
	_      [3]uint8
	_      uint32
	_, _   uint64
	number uint64
	args   [6]uint64
	_      [4]uint64
}

const (
	ptraceGetSyscallInfo = 0x420e
	opEntry              = 1
)

func (t *tracer) atCall(tid int) error {
	var info syscallInfo
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(tid), unsafe.Sizeof(info),
		uintptr(unsafe.Pointer(&info)), 0, 0); errno != 0 {
		return errno
	}
	if info.op != opEntry {
		return t.atExit(tid)
	}
	sig, ok := signatures[info.number]
	if !ok {
		return nil
	}
	return t.obey(tid, sig, t.react(t.describe(sig, info)))
}

func (t *tracer) describe(sig signature, info syscallInfo) Call {
	c := Call{Name: sig.name, Changes: sig.changes, Path: t.subject(sig, info.args)}
	switch info.number {
	case unix.SYS_OPENAT:
		c.Changes = info.args[2]&opensForWriting != 0
	case unix.SYS_PREAD64:
		c.Offset = int64(info.args[3])
	}
	if sig.length > 0 {
		c.Length = int64(info.args[sig.length])
	}
	return c
}

// obey does what is to be done about a call at whose entry the thread stands.
func (t *tracer) obey(tid int, sig signature, r Reaction) error {
	switch {
	case r.Kill:
		return unix.Kill(t.pid, unix.SIGKILL)
	case r.Fail != 0:
		t.failing[tid] = r.Fail
		return setRegisters(tid, func(regs *unix.PtraceRegs) { regs.Orig_rax = ^uint64(0) })
	case r.Short > 0 && sig.length > 0:
		return setRegisters(tid, func(regs *unix.PtraceRegs) { *argument(regs, sig.length) = uint64(r.Short) })
	}
	return nil
}

// argument is the register of an argument of a system call, counted from 0 (syscall(2)).
func argument(regs *unix.PtraceRegs, i int) *uint64 {
	return [...]*uint64{&regs.Rdi, &regs.Rsi, &regs.Rdx, &regs.R10, &regs.R8, &regs.R9}[i]
}

// atExit gives a call that was not made its result.
func (t *tracer) atExit(tid int) error {
	errno, ok := t.failing[tid]
	if !ok {
		return nil
	}
	delete(t.failing, tid)
	return setRegisters(tid, func(regs *unix.PtraceRegs) { regs.Rax = -uint64(errno) })
}

func setRegisters(tid int, change func(*unix.PtraceRegs)) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	change(&regs)
	return unix.PtraceSetRegs(tid, &regs)
}

// subject returns the path that a call is about, "" when it cannot be told.
func (t *tracer) subject(sig signature, args [6]uint64) string {
	base := fmt.Sprintf("/proc/%d/cwd", t.pid)
	if sig.fd >= 0 && int32(args[sig.fd]) != unix.AT_FDCWD {
		base = fmt.Sprintf("/proc/%d/fd/%d", t.pid, int32(args[sig.fd]))
	}
	target, _ := os.Readlink(base)
	if sig.path < 0 {
		return target
	}
	path := t.text(args[sig.path])
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(target, path)
}

// text reads a string from the program's memory.
func (t *tracer) text(address uint64) string {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", t.pid))
	if err != nil {
		return ""
	}
	defer memory.Close()
	buffer := make([]byte, unix.PathMax)
	n, _ := memory.ReadAt(buffer, int64(address))
	text, _, _ := bytes.Cut(buffer[:n], []byte{0})
	return string(text)
}
