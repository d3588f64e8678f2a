package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checkTidyRoot refuses roots where a pattern that is a little too wide does great harm.
func (s section) checkTidyRoot(t Tidy, cfg *Config) {
	for _, resolve := range []func(string) string{filepath.Clean, resolveLinks} {
		root := resolve(t.Root)
		found := ""
		switch {
		case root == "/":
			found = "the root of the file system"
		case slices.Contains(homes(), root) || filepath.Dir(root) == "/home" || root == "/home":
			found = "a home directory"
		case cfg.Artifacts.Dir != "" && holds(root, resolve(cfg.Artifacts.Dir)):
			found = fmt.Sprintf("which holds artifacts.dir %q", cfg.Artifacts.Dir)
		}
		if found != "" {
			s.add(s.place("root"), fmt.Sprintf("%q, %s", t.Root, found), "the directory of a repository or of runs; or i_know = true")
			return
		}
	}
}

// holds tells whether path is dir or lies below it.
func holds(dir, path string) bool {
	_, inside := below(dir, path)
	return dir == path || inside
}

// homes are the home directories of the users of this host, as far as they are in passwd(5).
func homes() []string {
	known := []string{"/root"}
	if home := os.Getenv("HOME"); home != "" {
		known = append(known, filepath.Clean(home), resolveLinks(home))
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return known
	}
	for line := range strings.Lines(string(passwd)) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); len(fields) > 5 && filepath.IsAbs(fields[5]) {
			known = append(known, filepath.Clean(fields[5]))
		}
	}
	return known
}

// checkTidies makes sure that nothing is moved to where it is looked for, and neither out of the
// artifact directory nor into it.
func checkTidies(sections []section, cfg *Config) {
	for i, t := range cfg.Tidies {
		if t.Root == "" || t.MoveTo.source == "" {
			continue
		}
		for _, resolve := range []func(string) string{filepath.Clean, resolveLinks} {
			if artifacts := cfg.Artifacts.Dir; artifacts != "" && holds(resolve(artifacts), resolve(t.Root)) {
				sections[i].add(sections[i].place("root"), fmt.Sprintf("%q inside artifacts.dir %q", t.Root, artifacts), "a root outside of it: what is published never changes")
				break
			}
			if found, expected := tidyOverlap(t, cfg, resolve); found != "" {
				sections[i].add(sections[i].place("move_to"), found, expected)
				break
			}
		}
	}
}

func tidyOverlap(t Tidy, cfg *Config, resolve func(string) string) (found, expected string) {
	base, root := resolve(t.base()), resolve(t.Root)
	if base == root && len(t.MoveTo.Placeholders()) == 0 {
		return fmt.Sprintf("%q, which is the root itself", t.MoveTo), "a directory of its own, such as \"reports/{utc}\""
	}
	if artifacts := cfg.Artifacts.Dir; artifacts != "" && holds(resolve(artifacts), base) {
		return fmt.Sprintf("%q inside artifacts.dir %q", t.MoveTo, artifacts), "a directory outside of it: bundles are alone there"
	}
	for _, other := range cfg.Tidies {
		if other.Root != "" && resolve(other.Root) != root && holds(resolve(other.Root), base) {
			return fmt.Sprintf("%q inside another root of [[tidy]], %q", t.MoveTo, other.Root), "a directory that is not tidied itself"
		}
	}
	return "", ""
}
