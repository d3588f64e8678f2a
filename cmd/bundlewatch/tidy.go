package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/bundlewatch/bundlewatch/internal/daemon"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/internal/tidy"
)

func runTidy(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "undo" {
		return runUndo(ctx, args[1:])
	}
	var how tidy.Options
	f, err := parse("tidy", args, true, true, func(set *flag.FlagSet) {
		set.BoolVar(&how.DryRun, "dry-run", false, "")
		set.BoolVar(&how.Resume, "resume", false, "")
	})
	if err != nil {
		return err
	}
	if err := f.noPaths("tidy"); err != nil {
		return err
	}
	if how.DryRun && how.Resume {
		return &usageError{"tidy: --resume changes something, --dry-run does not: give one of them"}
	}
	c, err := load(f.config)
	if err != nil {
		return err
	}
	if len(c.Tidies) == 0 {
		return fmt.Errorf("%w: %q has no [[tidy]] block: write what is to be moved, and where to", errConfig, c.Path)
	}
	t := &teller{verb: "tidy", json: f.json, out: os.Stdout, err: os.Stderr}
	if err := daemon.Tidy(ctx, c, daemon.Options{Tool: tool(), Emit: t.tell}, how); err != nil {
		return err
	}
	return t.summary()
}

func runUndo(ctx context.Context, args []string) error {
	var names string
	f, err := parse("tidy undo", args, false, true, func(set *flag.FlagSet) { set.StringVar(&names, "only", "", "") })
	if err != nil {
		return err
	}
	if len(f.paths) != 1 {
		return &usageError{fmt.Sprintf("tidy undo takes one directory, found %d", len(f.paths))}
	}
	var only *pattern.Pattern
	if names != "" {
		if only, err = pattern.Compile(names); err != nil || len(only.Placeholders()) > 0 {
			return &usageError{fmt.Sprintf("tidy undo: --only %q is no name with * and ?", names)}
		}
	}
	t := &teller{verb: "tidy undo", json: f.json, out: os.Stdout, err: os.Stderr}
	if err := daemon.Undo(ctx, f.paths[0], only, daemon.Options{Tool: tool(), Emit: t.tell}); err != nil {
		return err
	}
	return t.summary()
}

// describeStray writes an event about a stray on one line for people.
func describeStray(e daemon.Event) (line string, ok bool) {
	word := map[daemon.Kind]string{
		daemon.Tidied: "moved", daemon.TidyReady: "stray", daemon.TidyLeft: "left", daemon.TidyRefused: "refused", daemon.TidyFailed: "failed",
		daemon.TidyStopped: "stopped", daemon.TidyGone: "failed", daemon.TidyBack: "back", daemon.TidyResolved: "resolved",
		daemon.TidyRestored: "restored", daemon.UndoRefused: "refused",
	}[e.Kind]
	if word == "" {
		return "", false
	}
	subject := e.Path
	if subject == "" {
		subject = e.Root
	}
	line = fmt.Sprintf("%-9s %s", word, visible(subject))
	if e.To != "" {
		line += " -> " + visible(e.To)
	}
	if e.Kind == daemon.Tidied || e.Kind == daemon.TidyReady {
		line += fmt.Sprintf(" (%s%s)", status.Size(e.Bytes), gitNote(e.Git))
	}
	if e.Reason != "" {
		line += ": " + visible(e.Reason)
	}
	return line, true
}

func gitNote(git string) string {
	if git == "" || git == string(tidy.GitNone) {
		return ""
	}
	return ", " + git
}
