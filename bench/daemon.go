package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// daemon is a running bundlewatch.
type daemon struct {
	cmd    *exec.Cmd
	socket *net.UnixConn // of sd_notify(3)
	// published receives the pack time of each bundle.
	published chan time.Duration
}

// startDaemon starts bundlewatch run. wrap, if any, is put in front of its command line.
func (b *bench) startDaemon(config string, wrap ...string) (*daemon, error) {
	address := filepath.Join(b.dir, "notify")
	_ = os.Remove(address)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	line := append(wrap, b.program, "run", "--config", config)
	d := &daemon{cmd: exec.Command(line[0], line[1:]...), socket: socket, published: make(chan time.Duration, 10_000)}
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+address)
	logs, err := d.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go d.follow(bufio.NewScanner(logs))
	return d, nil
}

func (d *daemon) follow(logs *bufio.Scanner) {
	for logs.Scan() {
		var line struct {
			Message string
			Seconds float64
		}
		if json.Unmarshal(logs.Bytes(), &line) == nil && line.Message == "bundle published" {
			d.published <- time.Duration(line.Seconds * float64(time.Second))
		}
	}
}

// ready waits until the daemon has listed every root.
func (d *daemon) ready() error {
	buffer := make([]byte, 4096)
	for {
		if err := d.socket.SetReadDeadline(time.Now().Add(10 * time.Minute)); err != nil {
			return err
		}
		n, err := d.socket.Read(buffer)
		if err != nil {
			return err
		}
		if strings.Contains(string(buffer[:n]), "READY=1") {
			go d.drain()
			return nil
		}
	}
}

// drain reads what the daemon says from now on, so that it need not wait.
func (d *daemon) drain() {
	buffer := make([]byte, 4096)
	_ = d.socket.SetReadDeadline(time.Time{})
	for {
		if _, err := d.socket.Read(buffer); err != nil {
			return
		}
	}
}

func (d *daemon) stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	err := d.cmd.Wait()
	return errors.Join(err, d.socket.Close())
}

// rss returns the resident memory of the daemon in bytes.
func (d *daemon) rss() int64 { return memory(d.cmd.Process.Pid, "VmRSS") }

// peak returns what it was at most.
func (d *daemon) peak() int64 { return peakOf(d.cmd.Process.Pid) }

// peakOf returns the most memory in bytes that a process had, 0 when it has ended.
func peakOf(pid int) int64 { return memory(pid, "VmHWM") }

func memory(pid int, what string) int64 {
	var kib int64
	_, _ = fmt.Sscan(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", pid), what+`:\s*(.*)`), " kB"), &kib)
	return kib << 10
}

// cpu returns the seconds of processor time that the daemon has used.
func (d *daemon) cpu() float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var user, system float64
	_, _ = fmt.Sscan(fields[11], &user)
	_, _ = fmt.Sscan(fields[12], &system)
	return (user + system) / 100 // USER_HZ
}
