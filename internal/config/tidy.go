package config

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// TemplateNames are the placeholders that any move_to may use.
var TemplateNames = []string{"utc", "date", "host", "name"}

func readTidy(s section, cfg *Config) Tidy {
	var t Tidy
	t.Root = s.absolute("root", cfg)
	reckless := s.flag("i_know")
	t.Match = s.strayNames("match", !reckless)
	if s.values["match"] == nil || len(t.Match) == 0 && isEmptyArray(s.values["match"]) {
		s.add(s.place("match"), describeMatch(s.values["match"]), `at least one name in [ ], such as "*.log"`)
	}
	t.Keep = s.strayNames("keep", false)
	t.MinAge = s.duration("min_age", 1)
	t.MaxSize, _ = s.size("max_size")
	t.MaxPerHour = int(s.integer("max_per_hour", 1, math.MaxInt32))
	s.choice("tracked", &t.Tracked)
	t.Symlinks = s.flag("symlinks")
	t.Rescan = s.duration("rescan", 1)
	t.Watch = s.watchName(cfg)
	t.MoveTo = s.moveTo(t, cfg)
	if !reckless && t.Root != "" {
		s.checkTidyRoot(t, cfg)
	}
	return t
}

func isEmptyArray(value any) bool {
	items, ok := value.([]any)
	return ok && len(items) == 0
}

func describeMatch(value any) string {
	if value == nil {
		return "nothing"
	}
	return "no name"
}

// strayNames reads names at the top level of a root. With narrow set, a name that matches everything
// is refused.
func (s section) strayNames(name string, narrow bool) []*pattern.Pattern {
	var patterns []*pattern.Pattern
	s.texts(name, func(at place, text string) {
		p := s.compile(at, text)
		switch {
		case p == nil:
		case len(p.Placeholders()) > 0:
			s.add(at, strconv.Quote(text), "a name without placeholders: match what varies with * and ?")
		case strings.Contains(strings.TrimSuffix(text, "/"), "/"):
			s.add(at, strconv.Quote(text), "a name at the top level of the root, without a slash in it")
		case narrow && strings.Trim(text, "*?./") == "":
			s.add(at, strconv.Quote(text)+", which matches almost every name", "names of strays, such as \"*.log\"; or i_know = true")
		default:
			patterns = append(patterns, p)
		}
	})
	return patterns
}

func (s section) watchName(cfg *Config) string {
	name, ok := s.text("watch")
	if !ok {
		return ""
	}
	names := make([]string, len(cfg.Watches))
	for i, w := range cfg.Watches {
		names[i] = w.Name
	}
	if slices.Contains(names, name) {
		return name
	}
	expected := "the name of a [[watch]], of which there is none"
	if len(names) > 0 {
		expected = "the name of a [[watch]]: " + oneOf(names)
	}
	s.suggest(s.place("watch"), strconv.Quote(name), expected, nearest(name, names))
	return ""
}

// moveTo reads the template. One that is absolute and leads below the root is made relative.
func (s section) moveTo(t Tidy, cfg *Config) Template {
	text, ok := s.text("move_to")
	if !ok {
		return Template{}
	}
	template, reason := parseTemplate(text)
	if reason != "" {
		s.add(s.place("move_to"), strconv.Quote(text), "the path of a directory, but "+reason)
		return Template{}
	}
	if t.Root != "" {
		template, _ = template.Below(t.Root)
	}
	s.checkTemplateNames(template, t, cfg)
	return template
}

func (s section) checkTemplateNames(template Template, t Tidy, cfg *Config) {
	captured := captureNames(cfg, t.Watch)
	known := append(slices.Clone(TemplateNames), captured...)
	for _, name := range template.Placeholders() {
		switch {
		case slices.Contains(TemplateNames, name) && slices.Contains(captured, name):
			s.add(s.place("move_to"), fmt.Sprintf("{%s}, which is a placeholder of watch %q too", name, t.Watch),
				"another name for the placeholder in the patterns of the watch")
		case t.Watch == "" && s.values["watch"] != nil: // what it captures is not known
		case !slices.Contains(known, name):
			expected := "only " + braced(known)
			if s.values["watch"] == nil {
				expected += `; the placeholders of a watch need watch = "…"`
			}
			s.suggest(s.place("move_to"), "{"+name+"}", expected, nearest(name, known))
		}
	}
}

// captureNames are what the members of a watch capture.
func captureNames(cfg *Config, watch string) []string {
	for _, w := range cfg.Watches {
		if w.Name != watch {
			continue
		}
		for _, m := range w.Members {
			if m.Pattern != nil {
				return m.Pattern.Placeholders()
			}
		}
	}
	return nil
}

// flag returns a boolean; false where there is none or a wrong one.
func (s section) flag(name string) bool {
	value, given := s.values[name]
	set, ok := value.(bool)
	if given && !ok {
		s.add(s.place(name), describe(value), "true or false")
	}
	return set
}

// base is the directory below which everything of a block is moved.
func (t Tidy) base() string {
	fixed := filepath.Join(t.MoveTo.Fixed()...)
	if t.MoveTo.absolute {
		return "/" + fixed
	}
	return filepath.Join(t.Root, fixed)
}
