package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// checkOverlap makes sure that a watch never takes what bundlewatch itself writes for a checkpoint.
func checkOverlap(s section, w Watch, artifacts string) {
	if w.Root == "" || artifacts == "" {
		return
	}
	at := s.place("root")
	for _, resolve := range []func(string) string{filepath.Clean, resolveInTime} {
		if found, expected := overlap(w, resolve(w.Root), resolve(artifacts)); found != "" {
			s.add(at, found, expected)
			return
		}
	}
}

// linkPatience is how long a file system has to answer where a path leads. One that hangs must not keep
// the config from being read: the path is then taken as it is written.
const linkPatience = 5 * time.Second

// resolve can be replaced by tests.
var resolve = resolveLinks

func resolveInTime(path string) string {
	resolved, find := make(chan string, 1), resolve
	go func() { resolved <- find(path) }()
	timer := time.NewTimer(linkPatience)
	defer timer.Stop()
	select {
	case r := <-resolved:
		return r
	case <-timer.C:
		return filepath.Clean(path)
	}
}

func overlap(w Watch, root, artifacts string) (found, expected string) {
	if root == artifacts {
		return fmt.Sprintf("%q, which is artifacts.dir too", w.Root), "two directories: give the artifacts one of their own"
	}
	if _, inside := below(artifacts, root); inside {
		return fmt.Sprintf("%q inside artifacts.dir %q", w.Root, artifacts), "a root outside of it: give the artifacts a directory of their own"
	}
	rel, inside := below(root, artifacts)
	for _, member := range w.Members {
		if inside && member.Pattern != nil && member.Pattern.CanMatchBelow(rel) {
			return fmt.Sprintf("%q, which holds artifacts.dir %q where %q can match", w.Root, artifacts, member.Pattern),
				"artifacts out of reach: move artifacts.dir out of the root, or use patterns that cannot match below " + fmt.Sprintf("%q", rel+"/")
		}
	}
	return "", ""
}

// below returns path relative to dir with slashes, if it is a path below it.
func below(dir, path string) (rel string, ok bool) {
	rel, err := filepath.Rel(dir, path)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// resolveLinks resolves the symbolic links of the part of path that exists.
func resolveLinks(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(resolveLinks(parent), filepath.Base(path))
}
