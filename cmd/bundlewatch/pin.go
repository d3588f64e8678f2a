package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

func runPin(ctx context.Context, args []string) error {
	return changePins(ctx, "pin", args, func(s *shelf.Shelf, b shelf.Bundle) (bool, error) {
		return s.Pin(b.Place, tool(), time.Now())
	})
}

func runUnpin(ctx context.Context, args []string) error {
	return changePins(ctx, "unpin", args, func(s *shelf.Shelf, b shelf.Bundle) (bool, error) { return s.Unpin(b.Place) })
}

// changePins does the same to every bundle that the arguments name.
func changePins(ctx context.Context, verb string, args []string, change func(*shelf.Shelf, shelf.Bundle) (bool, error)) error {
	var f filter
	var asJSON bool
	set := flag.NewFlagSet(verb, flag.ContinueOnError)
	f.flags(set)
	set.BoolVar(&asJSON, "json", false, "")
	keys, err := parseSet(set, args)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return &usageError{verb + " needs a key, or the path of a bundle"}
	}
	if err := f.check(set, time.Now()); err != nil {
		return err
	}
	s, err := f.shelf()
	if err != nil {
		return err
	}
	named, err := resolve(ctx, s, &f, keys)
	if err != nil {
		return err
	}
	for _, b := range named {
		changed, err := change(s, b)
		if err != nil {
			return err
		}
		if err := tellPin(verb, b, changed, asJSON); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	return nil
}

func tellPin(verb string, b shelf.Bundle, changed, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(struct {
			Watch   string `json:"watch"`
			Key     string `json:"key"`
			Version int    `json:"version"`
			Path    string `json:"path"`
			Pinned  bool   `json:"pinned"`
			Changed bool   `json:"changed"`
		}{b.Watch, b.Key, b.Version, b.Path, verb == "pin", changed})
	}
	note := ""
	if !changed {
		note = " (as before)"
	}
	_, err := fmt.Printf("%-9s %s %s -> %s%s\n", verb+"ned", b.Watch, visible(versionedKey(b)), visible(b.Path), note)
	return err
}

// resolve finds the bundles that keys or paths name. A key names all its versions, a key with ~2 that one.
// It is an error when one names nothing, or bundles of several watches.
func resolve(ctx context.Context, s *shelf.Shelf, f *filter, names []string) ([]shelf.Bundle, error) {
	found := make(map[string][]shelf.Bundle)
	err := s.Each(ctx, f.watch, func(b shelf.Bundle) error {
		for _, name := range names {
			if f.wants(b) && isNamed(s, b, name) {
				found[name] = append(found[name], b)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []shelf.Bundle
	for _, name := range names {
		bundles := found[name]
		if len(bundles) == 0 {
			return nil, fmt.Errorf("find bundle %q in %q: %w", name, s.Dir(), errNone)
		}
		for _, b := range bundles {
			if b.Watch != bundles[0].Watch {
				return nil, fmt.Errorf("find bundle %q in %q: watches %q and %q both have it: name one with --watch", name, s.Dir(), bundles[0].Watch, b.Watch)
			}
		}
		all = append(all, bundles...)
	}
	return all, nil
}

func isNamed(s *shelf.Shelf, b shelf.Bundle, name string) bool {
	_, below, _ := strings.Cut(b.Place, "/")
	if name == b.Key || name == below || name == b.Place {
		return true
	}
	abs, err := filepath.Abs(name)
	return err == nil && abs == filepath.Join(s.Dir(), b.Place)
}
