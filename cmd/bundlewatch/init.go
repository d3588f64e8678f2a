package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/daemon"
	"github.com/bundlewatch/bundlewatch/internal/layout"
)

func runInit(ctx context.Context, args []string) error {
	i := &initializer{}
	set := flag.NewFlagSet("init", flag.ContinueOnError)
	set.StringVar(&i.output, "output", "bundlewatch.toml", "")
	set.StringVar(&i.artifacts, "artifacts", "", "")
	set.BoolVar(&i.stdout, "stdout", false, "")
	set.BoolVar(&i.json, "json", false, "")
	dirs, err := parseSet(set, args)
	if err != nil {
		return err
	}
	switch {
	case len(dirs) > 1:
		return &usageError{"init needs one directory, or none for the current one"}
	case i.stdout && i.json:
		return &usageError{"init: --stdout prints the config, --json what was found: choose one"}
	case len(dirs) == 0:
		dirs = []string{"."}
	}
	return i.run(ctx, dirs[0])
}

// initializer writes a config for a run tree.
type initializer struct {
	output, artifacts string
	stdout, json      bool
}

// errNoCheckpoints tells that there is nothing to bundle.
var errNoCheckpoints = errors.New("no checkpoint was found")

func (i *initializer) run(ctx context.Context, dir string) error {
	output, err := filepath.Abs(i.output)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(output); err == nil && !i.stdout {
		return fmt.Errorf("write config %q: it is there already, and init overwrites nothing: name another with --output, or use --stdout", i.output)
	}
	plan, err := layout.Look(ctx, dir)
	if err != nil {
		return err
	}
	if len(plan.Watches) == 0 {
		return i.nothing(plan)
	}
	text := plan.TOML(filepath.Dir(output), i.artifactsDir(plan.Root, filepath.Dir(output)))
	c, err := config.Parse(output, text)
	if err != nil {
		return fmt.Errorf("propose a config for %q: %w", plan.Root, err)
	}
	found, err := wouldBundle(ctx, c)
	if err != nil {
		return err
	}
	if !i.stdout {
		if err := writeNew(output, text); err != nil {
			return fmt.Errorf("write config: %w", err)
		}
	}
	return i.show(plan, text, found)
}

// nothing says what was looked at, and what to do.
func (i *initializer) nothing(plan *layout.Plan) error {
	for _, n := range plan.Notes {
		fmt.Fprintf(os.Stderr, "bundlewatch: %s\n", visible(n))
	}
	return fmt.Errorf("look at run tree %q: %w among %d files and directories: name the directory that the trainer writes into, or, if its "+
		"checkpoints have names or a format that init does not know, write the patterns yourself: docs/configuration.md", plan.Root, errNoCheckpoints, plan.Entries)
}

// artifactsDir is where the bundles are to go: beside the config, but never inside of the tree.
func (i *initializer) artifactsDir(root, configDir string) string {
	if i.artifacts != "" {
		if abs, err := filepath.Abs(i.artifacts); err == nil {
			return abs
		}
	}
	if configDir == root || strings.HasPrefix(configDir, root+"/") || root == "/" {
		return filepath.Join(filepath.Dir(root), filepath.Base(root)+"-artifacts")
	}
	if dir := filepath.Join(configDir, "artifacts"); dir != root && !strings.HasPrefix(root, dir+"/") {
		return dir
	}
	return filepath.Join(configDir, "bundles")
}

// outlook is what a watch would do now.
type outlook struct {
	Complete int      `json:"complete"`
	Waiting  int      `json:"waiting"`
	Refused  int      `json:"refused"`
	Reasons  []string `json:"reasons,omitempty"`
	Keys     []string `json:"keys"`
}

