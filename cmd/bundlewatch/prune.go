package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/daemon"
	"github.com/bundlewatch/bundlewatch/internal/retention"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func runPrune(ctx context.Context, args []string) error {
	p := &pruner{}
	set := flag.NewFlagSet("prune", flag.ContinueOnError)
	set.StringVar(&p.config, "config", "", "")
	set.StringVar(&p.filter.watch, "watch", "", "")
	set.StringVar(&p.filter.run, "run", "", "")
	set.BoolVar(&p.dryRun, "dry-run", false, "")
	set.BoolVar(&p.json, "json", false, "")
	others, err := parseSet(set, args)
	if err != nil {
		return err
	}
	if err := (flags{paths: others}).noPaths("prune"); err != nil {
		return err
	}
	p.filter.key = "*"
	if err := p.filter.check(set, time.Now()); err != nil {
		return err
	}
	c, err := load(p.config)
	if err != nil {
		return err
	}
	s, err := shelf.Open(c.Artifacts.Dir)
	if err != nil {
		return err
	}
	return p.prune(ctx, c, s)
}

// pruner tells what retention does.
type pruner struct {
	config                       string
	filter                       filter
	dryRun, json                 bool
	pruned, kept, failed, before int
	freed                        int64
	lost                         error // a result that could not be written
}

func (p *pruner) prune(ctx context.Context, c *config.Config, s *shelf.Shelf) error {
	if p.filter.watch != "" && !slices.ContainsFunc(c.Watches, func(w config.Watch) bool { return w.Name == p.filter.watch }) {
		return &usageError{fmt.Sprintf("prune: --watch: there is no watch %q in %s", p.filter.watch, c.Path)}
	}
	decisions, err := daemon.PlanRetention(ctx, c, s, p.filter.watch, time.Now(), p.filter.wants)
	if err != nil {
		return fmt.Errorf("list bundles: %w", err)
	}
	retention.Withhold(decisions, daemon.Unproved(ctx, c, tool()))
	for _, d := range decisions {
		p.tellKept(d)
	}
	if p.dryRun {
		for _, d := range decisions {
			if d.Prune {
				p.done(d, d.Bundle.Archive.Bytes, nil)
			}
		}
	} else {
		p.bury(ctx, c, decisions)
		retention.Apply(s, decisions, tool(), time.Now(), p.done)
	}
	return p.summary()
}

// bury puts the tombs in the stores first. What gets none stays.
func (p *pruner) bury(ctx context.Context, c *config.Config, decisions []retention.Decision) {
	var graves daemon.Graves
	defer graves.Close()
	for i := range decisions {
		d := &decisions[i]
		if !d.Prune {
			continue
		}
		if err := graves.Bury(ctx, c, *d); err != nil {
			p.done(*d, 0, err)
			d.Prune = false
		}
	}
}

func (p *pruner) tellKept(d retention.Decision) {
	switch {
	case d.Prune:
	case d.Bundle.State == shelf.Pruned:
		p.before++
	default:
		p.kept++
		p.tell("kept", d, 0, "")
	}
}

func (p *pruner) done(d retention.Decision, freed int64, err error) {
	switch {
	case errors.Is(err, shelf.ErrKept):
		p.kept++
		p.tell("kept", d, 0, err.Error())
	case err != nil:
		p.failed++
		p.tell("failed", d, 0, err.Error())
	default:
		p.pruned++
		p.freed += freed
		p.tell("pruned", d, freed, "")
	}
}

// tell writes a line about a bundle; failures go to standard error.
func (p *pruner) tell(what string, d retention.Decision, freed int64, reason string) {
	b := d.Bundle
	if reason == "" {
		reason = d.Why
	}
	if what == "failed" {
		fmt.Fprintf(os.Stderr, "failed    %s %s: %s\n", visible(b.Watch), visible(versionedKey(b)), visible(reason))
	}
	if p.json {
		p.object(struct {
			Event   string `json:"event"`
			DryRun  bool   `json:"dry_run,omitempty"`
			Watch   string `json:"watch"`
			Run     string `json:"run"`
			Key     string `json:"key"`
			Version int    `json:"version"`
			Bytes   int64  `json:"bytes"`
			Path    string `json:"path"`
			Reason  string `json:"reason"`
		}{what, p.dryRun, b.Watch, b.Run, b.Key, b.Version, b.Archive.Bytes, b.Path, reason})
		return
	}
	if what == "failed" {
		return
	}
	if p.dryRun && what == "pruned" {
		what = "would go"
	}
	note := ""
	if freed > 0 {
		note = " (" + status.Size(freed) + ")"
	}
	_, err := fmt.Printf("%-9s %s %s%s: %s\n", what, visible(b.Watch), visible(versionedKey(b)), note, visible(reason))
	if p.lost == nil {
		p.lost = err
	}
}

func (p *pruner) object(v any) {
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); p.lost == nil {
		p.lost = err
	}
}

func (p *pruner) summary() error {
	if p.json {
		p.object(struct {
			Event  string `json:"event"`
			DryRun bool   `json:"dry_run,omitempty"`
			Pruned int    `json:"pruned"`
			Bytes  int64  `json:"bytes"`
			Kept   int    `json:"kept"`
			Before int    `json:"pruned_before"`
			Failed int    `json:"failed"`
		}{"summary", p.dryRun, p.pruned, p.freed, p.kept, p.before, p.failed})
	} else {
		verb := "pruned"
		if p.dryRun {
			verb = "would be pruned"
		}
		_, err := fmt.Printf("%d %s (%s), %d kept, %d pruned before\n", p.pruned, verb, status.Size(p.freed), p.kept, p.before)
		if p.lost == nil {
			p.lost = err
		}
	}
	switch {
	case p.lost != nil:
		return fmt.Errorf("write results: %w", p.lost)
	case p.failed > 0:
		return errFailed
	}
	return nil
}
