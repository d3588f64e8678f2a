package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/daemon"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func runOnce(ctx context.Context, args []string) error {
	noSend := false
	more := func(set *flag.FlagSet) { set.BoolVar(&noSend, "no-send", false, "") }
	return pass(ctx, "once", args, more, func(ctx context.Context, f flags, opts daemon.Options) error {
		opts.NoSend = noSend
		c, err := load(f.config)
		if err != nil {
			return err
		}
		opts.Progress = newBar("packing")
		bar, tell := newSendingBar(), opts.Emit
		defer bar.End()
		opts.Sending, opts.Emit = bar.Show, func(e daemon.Event) {
			bar.Clear()
			tell(e)
		}
		return daemon.Once(ctx, c, opts)
	})
}

func runCheck(ctx context.Context, args []string) error {
	return pass(ctx, "check", args, nil, func(ctx context.Context, f flags, opts daemon.Options) error {
		c, err := load(f.config)
		if err != nil {
			return err
		}
		if err := checkKey(c); err != nil {
			return err
		}
		if !f.json {
			fmt.Printf("config    %s\n", visible(c.Path))
			if c.Artifacts.Dir != "" {
				fmt.Printf("artifacts %s\n", visible(c.Artifacts.Dir))
			}
		}
		return daemon.Check(ctx, c, opts)
	})
}

// pass runs a verb that goes over all sets once and tells what it found. more defines the flags that it has besides the
// usual ones; it may be nil.
func pass(ctx context.Context, verb string, args []string, more func(*flag.FlagSet), work func(context.Context, flags, daemon.Options) error) error {
	var own []func(*flag.FlagSet)
	if more != nil {
		own = append(own, more)
	}
	f, err := parse(verb, args, true, true, own...)
	if err != nil {
		return err
	}
	if err := f.noPaths(verb); err != nil {
		return err
	}
	t := &teller{verb: verb, json: f.json, out: os.Stdout, err: os.Stderr}
	if err := work(ctx, f, daemon.Options{Tool: tool(), Emit: t.tell}); err != nil {
		return err
	}
	return t.summary()
}

// teller writes the events of a pass: results to standard output, refusals and failures to standard error.
type teller struct {
	verb     string
	json     bool
	out, err io.Writer
	counts   daemon.Counts
	lost     error // a result that could not be written
}

func (t *teller) tell(e daemon.Event) {
	t.counts.Add(e.Kind)
	if t.json {
		t.object(e)
	}
	switch e.Kind {
	case daemon.Refused, daemon.Failed, daemon.RootGone, daemon.Unsendable, daemon.Unsent, daemon.TidyRefused, daemon.TidyFailed, daemon.TidyStopped, daemon.TidyGone, daemon.UndoRefused:
		fmt.Fprintln(t.err, describe(e))
	default:
		if !t.json {
			t.line(describe(e))
		}
	}
}

func (t *teller) line(text string) {
	_, err := fmt.Fprintln(t.out, text)
	t.lost = cmp.Or(t.lost, err)
}

func (t *teller) object(v any) {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	t.lost = cmp.Or(t.lost, enc.Encode(v))
}

// summary ends a pass: the totals, and the error that makes the exit code.
func (t *teller) summary() error {
	if t.json {
		t.object(struct {
			Event string `json:"event"`
			daemon.Counts
		}{"summary", t.counts})
	} else {
		t.line(totals(t.counts))
	}
	switch {
	case t.lost != nil:
		return fmt.Errorf("write results: %w", t.lost)
	case t.counts.Failed > 0:
		return errFailed
	case t.counts.Refused > 0:
		return errPartial
	}
	return nil
}

func totals(c daemon.Counts) string {
	parts := []string{}
	for _, p := range []struct {
		n    int
		what string
	}{{c.Bundled, "bundled"}, {c.Ready, "complete"}, {c.PublishedBefore, "published before"}, {c.Waiting, "waiting"},
		{c.Sent, "sent"}, {c.Refused, "refused"}, {c.Failed, "failed"}, {c.Skipped, "passed over"},
		{c.Tidied, "moved"}, {c.TidyReady, "to move"}, {c.TidyLeft, "left alone"}, {c.TidyRestored, "restored"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return "nothing matches"
	}
	return strings.Join(parts, ", ")
}

// describe writes an event on one line for people.
func describe(e daemon.Event) string {
	if line, ok := describeStray(e); ok {
		return line
	}
	subject := e.Watch
	if e.Key != "" {
		subject += " " + visible(e.Key)
	}
	switch e.Kind {
	case daemon.Watched:
		return fmt.Sprintf("watch     %s: %s: %s, %s", subject, visible(e.Path), count(e.Files, "matching file"), count(e.Sets, "set"))
	case daemon.Bundled:
		return fmt.Sprintf("bundled   %s -> %s (%s, %s, %s, %s%s)", subject, visible(e.Path), count(len(e.Members), "member"),
			count(e.Tensors, "tensor"), status.Size(e.Bytes), seconds(e.Seconds), noted(e))
	case daemon.PublishedBefore:
		return fmt.Sprintf("published %s -> %s (before, with the same content)", subject, visible(e.Path))
	case daemon.Ready:
		return fmt.Sprintf("complete  %s: %s", subject, visible(strings.Join(e.Members, ", ")))
	case daemon.Waiting:
		return fmt.Sprintf("waiting   %s: %s", subject, visible(strings.Join(e.Waits, "; ")))
	case daemon.Refused:
		return fmt.Sprintf("refused   %s: %s", subject, because(e))
	case daemon.Failed:
		return fmt.Sprintf("failed    %s: %s", subject, because(e))
	case daemon.RootGone:
		return fmt.Sprintf("failed    %s: root %s: %s", subject, visible(e.Path), visible(e.Reason))
	case daemon.Sent:
		return fmt.Sprintf("sent      %s -> %s (%s, %s)", subject, visible(e.Destination), status.Size(e.Bytes), seconds(e.Seconds))
	case daemon.Unsendable:
		return fmt.Sprintf("refused   %s: %s does not take it: %s", subject, visible(e.Destination), visible(e.Reason))
	case daemon.Unsent:
		return fmt.Sprintf("unsent    %s: %s", subject, visible(e.Reason))
	case daemon.Skipped:
		return fmt.Sprintf("skipped   %s: %s", subject, because(e))
	}
	return fmt.Sprintf("%-9s %s: %s", e.Kind, subject, because(e))
}

// noted says how many notes the manifest of a bundle has.
func noted(e daemon.Event) string {
	if len(e.Notes) == 0 {
		return ""
	}
	return ", " + count(len(e.Notes), "note")
}

// because names the member and the file that an event is about, and the reason.
func because(e daemon.Event) string {
	var parts []string
	if e.Role != "" {
		parts = append(parts, e.Role)
	}
	if e.Path != "" {
		parts = append(parts, visible(e.Path))
	}
	return strings.Join(append(parts, visible(e.Reason)), ": ")
}
