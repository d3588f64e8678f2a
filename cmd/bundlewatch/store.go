package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func runStore(ctx context.Context, args []string) error {
	verb, rest := "", args
	if len(args) > 0 {
		verb, rest = args[0], args[1:]
	}
	switch verb {
	case "prune":
		return runStorePrune(ctx, rest)
	case "sweep":
		return runStoreSweep(ctx, rest)
	case "probe":
		return runStoreProbe(ctx, rest)
	case "-h", "-help", "--help":
		return errHelp
	}
	return &usageError{fmt.Sprintf("store needs prune, sweep or probe, found %q", verb)}
}

// storeNames are the stores that a verb is about: those that are named, else all of the config.
func (s *stores) names(given []string) ([]string, error) {
	if len(given) > 0 {
		return given, nil
	}
	c, err := load(s.config)
	if err != nil {
		return nil, err
	}
	s.loaded = c
	var names []string
	for _, st := range c.Stores {
		names = append(names, st.Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no [[store]] in %s", c.Path)
	}
	return names, nil
}

func runStorePrune(ctx context.Context, args []string) error {
	reason := "pruned by hand"
	f, err := parse("store prune", args, true, true, func(set *flag.FlagSet) { set.StringVar(&reason, "reason", reason, "") })
	if err != nil {
		return err
	}
	if len(f.paths) == 0 {
		return &usageError{"store prune needs a bundle: s3://store/watch/run/key"}
	}
	s := &stores{config: f.config}
	for _, url := range f.paths {
		if !isRemote(url) {
			return &usageError{fmt.Sprintf("store prune: %q is not in a store: s3://store/watch/run/key", url)}
		}
		var conflict *bucket.Conflict
		if _, err := s.bundle(ctx, url); err != nil && !errors.As(err, &conflict) {
			return err
		}
		b, place, err := s.find(url)
		if err != nil {
			return err
		}
		if err := b.Bury(ctx, place, "", reason); err != nil {
			return err
		}
		if err := tellStore(f.json, map[string]any{"event": "buried", "path": url, "reason": reason}, "buried    %s: a sweep removes it a day from now\n", visible(url)); err != nil {
			return err
		}
	}
	return nil
}

func runStoreSweep(ctx context.Context, args []string) error {
	var watch string
	var dry bool
	f, err := parse("store sweep", args, true, true, func(set *flag.FlagSet) {
		set.StringVar(&watch, "watch", "", "")
		set.BoolVar(&dry, "dry-run", false, "")
	})
	if err != nil {
		return err
	}
	s := &stores{config: f.config}
	names, err := s.names(f.paths)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := sweepStore(ctx, s, name, watch, dry, f.json); err != nil {
			return fmt.Errorf("store %q: %w", name, err)
		}
	}
	return nil
}

func sweepStore(ctx context.Context, s *stores, name, watch string, dry, asJSON bool) error {
	b, err := s.open(name)
	if err != nil {
		return err
	}
	o := bucket.SweepOptions{DryRun: dry}
	if watch != "" {
		o.Within = watch + "/"
	}
	word := map[bool]string{true: "would", false: "removed"}[dry]
	objects, bytes := 0, int64(0)
	var lost error // a result that could not be written
	o.Removed = func(r bucket.Removal) {
		objects, bytes = objects+1, bytes+max(r.Size, 0)
		err := tellStore(asJSON, map[string]any{"event": word, "store": name, "object": r.Key, "upload": r.Upload, "bytes": max(r.Size, 0), "reason": r.Reason},
			"%-9s %s: %s\n", word, visible(r.Key), r.Reason)
		lost = errors.Join(lost, err)
	}
	if err := errors.Join(b.Sweep(ctx, o), lost); err != nil {
		return err
	}
	return tellStore(asJSON, map[string]any{"event": "swept", "store": name, "objects": objects, "bytes": bytes, "dry_run": dry},
		"%s: %s, %s\n", name, count(objects, "object"), status.Size(bytes))
}

func runStoreProbe(ctx context.Context, args []string) error {
	f, err := parse("store probe", args, true, true)
	if err != nil {
		return err
	}
	s := &stores{config: f.config}
	names, err := s.names(f.paths)
	if err != nil {
		return err
	}
	var verdict error
	for _, name := range names {
		b, err := s.open(name)
		if err != nil {
			return err
		}
		p, err := b.Probe(ctx)
		var unfit *bucket.Unfit
		if err != nil && !errors.As(err, &unfit) {
			return fmt.Errorf("store %q: %w", name, err)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "bundlewatch: error: store %q: %s\n", name, errorText(err))
			verdict = errPartial
		}
		if err := showProbe(os.Stdout, name, p, unfit == nil, f.json); err != nil {
			return err
		}
	}
	return verdict
}

func showProbe(w io.Writer, name string, p bucket.Probe, fit, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Store string       `json:"store"`
			Class status.Class `json:"class"`
			Fit   bool         `json:"fit"`
			Lacks []string     `json:"lacks,omitempty"`
			Ahead float64      `json:"clock_ahead_seconds,omitempty"`
			At    time.Time    `json:"at"`
		}{name, p.Class, fit, p.Lacks, p.Ahead.Seconds(), p.At.UTC().Truncate(time.Second)})
	}
	if _, err := fmt.Fprintf(w, "%s: class %s\n", name, p.Class); err != nil {
		return err
	}
	if clocks := status.ClockText(p.Ahead.Seconds()); clocks != "" {
		fmt.Fprintf(os.Stderr, "bundlewatch: warning: store %q: %s\n", name, clocks)
	}
	for _, l := range p.Lacks {
		if _, err := fmt.Fprintf(w, "  %s\n", l); err != nil {
			return err
		}
	}
	return nil
}

// tellStore writes a result as JSON or for people.
func tellStore(asJSON bool, object map[string]any, format string, args ...any) error {
	var err error
	if asJSON {
		err = json.NewEncoder(os.Stdout).Encode(object)
	} else {
		_, err = fmt.Printf(format, args...)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
