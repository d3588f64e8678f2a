package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// filter says which bundles of which artifact directory a verb is about.
type filter struct {
	config, artifacts string
	store             string // a URL, in place of the artifact directory; "" for that
	watch, run, key   string
	anyRun            bool // run was not given: "" is a run, too
	sinceText         string
	since             time.Time
}

func (f *filter) flags(set *flag.FlagSet) {
	set.StringVar(&f.config, "config", "", "")
	set.StringVar(&f.artifacts, "artifacts", "", "")
	set.StringVar(&f.watch, "watch", "", "")
	set.StringVar(&f.run, "run", "", "")
	set.StringVar(&f.key, "key", "*", "")
	set.StringVar(&f.sinceText, "since", "", "")
}

// check completes a filter whose flags were read.
func (f *filter) check(set *flag.FlagSet, now time.Time) error {
	f.anyRun = true
	set.Visit(func(given *flag.Flag) { f.anyRun = f.anyRun && given.Name != "run" })
	if f.sinceText == "" {
		return nil
	}
	var err error
	f.since, err = parseSince(f.sinceText, now)
	if err != nil {
		return &usageError{fmt.Sprintf("%s: --since: %v", set.Name(), err)}
	}
	return nil
}

// parseSince reads a span back from now, such as 36h, 7d or 2w, or a time.
func parseSince(text string, now time.Time) (time.Time, error) {
	for unit, days := range map[string]int{"d": 1, "w": 7} {
		if n, err := strconv.ParseUint(strings.TrimSuffix(text, unit), 10, 16); err == nil && strings.HasSuffix(text, unit) {
			return now.AddDate(0, 0, -int(n)*days), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("found %q, expected a span such as 36h, 7d or 2w, or a time such as 2026-01-31 or 2026-01-31T10:00:00Z", text)
}

// takeStore accepts the one argument that ls and latest take: what is in a store.
func (f *filter) takeStore(verb string, others []string) error {
	if len(others) == 1 && isRemote(others[0]) && f.artifacts == "" {
		f.store = others[0]
		return nil
	}
	return (flags{paths: others}).noPaths(verb)
}

// each calls do for the bundles that are wanted, in the artifact directory or the store, proven when that is asked for.
func (f *filter) each(ctx context.Context, prove bool, do func(shelf.Bundle) error) error {
	if f.store != "" {
		return eachRemote(ctx, f, prove, do)
	}
	s, err := f.shelf()
	if err != nil {
		return err
	}
	return s.Each(ctx, f.watch, func(b shelf.Bundle) error {
		if !f.wants(b) {
			return nil
		}
		if prove {
			if b, err = shelf.Prove(ctx, b); err != nil {
				return err
			}
		}
		return do(b)
	})
}

// shelf opens the artifact directory.
func (f *filter) shelf() (*shelf.Shelf, error) {
	if f.artifacts != "" {
		return shelf.Open(f.artifacts)
	}
	c, err := load(f.config)
	if err != nil {
		return nil, err
	}
	return shelf.Open(c.Artifacts.Dir)
}

func (f *filter) wants(b shelf.Bundle) bool {
	return (f.watch == "" || b.Watch == f.watch) && (f.anyRun || b.Run == f.run) && matchesGlob(f.key, b.Key) && !b.Published.Before(f.since)
}

// matchesGlob matches * with any bytes, also none, and ? with one character.
func matchesGlob(glob, text string) bool {
	g, t := []rune(glob), []rune(text)
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(t) {
		switch {
		case i < len(g) && g[i] == '*':
			star, mark = i, j
			i++
		case i < len(g) && (g[i] == '?' || g[i] == t[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(string(g[i:]), "*") == ""
}
