package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// commands are what scripts can say besides testscript's own words.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"exits":         exits,
	"waitfor":       waitFor,
	"signal":        signalDaemon,
	"flipbit":       flipBit,
	"truncatefile":  truncateFile,
	"mkfifo":        makeFIFO,
	"mksocket":      makeSocket,
	"lightningmove": lightningMove,
	"jsonlines":     jsonLines,
	"listzip":       listZip,
	"unzipentry":    unzipEntry,
	"mounttmpfs":    mountTmpfs,
	"bindmount":     bindMount,
	"hangmount":     hangMount,
	"unhang":        unhang,
	"notify":        notifySocket,
	"webhook":       webhook,
	"httpget":       httpGet,
	"until":         untilSays,
	"manyhalves":    manyHalves,
	"descriptors":   descriptors,
	"objectstore":   objectStore,
	"storeis":       storeIs,
	"registry":      ociRegistry,
}

// condition answers the conditions of scripts.
func condition(cond, fixtures string) (bool, error) {
	switch cond {
	case "fixtures":
		return fixtures != "", nil
	case "root":
		return os.Geteuid() == 0, nil
	case "etcconfig":
		_, err := os.Stat("/etc/bundlewatch/bundlewatch.toml")
		return err == nil, nil
	case "hangs":
		_, err := os.Stat("/dev/fuse")
		return err == nil && os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

// arguments ends the script unless it gave n arguments, which usage names, without negation.
func arguments(ts *testscript.TestScript, neg bool, args []string, n int, usage string) {
	if neg || len(args) != n {
		ts.Fatalf("usage: %s", usage)
	}
}

// exits runs a program and wants exactly that exit code. What it printed is there for stdout and stderr.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// Scripts wait for what must happen, and look often. The bound only ends a test that would hang.
const (
	patience = 2 * time.Minute
	lookEach = 10 * time.Millisecond
)

// waitFor waits until a file exists, or has lines that match.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "waitfor FILE | waitfor -log PATTERN FILE"
	switch {
	case neg:
		ts.Fatalf("usage: %s", usage)
	case len(args) == 1:
		path := ts.MkAbs(args[0])
		until(ts, args[0]+" to appear", func() bool { _, err := os.Lstat(path); return err == nil })
	case len(args) == 3 && args[0] == "-log":
		pattern, err := regexp.Compile("(?m)" + args[1])
		ts.Check(err)
		path := ts.MkAbs(args[2])
		until(ts, fmt.Sprintf("%q in %s", args[1], args[2]), func() bool {
			text, _ := os.ReadFile(path)
			return pattern.Match(text)
		})
	default:
		ts.Fatalf("usage: %s", usage)
	}
}

func until(ts *testscript.TestScript, what string, happened func() bool) {
	for end := time.Now().Add(patience); !happened(); time.Sleep(lookEach) {
		if time.Now().After(end) {
			showLogs(ts)
			ts.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// showLogs prints the logs of all daemons of a script, to show why it is about to fail.
func showLogs(ts *testscript.TestScript) {
	logs, err := filepath.Glob(ts.MkAbs("*.log"))
	ts.Check(err)
	for _, path := range logs {
		text, err := os.ReadFile(path)
		ts.Check(err)
		ts.Logf("%s:\n%s", path, text)
	}
}

// signalDaemon sends TERM, HUP or KILL to the process that the program daemon started.
func signalDaemon(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "signal NAME DAEMON")
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1] + ".pid")))
	ts.Check(err)
	number := unix.SignalNum("SIG" + args[0])
	if number == 0 {
		ts.Fatalf("unknown signal %q", args[0])
	}
	ts.Check(unix.Kill(pid, number))
}

// flipBit changes the lowest bit of the byte at an offset of a file, or, when a record's name is given,
// of the first byte of that record of a torch zip.
func flipBit(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "flipbit FILE OFFSET|RECORD")
	path := ts.MkAbs(args[0])
	offset, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		offset = recordOffset(ts, path, args[1])
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], offset)
	ts.Check(err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], offset)
	ts.Check(err)
}

func recordOffset(ts *testscript.TestScript, path, record string) int64 {
	z, err := zip.OpenReader(path)
	ts.Check(err)
	defer z.Close()
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/"+record) {
			offset, err := f.DataOffset()
			ts.Check(err)
			return offset
		}
	}
	ts.Fatalf("no record %q in %s", record, path)
	return 0
}

func truncateFile(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "truncatefile FILE SIZE")
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

func makeFIFO(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "mkfifo FILE")
	ts.Check(unix.Mkfifo(ts.MkAbs(args[0]), 0o644))
}

func makeSocket(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "mksocket FILE")
	ts.Check(unix.Mknod(ts.MkAbs(args[0]), unix.S_IFSOCK|0o644, 0))
}

// lightningMove does what Lightning does when its temporary folder is on another file system: the file
// grows under its final name, is closed, gets the times of the temporary file back, and its mode last.
func lightningMove(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "lightningmove FROM TO")
	from, to := ts.MkAbs(args[0]), ts.MkAbs(args[1])
	info, err := os.Stat(from)
	ts.Check(err)
	data, err := os.ReadFile(from)
	ts.Check(err)
	ts.Check(os.WriteFile(to, data, 0o666))
	ts.Check(os.Chtimes(to, info.ModTime(), info.ModTime()))
	ts.Check(os.Chmod(to, 0o600))
	ts.Check(os.Remove(from))
	ts.Check(os.Chmod(to, 0o644))
}

// jsonLines wants each line of a file, "stdout" or "stderr" to be one JSON object.
func jsonLines(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "jsonlines FILE")
	text := ts.ReadFile(args[0])
	if text == "" || !strings.HasSuffix(text, "\n") {
		ts.Fatalf("%s does not end with a whole line: %q", args[0], text)
	}
	for line := range strings.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil || object == nil {
			ts.Fatalf("%s: no JSON object: %q: %v", args[0], line, err)
		}
	}
}

// listZip prints name, size and CRC-32 of each entry of an archive.
func listZip(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1, "listzip ARCHIVE")
	eachEntry(ts, args[0], func(f *zip.File) {
		fmt.Fprintf(ts.Stdout(), "%s %d %08x\n", f.Name, f.UncompressedSize64, f.CRC32)
	})
}

// unzipEntry prints one entry of an archive.
func unzipEntry(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2, "unzipentry ARCHIVE NAME")
	found := false
	eachEntry(ts, args[0], func(f *zip.File) {
		if f.Name != args[1] {
			return
		}
		found = true
		r, err := f.Open()
		ts.Check(err)
		data, err := io.ReadAll(r)
		ts.Check(errors.Join(err, r.Close()))
		_, err = io.Copy(ts.Stdout(), bytes.NewReader(data))
		ts.Check(err)
	})
	if !found {
		ts.Fatalf("no entry %q in %s", args[1], args[0])
	}
}

func eachEntry(ts *testscript.TestScript, archive string, do func(*zip.File)) {
	z, err := zip.OpenReader(ts.MkAbs(archive))
	ts.Check(err)
	defer z.Close()
	for _, f := range z.File {
		do(f)
	}
}
