package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

func runVerify(ctx context.Context, args []string) error {
	var download bool
	f, err := parse("verify", args, true, true, func(set *flag.FlagSet) { set.BoolVar(&download, "download", false, "") })
	if err != nil {
		return err
	}
	if len(f.paths) == 0 {
		return &usageError{"verify needs a path: a bundle's directory, an archive, or a directory with bundles below it"}
	}
	var verdict error
	remote := &stores{config: f.config}
	for _, path := range f.paths {
		if isRemote(path) {
			if err := verifyRemote(ctx, remote, path, download, f.json); err != nil && !errors.Is(err, errPartial) {
				return err
			} else if err != nil && verdict == nil {
				verdict = err
			}
			continue
		}
		bundles, err := bundle.Find(path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bundlewatch: error: %s\n", errorText(err))
			verdict = errFailed
		}
		for _, b := range bundles {
			err := verifyOne(ctx, b, f.json)
			if ctx.Err() != nil {
				return fmt.Errorf("verify %q: %w", b, ctx.Err())
			}
			if err != nil && !errors.Is(verdict, errFailed) {
				verdict = err
			}
		}
	}
	return verdict
}

func verifyOne(ctx context.Context, path string, asJSON bool) error {
	r, err := bundle.Verify(ctx, path)
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "bundlewatch: error: verify %q: %s\n", path, errorText(err))
		}
		return errFailed
	}
	return showReport(r, asJSON)
}

// showReport tells what a verification found. The error is that of a bundle that is not what it claims to be.
func showReport(r *bundle.Report, asJSON bool) error {
	path := r.Path
	if asJSON {
		if err := json.NewEncoder(os.Stdout).Encode(struct {
			OK bool `json:"ok"`
			*bundle.Report
		}{r.OK(), r}); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(os.Stderr, "warning   %s: %s\n", visible(path), visible(w))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(os.Stderr, "bad       %s: %s\n", visible(path), visible(p))
	}
	if !r.OK() {
		return errPartial
	}
	if !asJSON && r.Kind == "tombstone" {
		if _, err := fmt.Printf("pruned    %s (only its manifest is left)\n", visible(path)); err != nil {
			return fmt.Errorf("write results: %w", err)
		}
		return nil
	}
	if !asJSON && r.Entries == 0 && r.Kind == "bundle in a store" {
		if _, err := fmt.Printf("ok        %s (attested by the store, %s)\n", visible(path), size(r.Bytes)); err != nil {
			return fmt.Errorf("write results: %w", err)
		}
		return nil
	}
	if !asJSON {
		if _, err := fmt.Printf("ok        %s (%s, %s, %s, %s)\n", visible(path), r.Kind, count(r.Entries, "file"), count(r.Tensors, "tensor"),
			size(r.Bytes)); err != nil {
			return fmt.Errorf("write results: %w", err)
		}
	}
	return nil
}
