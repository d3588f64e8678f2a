package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

func runDiff(ctx context.Context, args []string) error {
	var role, configFile string
	var asJSON bool
	set := flag.NewFlagSet("diff", flag.ContinueOnError)
	set.StringVar(&role, "role", "", "")
	set.BoolVar(&asJSON, "json", false, "")
	set.StringVar(&configFile, "config", "", "")
	paths, err := parseSet(set, args)
	if err != nil {
		return err
	}
	if len(paths) != 2 {
		return &usageError{"diff needs two paths, each of a bundle's directory, an archive or a checkpoint"}
	}
	s := &stores{config: configFile}
	a, err := s.at(ctx, paths[0])
	if err != nil {
		return err
	}
	b, err := s.at(ctx, paths[1])
	if err != nil {
		return err
	}
	d, err := bundle.Compare(ctx, a, b, role)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	if asJSON {
		err = json.NewEncoder(out).Encode(d)
	} else {
		showDifference(out, d)
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if !d.Same {
		return errPartial
	}
	return nil
}

func showDifference(w io.Writer, d *bundle.Difference) {
	fmt.Fprintf(w, "a  %s\nb  %s\n", visible(d.A), visible(d.B))
	for _, p := range d.Params {
		fmt.Fprintf(w, "param   %s: %s -> %s\n", visible(p.Key), paramText(p.A), paramText(p.B))
	}
	for _, r := range d.Roles {
		fmt.Fprintf(w, "role    %s: only in %s\n", visible(r.Role), r.In)
	}
	for _, t := range d.Tensors {
		name := t.Name
		if t.Role != "" {
			name = t.Role + ": " + name
		}
		fmt.Fprintf(w, "tensor  %s: %s\n", visible(name), tensorText(t))
	}
	for _, n := range d.Notes {
		fmt.Fprintf(w, "note    %s\n", visible(n))
	}
	verdict := "they differ: " + strings.Join([]string{count(len(d.Params), "param"), count(len(d.Roles), "role"), count(len(d.Tensors), "tensor")}, ", ")
	if d.Same {
		verdict = "no difference"
	}
	fmt.Fprintf(w, "%s; %s equal\n", verdict, count(d.Equal, "tensor"))
}

func paramText(v json.RawMessage) string {
	const most = 200
	if v == nil {
		return "(absent)"
	}
	text := string(v)
	if len(text) > most {
		text = text[:most] + "…"
	}
	return visible(text)
}

func tensorText(t bundle.TensorDiff) string {
	switch {
	case t.B == nil:
		return fmt.Sprintf("only in a, %s %s", visible(t.A.DType), shape(t.A.Shape))
	case t.A == nil:
		return fmt.Sprintf("only in b, %s %s", visible(t.B.DType), shape(t.B.Shape))
	}
	parts := []string{}
	for _, what := range t.Differ {
		switch what {
		case "dtype":
			parts = append(parts, fmt.Sprintf("dtype %s -> %s", visible(t.A.DType), visible(t.B.DType)))
		case "shape":
			parts = append(parts, fmt.Sprintf("shape %s -> %s", shape(t.A.Shape), shape(t.B.Shape)))
		case "content":
			parts = append(parts, fmt.Sprintf("content %.12s -> %.12s", t.A.SHA256, t.B.SHA256))
		}
	}
	return strings.Join(parts, ", ")
}
