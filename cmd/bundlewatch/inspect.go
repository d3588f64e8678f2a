package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func runInspect(ctx context.Context, args []string) error {
	f, err := parse("inspect", args, true, true)
	if err != nil {
		return err
	}
	if len(f.paths) != 1 {
		return &usageError{"inspect needs one path: a bundle's directory, an archive or a checkpoint"}
	}
	in, inspectErr := inspect(ctx, f)
	if usage := (*usageError)(nil); errors.As(inspectErr, &usage) {
		return usage
	}
	if in != nil {
		if err := showInspection(in, f.json); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	if inspectErr != nil {
		fmt.Fprintf(os.Stderr, "bundlewatch: error: %s\n", errorText(inspectErr))
		if bundle.IsNotCheckpoint(inspectErr) {
			return errPartial
		}
		return errFailed
	}
	return nil
}

func inspect(ctx context.Context, f flags) (*bundle.Inspection, error) {
	if !isRemote(f.paths[0]) {
		return bundle.Inspect(f.paths[0])
	}
	d, err := (&stores{config: f.config}).distant(ctx, f.paths[0])
	if err != nil {
		return nil, err
	}
	return d.Inspect()
}

func showInspection(in *bundle.Inspection, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(in)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "%s\t%s\t%s\n", in.Kind, visible(in.Path), status.Size(in.Bytes))
	if m := in.Manifest; m != nil {
		fmt.Fprintf(w, "watch %s\tkey %s\tversion %d\n", visible(m.Watch), visible(m.Key), m.Version)
		fmt.Fprintf(w, "made by %s\ton %s\tat %s\n", visible(m.Tool), visible(m.Provenance.Host), m.Provenance.Published.Format("2006-01-02 15:04:05Z07:00"))
		showProvenance(w, m.Provenance)
		if by := m.Provenance.SignedBy; by != "" {
			fmt.Fprintf(w, "signed\twith %.64s, it says: bundlewatch verify --key proves it\n", visible(by))
		}
		for _, n := range m.Notes {
			fmt.Fprintf(w, "note\t%s\n", visible(n))
		}
	}
	if len(in.Entries) > 0 {
		fmt.Fprintf(w, "\nentries\n")
	}
	for _, e := range in.Entries {
		fmt.Fprintf(w, "  %s\t%d bytes\tcrc %s\n", visible(e.Name), e.Bytes, e.CRC32)
	}
	for _, p := range in.Pickles {
		showPickle(w, p)
	}
	if in.Params != nil {
		var indented bytes.Buffer
		if err := json.Indent(&indented, in.Params, "  ", "  "); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nparams\n  %s\n", visibleJSON(indented.String()))
	}
	return w.Flush()
}

func showProvenance(w io.Writer, p bundle.Provenance) {
	for _, r := range p.Git {
		fmt.Fprintf(w, "code\t%s\t%s on %s, changed: %s\n", visible(r.Path), visible(cmp.Or(r.Commit, "no commit")), visible(cmp.Or(r.Branch, "no branch")), visible(r.Dirty))
	}
	for _, g := range p.GPUs {
		fmt.Fprintf(w, "gpu\t%s\t%s\n", visible(g.Bus), visible(cmp.Or(g.Name, g.IDs)))
	}
	for _, writer := range p.Writers {
		fmt.Fprintf(w, "writer\tpid %d, %s\t%s\n", writer.PID, visible(cmp.Or(writer.User, strconv.Itoa(int(writer.UID)))), visible(cmp.Or(writer.Exe, writer.Command)))
	}
}

func showPickle(w *tabwriter.Writer, p bundle.PickleView) {
	kind := fmt.Sprintf("pickle protocol %d", p.Protocol)
	switch {
	case p.Format != "" && p.Protocol == 0 && len(p.Imports) == 0: // most formats have no pickle
		kind = string(p.Format)
	case p.Format != "":
		kind = string(p.Format) + ", " + kind
	}
	fmt.Fprintf(w, "\n%s\t%s\n", visible(p.Name), kind)
	if p.Error != "" {
		fmt.Fprintf(w, "  cannot be read:\t%s\n", visible(p.Error))
	}
	if p.Holds != "" {
		fmt.Fprintf(w, "  holds\t%s\n", visible(p.Holds))
	}
	for _, t := range p.Tensors {
		fmt.Fprintf(w, "  tensor %s\t%s\t%s\t%d bytes\t%s\n", visible(t.Name), visible(t.DType), shape(t.Shape), t.Bytes, t.Kind)
	}
	for _, i := range p.Imports {
		mark := ""
		if i.Foreign {
			mark = "not needed by tensors"
		}
		fmt.Fprintf(w, "  imports %s\tat byte %d\t%s\n", visible(i.Name), i.Offset, mark)
	}
}

func shape(dims []int64) string {
	parts := make([]string, len(dims))
	for i, d := range dims {
		parts[i] = fmt.Sprint(d)
	}
	return "[" + strings.Join(parts, " ") + "]"
}
