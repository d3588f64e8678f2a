// Command bundlewatch packs completed checkpoint pairs, with the config that produced them, into
// immutable bundles, from outside of the training process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/store"
)

// version is set by the linker.
var version string

// Exit codes, documented in usage.
const (
	exitOK      = 0
	exitFailed  = 1
	exitPartial = 3
	exitUsage   = 64
	exitLocked  = 75
	exitConfig  = 78
)

func main() { os.Exit(run(os.Args[1:])) }

// run executes a command line and returns the exit code.
func run(args []string) int {
	saveMemory()
	verb, rest := "help", []string{}
	if len(args) > 0 {
		verb, rest = args[0], args[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := dispatch(ctx, verb, rest)
	if errors.Is(err, errHelp) {
		fmt.Print(usage)
		return exitOK
	}
	if err != nil {
		return report(os.Stderr, err)
	}
	return exitOK
}

func dispatch(ctx context.Context, verb string, args []string) error {
	switch verb {
	case "run":
		return runDaemon(ctx, args)
	case "once":
		return runOnce(ctx, args)
	case "drain":
		return runDrain(ctx, args)
	case "check":
		return runCheck(ctx, args)
	case "status":
		return runStatus(ctx, args)
	case "verify":
		return runVerify(ctx, args)
	case "inspect":
		return runInspect(ctx, args)
	case "ls":
		return runList(ctx, args)
	case "latest":
		return runLatest(ctx, args)
	case "diff":
		return runDiff(ctx, args)
	case "unpack":
		return runUnpack(ctx, args)
	case "cat":
		return runCat(ctx, args)
	case "pin":
		return runPin(ctx, args)
	case "unpin":
		return runUnpin(ctx, args)
	case "prune":
		return runPrune(ctx, args)
	case "store":
		return runStore(ctx, args)
	case "push":
		return runPush(ctx, args)
	case "pull":
		return runPull(ctx, args)
	case "notify":
		return runNotify(ctx, args)
	case "keygen":
		return runKeygen(args)
	case "sign":
		return runSign(ctx, args)
	case "init":
		return runInit(ctx, args)
	case "tidy":
		return runTidy(ctx, args)
	case "completion":
		return runCompletion(args)
	case "man":
		return runMan(args)
	case "version", "--version", "-version":
		fmt.Println(tool(), runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
		return nil
	case "help", "--help", "-help", "-h":
		fmt.Print(usage)
		return nil
	}
	return &usageError{fmt.Sprintf("unknown verb %q", verb)}
}

// tool is the program's name and version.
func tool() string {
	v := version
	if v == "" {
		v = "dev"
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
			v = info.Main.Version
		}
	}
	return "bundlewatch " + v
}

// usageError is a command line that makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// errPartial ends a verb that named every refusal already.
var errPartial = errors.New("done in part")

// errFailed ends a verb that named every failure already.
var errFailed = errors.New("failed")

// loggedError is an error that the log has: it makes an exit code and no further line.
type loggedError struct{ error }

func (e *loggedError) Unwrap() error { return e.error }

// report writes an error for people and returns the exit code.
func report(w io.Writer, err error) int {
	var usageErr *usageError
	var problems config.Problems
	var logged *loggedError
	if errors.As(err, &logged) {
		w = io.Discard
	}
	switch {
	case errors.Is(err, errPartial):
		return exitPartial
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.As(err, &usageErr):
		fmt.Fprintf(w, "bundlewatch: error: %s\nbundlewatch: hint: bundlewatch help\n", errorText(err))
		return exitUsage
	case errors.As(err, &problems):
		for _, p := range problems {
			fmt.Fprintln(w, p.Error())
		}
		return exitConfig
	case errors.Is(err, errConfig):
		fmt.Fprintf(w, "bundlewatch: error: %s\n", errorText(err))
		return exitConfig
	case errors.Is(err, store.ErrLocked):
		fmt.Fprintf(w, "bundlewatch: error: %s\n", errorText(err))
		return exitLocked
	}
	fmt.Fprintf(w, "bundlewatch: error: %s\n", errorText(err))
	return exitFailed
}
