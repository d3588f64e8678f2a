package layout

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	configEnding = regexp.MustCompile(`(?i)\.(ya?ml|json|toml)$`)
	noConfig     = regexp.MustCompile(`(?i)^(metrics|trainer_state|tokenizer|vocab|special_tokens|added_tokens|merges|package|events|results|all_results|history|log|eval|train_results|summary|wandb-|bundle_manifest|pruned|dataset_info|.*\.index|.*_results|model_index|bundlewatch)`)
	version      = regexp.MustCompile(`^version_\d+$`)
)

const (
	maxConfig        = 1 << 20 // bytes of a file that is taken for a config
	maxConfigPattern = 12
)

// isConfig judges by the name and the size.
func (f *folder) isConfig(name string) bool {
	return configEnding.MatchString(name) && !noConfig.MatchString(name) && !strings.HasPrefix(name, ".") && f.sizes[name] <= maxConfig
}

// configs returns patterns, relative to a run's directory, of the config files in it and in its
// subdirectories, which are no runs and hold no checkpoints.
func (t *tree) configs(run string, skip func(dir string) bool) (files, metrics []string) {
	for _, rel := range t.order {
		if !below(run, rel) || t.inside[rel] || rel != run && skip(rel) {
			continue
		}
		inner := strings.TrimPrefix(strings.TrimPrefix(rel, run), "/")
		if len(segments(inner)) > 3 {
			continue
		}
		f := t.folders[rel]
		dir := inDirectory(inner)
		var names []string
		for _, name := range f.files {
			if f.isConfig(name) {
				names = append(names, name)
			}
			if strings.HasSuffix(name, ".csv") && strings.HasPrefix(name, "metrics") {
				metrics = append(metrics, dir+literal(name))
			}
		}
		if inner != "" && len(names) >= 3 && sameEnding(names) {
			files = append(files, dir+"*"+path.Ext(names[0]))
			continue
		}
		for _, name := range names {
			files = append(files, dir+literal(name))
		}
	}
	return unique(files), unique(metrics)
}

// inDirectory writes a directory for a pattern: the numbered folders of Lightning's loggers are one.
func inDirectory(dir string) string {
	var b strings.Builder
	for _, s := range segments(dir) {
		if version.MatchString(s) {
			s = "version_*"
		} else {
			s = literal(s)
		}
		b.WriteString(s + "/")
	}
	return b.String()
}

func sameEnding(names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return path.Ext(n) != path.Ext(names[0]) })
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) && len(out) < maxConfigPattern {
			out = append(out, s)
		}
	}
	return out
}

// ptychoFiles tells whether the config files of a run are those of PtychoPINN.
func (t *tree) ptychoFiles(run string) bool {
	for _, rel := range t.order {
		f := t.folders[rel]
		if !below(run, rel) || len(segments(rel))-len(segments(run)) > 3 {
			continue
		}
		if f.has("data_config.json") && f.has("model_config.json") {
			return true
		}
		if f.has("hparams.yaml") && f.sizes["hparams.yaml"] <= maxConfig {
			text, err := os.ReadFile(filepath.Join(t.root, rel, "hparams.yaml"))
			if err == nil && ptychoYAML.Match(text) {
				return true
			}
		}
	}
	return false
}

// ptychoYAML matches the dicts of PtychoPINN's configs in Lightning's hparams.yaml.
var ptychoYAML = regexp.MustCompile(`(?ms)^data_config:.*^(inference_config|model_config):`)

// structural are directories that belong to the layout and not to a run's name.
var structural = []string{"checkpoints", "checkpoint", "ckpt", "ckpts", "weights", "models", "saved_models", "snapshots", "states", "saved", "pth"}

// split cuts the directories of a set into the run's, and what is the same below every run's.
func (t *tree) splitRun(dirs []string, skip func(dir string) bool) (tail []string, runs []string) {
	common := segments(dirs[0])
	for _, d := range dirs[1:] {
		common = commonSuffix(common, segments(d))
	}
	n := 0
	for n < len(common) && slices.Contains(structural, strings.ToLower(common[len(common)-1-n])) {
		n++
	}
	best := n
	for k := n; k <= min(len(common), n+3); k++ {
		if t.someConfigs(dirs, k, skip) {
			best = k
			break
		}
	}
	for _, d := range dirs {
		segs := segments(d)
		runs = append(runs, strings.Join(segs[:len(segs)-best], "/"))
	}
	slices.Sort(runs)
	return common[len(common)-best:], slices.Compact(runs)
}

// someConfigs tells whether the runs have configs when so many segments are left out of their directories. A
// directory that is itself above other runs is none.
func (t *tree) someConfigs(dirs []string, cut int, skip func(dir string) bool) bool {
	seen := make(map[string]bool)
	found := false
	for _, d := range dirs {
		segs := segments(d)
		run := strings.Join(segs[:len(segs)-cut], "/")
		if seen[run] && cut > 0 {
			continue
		}
		seen[run] = true
		files, _ := t.configs(run, skip)
		found = found || len(files) > 0
	}
	return found && (len(seen) == len(dirs) || cut == 0)
}

func commonSuffix(a, b []string) []string {
	n := 0
	for n < min(len(a), len(b)) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return a[len(a)-n:]
}

// shared returns config files above the runs, for runs that have none of their own.
func (t *tree) shared(run string) []string {
	for dir := run; ; dir = path.Dir(dir) {
		if dir == "." {
			dir = ""
		}
		if f := t.folders[dir]; f != nil {
			var files []string
			for _, name := range f.files {
				if f.isConfig(name) {
					files = append(files, inDirectory(dir)+literal(name))
				}
			}
			if len(files) > 0 {
				return unique(files)
			}
		}
		if dir == "" {
			return nil
		}
	}
}