// wouldBundle looks at the tree as check does with the config.
func wouldBundle(ctx context.Context, c *config.Config) (map[string]*outlook, error) {
	found := make(map[string]*outlook)
	for i := range c.Watches {
		found[c.Watches[i].Name] = &outlook{Keys: []string{}}
	}
	err := daemon.Check(ctx, c, daemon.Options{Tool: tool(), Emit: func(e daemon.Event) {
		o := found[e.Watch]
		switch e.Kind {
		case daemon.Ready, daemon.PublishedBefore:
			o.Complete++
			o.Keys = append(o.Keys, e.Key)
		case daemon.Waiting, daemon.Expired:
			o.Waiting++
		case daemon.Refused:
			o.Refused++
			if len(o.Reasons) < 3 {
				o.Reasons = append(o.Reasons, because(e))
			}
		}
	}})
	return found, err
}

// writeNew writes a file that must not exist.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%q is there already, and init overwrites nothing", path)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func (i *initializer) show(plan *layout.Plan, text string, found map[string]*outlook) error {
	var err error
	switch {
	case i.stdout:
		_, err = io.WriteString(os.Stdout, text)
		i.report(os.Stderr, plan, found)
	case i.json:
		err = i.object(plan, found)
	default:
		err = i.report(os.Stdout, plan, found)
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func (i *initializer) object(plan *layout.Plan, found map[string]*outlook) error {
	type member struct {
		Role     string `json:"role"`
		Pattern  string `json:"pattern,omitempty"`
		Sentinel bool   `json:"sentinel,omitempty"`
		Files    int    `json:"files"`
		Unsure   string `json:"unsure,omitempty"`
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	for _, w := range plan.Watches {
		var members []member
		for _, m := range w.Members {
			members = append(members, member(m))
		}
		err := enc.Encode(struct {
			Event   string   `json:"event"`
			Watch   string   `json:"watch"`
			Layout  string   `json:"layout"`
			Root    string   `json:"root"`
			Members []member `json:"members"`
			Config  []string `json:"config"`
			Preset  string   `json:"preset,omitempty"`
			Keep    string   `json:"keep,omitempty"`
			Select  string   `json:"select,omitempty"`
			Unsure  []string `json:"unsure,omitempty"`
			*outlook
		}{"watch", w.Name, w.Layout, w.Root, members, w.Files, w.Preset, w.Keep, w.Select, w.Unsure, found[w.Name]})
		if err != nil {
			return err
		}
	}
	return enc.Encode(struct {
		Event   string   `json:"event"`
		Path    string   `json:"path"`
		Entries int      `json:"entries"`
		Notes   []string `json:"notes,omitempty"`
	}{"summary", i.output, plan.Entries, plan.Notes})
}

// report says what would be bundled, and what to look at.
func (i *initializer) report(w io.Writer, plan *layout.Plan, found map[string]*outlook) error {
	unsure := 0
	for _, watch := range plan.Watches {
		o := found[watch.Name]
		fmt.Fprintf(w, "watch     %s: %s\n", watch.Name, visible(watch.Layout))
		for _, m := range watch.Members {
			pattern := visible(m.Pattern)
			if m.Sentinel {
				pattern = "no file of its own"
			}
			fmt.Fprintf(w, "          %s = %s\n", m.Role, pattern)
			if m.Unsure != "" {
				unsure++
			}
		}
		unsure += len(watch.Unsure)
		if len(watch.Files) == 0 && watch.Preset == "" {
			unsure++
		}
		fmt.Fprintf(w, "          %d complete, %d waiting, %d refused%s\n", o.Complete, o.Waiting, o.Refused, examples(o.Keys))
		for _, r := range o.Reasons {
			fmt.Fprintf(w, "          refused: %s\n", visible(r))
		}
	}
	for _, n := range plan.Notes {
		fmt.Fprintf(w, "note      %s\n", visible(n))
	}
	if i.stdout {
		return nil
	}
	hint := "next: bundlewatch check --config " + visible(i.output)
	if unsure > 0 {
		hint = fmt.Sprintf("%s marked \"unsure\" to look at first; %s", count(unsure, "line"), hint)
	}
	_, err := fmt.Fprintf(w, "wrote     %s (%s)\n", visible(i.output), hint)
	return err
}

func examples(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	text := ": " + visible(keys[0])
	if len(keys) > 1 {
		text += " … " + visible(keys[len(keys)-1])
	}
	return text
}
