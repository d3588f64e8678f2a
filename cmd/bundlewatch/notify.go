package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/notify"
)

// runNotify sends a test to the [[notify]] blocks.
func runNotify(ctx context.Context, args []string) error {
	f, err := parse("notify", args, true, true)
	if err != nil {
		return err
	}
	c, err := load(f.config)
	if err != nil {
		return err
	}
	blocks, err := chosenBlocks(c, f.paths)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	opts := notify.Options{Tool: tool(), Host: host, Now: time.Now}
	message := notify.Message{Event: config.NotifyTest, Text: "this is a test of bundlewatch on " + host}
	failed := false
	for _, b := range blocks {
		why := notify.Send(ctx, b, message, opts)
		failed = failed || why != nil
		if err := tellTest(b, why, f.json); err != nil {
			return fmt.Errorf("write results: %w", err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if failed {
		return errFailed
	}
	return nil
}

// chosenBlocks are the blocks with those names, all when none is given.
func chosenBlocks(c *config.Config, names []string) ([]config.Notify, error) {
	if len(c.Notify) == 0 {
		return nil, fmt.Errorf("there is no [[notify]] in %s", c.Path)
	}
	if len(names) == 0 {
		return c.Notify, nil
	}
	var blocks []config.Notify
	for _, name := range names {
		i := slices.IndexFunc(c.Notify, func(b config.Notify) bool { return b.Name == name })
		if i < 0 {
			return nil, &usageError{fmt.Sprintf("notify: there is no [[notify]] %q in %s", name, c.Path)}
		}
		blocks = append(blocks, c.Notify[i])
	}
	return blocks, nil
}

// tellTest tells whether a block took the test. Of a URL only the host is told.
func tellTest(b config.Notify, why error, asJSON bool) error {
	to := "webhook"
	if b.Command != nil {
		to = "command " + b.Command[0]
	} else if u, err := url.Parse(b.URL); err == nil && u.Host != "" {
		to += " " + u.Host
	}
	result, text, reason := "taken", to, ""
	if why != nil {
		reason = why.Error()
		result, text = "failed", reason
	}
	if asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(struct {
			Event  string `json:"event"`
			Name   string `json:"name"`
			To     string `json:"to"`
			Reason string `json:"reason,omitempty"`
		}{result, b.Name, to, reason})
	}
	out := os.Stdout
	if why != nil {
		out = os.Stderr
	}
	_, err := fmt.Fprintf(out, "%-9s %s: %s\n", result, visible(b.Name), visible(text))
	return err
}
