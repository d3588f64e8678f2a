// Package program builds the bundlewatch command and runs it for the suites that take minutes.
package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// path is where Main put the binary, key a private key beside it.
var path, key string

// Main builds the binary, with these flags of go build, runs the tests of a package and removes it again.
// It does not return.
func Main(m *testing.M, flags ...string) {
	if !wanted() {
		os.Exit(m.Run())
	}
	dir, err := build(flags)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func build(flags []string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "bundlewatch-suite-"); err != nil {
		return "", err
	}
	path = filepath.Join(dir, "bundlewatch")
	if err := os.Setenv("RUNTIME_DIRECTORY", filepath.Join(dir, "runtime")); err != nil { // for status sockets
		return "", err
	}
	args := append(append([]string{"build"}, flags...), "-o", path, "github.com/bundlewatch/bundlewatch/cmd/bundlewatch")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("build bundlewatch: %w\n%s", err, out)
	}
	key = filepath.Join(dir, "signing.pem")
	if out, err := exec.Command(path, "keygen", key).CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("make a key: %w\n%s", err, out)
	}
	return dir, nil
}

func wanted() bool { return os.Getenv("BUNDLEWATCH_SLOW") != "" }

// Slow skips a test that was not asked for.
func Slow(t testing.TB) {
	t.Helper()
	if !wanted() {
		t.Skip("part of the slow suites: make slow, or BUNDLEWATCH_SLOW=1")
	}
}

// Path returns where the binary is.
func Path() string { return path }

// Key returns where a private key is that bundles can be signed with.
func Key() string { return key }

// Result is what a run of the program left.
type Result struct {
	Code           int // exit code, -1 when it was killed
	Stdout, Stderr string
	MaxRSS         int64 // peak of the resident set, in bytes
}

// Run runs the program until it ends.
func Run(t testing.TB, args ...string) Result {
	t.Helper()
	var out bytes.Buffer
	result := run(t, &out, args)
	result.Stdout = out.String()
	return result
}

// RunSilently is Run that throws away what the program prints to standard output. The kernel counts the peak of a
// process for those that it starts, so that a suite which measures memory must not take much itself.
func RunSilently(t testing.TB, args ...string) Result {
	t.Helper()
	return run(t, nil, args)
}

func run(t testing.TB, out io.Writer, args []string) Result {
	t.Helper()
	cmd := exec.Command(path, args...)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatalf("run %v: %v", args, err)
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Stderr: errs.String(), MaxRSS: maxRSS(cmd.ProcessState)}
}
