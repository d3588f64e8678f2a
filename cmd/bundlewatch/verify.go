package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func runVerify(ctx context.Context, args []string) error {
	var key, detached string
	var download bool
	f, err := parse("verify", args, true, true, func(set *flag.FlagSet) {
		set.StringVar(&key, "key", "", "")
		set.StringVar(&detached, "signature", "", "")
		set.BoolVar(&download, "download", false, "")
	})
	if err != nil {
		return err
	}
	if len(f.paths) == 0 {
		return &usageError{"verify needs a path: a bundle's directory, an archive, or a directory with bundles below it"}
	}
	if key != "" && !download && slices.ContainsFunc(f.paths, isRemote) {
		return &usageError{"verify: --key reads all that was signed: give --download for what is in a store"}
	}
	p, err := newProver(key, detached, f.paths)
	if err != nil {
		return err
	}
	var verdict error
	remote := &stores{config: f.config}
	for _, path := range f.paths {
		if isRemote(path) {
			if err := verifyRemote(ctx, remote, path, p, download, f.json); err != nil && !errors.Is(err, errPartial) {
				return err
			} else if err != nil && verdict == nil {
				verdict = err
			}
			continue
		}
		bundles, err := p.find(path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bundlewatch: error: %s\n", errorText(err))
			verdict = errFailed
		}
		for _, b := range bundles {
			err := p.verify(ctx, b, b == path, f.json)
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

// verify proves one bundle and tells the result.
func (p *prover) verify(ctx context.Context, path string, named, asJSON bool) error {
	r, err := p.report(ctx, path, named)
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
	if !r.OK() {
		return showBad(r)
	}
	if asJSON {
		return nil
	}
	if _, err := fmt.Println(proven(r)); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// proven says on one line what was found.
func proven(r *bundle.Report) string {
	signed := ""
	if r.SignedBy != "" {
		signed = fmt.Sprintf(", signed with %.12s…", r.SignedBy)
	}
	switch r.Kind {
	case "tombstone":
		return fmt.Sprintf("pruned    %s (only its manifest is left%s)", visible(r.Path), signed)
	case attested:
		return fmt.Sprintf("ok        %s (attested by the store, %s)", visible(r.Path), status.Size(r.Bytes))
	case signedDirectory:
		return fmt.Sprintf("ok        %s (%s, %s, %s%s)", visible(r.Path), r.Kind, count(r.Entries, "file"), status.Size(r.Bytes), signed)
	}
	return fmt.Sprintf("ok        %s (%s, %s, %s, %s%s)", visible(r.Path), r.Kind, count(r.Entries, "file"), count(r.Tensors, "tensor"), status.Size(r.Bytes), signed)
}
