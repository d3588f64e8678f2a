package layout

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
)

// TOML writes the plan as a bundlewatch.toml with comments, for a file in the directory configDir, with bundles
// in the directory artifacts. A plan without watches has none.
func (p *Plan) TOML(configDir, artifacts string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by bundlewatch init, from what it found below %s.\n", comment(p.Root))
	b.WriteString("# Look at the lines that say \"unsure\", then try it: bundlewatch check. Every key is described in docs/configuration.md.\n")
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "# %s\n", comment(n))
	}
	fmt.Fprintf(&b, "\n[artifacts]\ndir = %s   # bundles are published to <dir>/<watch name>/<key>/\n", quote(relative(configDir, artifacts)))
	for i := range p.Watches {
		p.Watches[i].write(&b, relative(configDir, p.Watches[i].Root))
	}
	b.WriteString(retentionHint)
	return b.String()
}

const retentionHint = `
# Which bundles keep their archive; without this all do. See docs/retention.md.
# [retention]
# keep_last = 10
# keep_best = { metric = "val_loss", mode = "min", n = 3 }
`

func (w *Watch) write(b *strings.Builder, root string) {
	fmt.Fprintf(b, "\n\n# %s\n", comment(w.Layout))
	for _, e := range w.Examples[:min(len(w.Examples), 4)] {
		fmt.Fprintf(b, "#   such as %s\n", comment(e))
	}
	for _, n := range append(w.Notes, w.Unsure...) {
		fmt.Fprintf(b, "# %s\n", comment(n))
	}
	fmt.Fprintf(b, "[[watch]]\nname = %s\nroot = %s\n\n[watch.members]   # role = where its checkpoints are; {…} captures what names the bundle\n", quote(w.Name), quote(root))
	width := 0
	for _, m := range w.Members {
		width = max(width, len(key(m.Role)))
	}
	for _, m := range w.Members {
		value := quote(m.Pattern)
		if m.Sentinel {
			value = "{ sentinel = true }   # no file of its own: the other member holds both"
		}
		note := ""
		if m.Unsure != "" {
			note = "   # " + comment(m.Unsure)
		}
		fmt.Fprintf(b, "%-*s = %s%s\n", width, key(m.Role), value, note)
	}
	w.writeConfig(b)
	switch {
	case w.Keep != "":
		fmt.Fprintf(b, "\n[watch.payload]\nkeep = %s\n", quote(w.Keep))
	case w.Select != "":
		fmt.Fprintf(b, "\n[watch.payload]\nselect = %s   # the entry of the checkpoints that holds the weights\n", quote(w.Select))
	}
}

func (w *Watch) writeConfig(b *strings.Builder) {
	if len(w.Files) == 0 && w.Preset != "" {
		b.WriteString("\n# No config files were found: the configs are those in the checkpoints themselves.")
	} else if len(w.Files) == 0 {
		b.WriteString("\n# unsure: no config files were found; if the runs have some, freeze them with every bundle:\n# [watch.config]\n# files = [\"{run...}/config.yaml\"]\n")
		if len(w.Metrics) == 0 && w.Preset == "" {
			return
		}
	}
	b.WriteString("\n[watch.config]   # frozen into every bundle, and turned into its params\n")
	writeList(b, "files", w.Files)
	if w.Preset != "" {
		fmt.Fprintf(b, "preset = %s\nrequired = [\"N\", \"gridsize\"]\n", quote(w.Preset))
	}
	writeList(b, "metrics", w.Metrics)
}

func writeList(b *strings.Builder, name string, items []string) {
	if len(items) == 0 {
		return
	}
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = quote(item)
	}
	if text := strings.Join(quoted, ", "); len(text) < 90 {
		fmt.Fprintf(b, "%s = [%s]\n", name, text)
		return
	}
	fmt.Fprintf(b, "%s = [\n    %s,\n]\n", name, strings.Join(quoted, ",\n    "))
}

// relative writes a path as it is found from the folder of the config, absolute when it is not below that.
func relative(from, to string) string {
	rel, err := filepath.Rel(from, to)
	switch {
	case err != nil || rel == ".." || strings.HasPrefix(rel, "../"):
		return to
	case rel == ".":
		return rel
	}
	return "./" + rel
}

// key writes the name of a role; one with a dot would be a nested table.
func key(role string) string {
	if strings.Contains(role, ".") {
		return quote(role)
	}
	return role
}

// quote writes a basic string of TOML.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// comment makes a text fit for the rest of a line.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
