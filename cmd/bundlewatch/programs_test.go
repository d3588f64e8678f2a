package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The programs that scripts start as processes of their own.

// daemonProgram is `bundlewatch run` with its process id in NAME.pid and its log in NAME.log.
func daemonProgram() {
	needArguments(len(os.Args) >= 2, "daemon NAME [ARG...]")
	name := os.Args[1]
	log, err := os.Create(name + ".log")
	must(err)
	must(unix.Dup3(int(log.Fd()), unix.Stderr, 0))
	must(os.WriteFile(name+".pid", []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644))
	os.Exit(run(append([]string{"run"}, os.Args[2:]...)))
}

// nobody is a user that owns nothing.
const nobody = 65534

// asUserProgram is bundlewatch run by a user who is not root.
func asUserProgram() {
	needArguments(len(os.Args) >= 3 && os.Args[1] == "bundlewatch", "asuser bundlewatch VERB [ARG...]")
	if os.Getuid() == 0 {
		must(syscall.Setgroups(nil))
		must(syscall.Setgid(nobody))
		must(syscall.Setuid(nobody))
	}
	os.Exit(run(os.Args[2:]))
}

// slowWriteProgram copies a file as a writer that pauses in the middle with the file open: it makes
// GO.half after the first half, and goes on when GO exists.
func slowWriteProgram() {
	needArguments(len(os.Args) == 4, "slowwrite FROM TO GO")
	data, err := os.ReadFile(os.Args[1])
	must(err)
	f, err := os.Create(os.Args[2])
	must(err)
	half := len(data) / 2
	_, err = f.Write(data[:half])
	must(err)
	must(os.WriteFile(os.Args[3]+".half", nil, 0o644))
	for end := time.Now().Add(patience); ; time.Sleep(lookEach) {
		if _, err := os.Stat(os.Args[3]); err == nil {
			break
		}
		if time.Now().After(end) {
			must(fmt.Errorf("waited %v for %q", patience, os.Args[3]))
		}
	}
	_, err = f.Write(data[half:])
	must(errors.Join(err, f.Close()))
}

// onTerminalProgram runs a program whose output is a terminal, and prints what it wrote there.
func onTerminalProgram() {
	needArguments(len(os.Args) >= 2, "onterminal PROGRAM [ARG...]")
	terminal, display, err := openTerminal()
	must(err)
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = terminal, terminal
	must(cmd.Start())
	must(terminal.Close())
	// The kernel ends the output with EIO when the last process has closed the terminal.
	if _, err := io.Copy(os.Stdout, display); !errors.Is(err, unix.EIO) {
		must(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	} else {
		must(err)
	}
}

// openTerminal returns a new terminal, and the end where its output comes out (pty(7)).
func openTerminal() (terminal, display *os.File, err error) {
	display, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(display.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	return terminal, display, err
}

func needArguments(ok bool, usage string) {
	if !ok {
		must(fmt.Errorf("usage: %s", usage))
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
}
