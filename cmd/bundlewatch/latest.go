package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/term"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

func runLatest(ctx context.Context, args []string) error {
	var f filter
	var verified bool
	set := flag.NewFlagSet("latest", flag.ContinueOnError)
	f.flags(set)
	set.BoolVar(&verified, "verified", false, "")
	others, err := parseSet(set, args)
	if err != nil {
		return err
	}
	if err := f.takeStore("latest", others); err != nil {
		return err
	}
	if err := f.check(set, time.Now()); err != nil {
		return err
	}
	b, err := f.latest(ctx, verified)
	if err != nil {
		return err
	}
	path := b.Path
	if term.IsTerminal(int(os.Stdout.Fd())) {
		path = visible(path)
	}
	if _, err := fmt.Println(path); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// latest finds the newest bundle in the artifact directory, or in the store.
func (f *filter) latest(ctx context.Context, verified bool) (shelf.Bundle, error) {
	if f.store != "" {
		b, err := latestRemote(ctx, f, verified)
		if err != nil {
			return b, fmt.Errorf("find the latest bundle in %q: %w", f.store, err)
		}
		return b, nil
	}
	s, err := f.shelf()
	if err != nil {
		return shelf.Bundle{}, err
	}
	b, err := latest(ctx, s, f, verified)
	if err != nil {
		return b, fmt.Errorf("find the latest bundle in %q: %w", s.Dir(), err)
	}
	return b, nil
}

// latestRemote returns the newest bundle in a store; when it is to be verified, the newest that the store attests.
func latestRemote(ctx context.Context, f *filter, verified bool) (newest shelf.Bundle, err error) {
	b, store, below, err := f.bucket()
	if err != nil {
		return newest, err
	}
	found := false
	err = b.NewestFirst(ctx, below, func(r *bucket.Remote) (more bool, err error) {
		one := shelved(store, r.Name)
		switch {
		case one.Published.Before(f.since), found && one.Published.Before(newest.Published):
			return false, nil // so are all that follow
		case !f.wants(one):
			return true, nil
		case verified:
			if err := attest(ctx, r, &one); err != nil {
				return false, err
			}
			if one.State != shelf.Verified {
				one.Reason = cmp.Or(one.Reason, "the store does not attest it")
				warnDamaged(one)
				return true, nil
			}
		}
		if !found || newer(one, newest) < 0 {
			found, newest = true, one
		}
		return true, nil
	})
	if err == nil && !found {
		err = errNone
	}
	return newest, err
}

// latest returns the newest bundle that looks well or, when it is to be verified, the newest that is proven
// now; newer ones that are not whole are named on the way.
func latest(ctx context.Context, s *shelf.Shelf, f *filter, verified bool) (shelf.Bundle, error) {
	var candidates []shelf.Bundle // only the newest one unless they are to be verified
	err := s.Each(ctx, f.watch, func(b shelf.Bundle) error {
		b.Metrics = nil
		switch {
		case !f.wants(b) || b.State == shelf.Pruned:
		case b.State == shelf.Damaged:
			warnDamaged(b)
		case verified || len(candidates) == 0:
			candidates = append(candidates, b)
		case newer(b, candidates[0]) < 0:
			candidates[0] = b
		}
		return nil
	})
	if err != nil {
		return shelf.Bundle{}, err
	}
	slices.SortFunc(candidates, newer)
	for _, b := range candidates {
		if !verified {
			return b, nil
		}
		proven, err := shelf.Prove(ctx, b)
		if ctx.Err() != nil {
			return b, ctx.Err()
		}
		if err != nil {
			proven.State, proven.Reason = shelf.Damaged, err.Error()
		}
		if proven.State == shelf.Verified {
			return proven, nil
		}
		warnDamaged(proven)
	}
	return shelf.Bundle{}, errNone
}

func warnDamaged(b shelf.Bundle) {
	fmt.Fprintf(os.Stderr, "bundlewatch: warning: passed over %s: %s\n", visible(b.Path), visible(b.Reason))
}

// newer orders the newest first; of bundles of one moment, the one with the later place.
func newer(a, b shelf.Bundle) int {
	if c := b.Published.Compare(a.Published); c != 0 {
		return c
	}
	return pattern.CompareNatural(b.Place, a.Place)
}
