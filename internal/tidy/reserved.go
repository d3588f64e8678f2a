package tidy

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// reserved knows what bundlewatch itself uses and therefore never moves.
type reserved struct {
	paths   []reservedPath
	watches []config.Watch
	roots   []string // of the watches, as configured and without symbolic links
}

type reservedPath struct{ path, what string }

func newReserved(c *config.Config) *reserved {
	r := &reserved{watches: c.Watches}
	r.add(c.Path, "the config of bundlewatch")
	r.add(c.Artifacts.Dir, "artifacts.dir")
	for _, w := range c.Watches {
		r.add(w.Root, "the root of watch "+w.Name)
		r.roots = append(r.roots, resolved(w.Root))
	}
	for _, t := range c.Tidies {
		base := filepath.Join(t.MoveTo.Fixed()...)
		switch {
		case t.MoveTo.Absolute():
			r.add("/"+base, "where strays are moved to")
		case base != "":
			r.add(filepath.Join(t.Root, base), "where strays are moved to")
		}
		r.add(t.Root, "a root of [[tidy]]")
	}
	return r
}

func (r *reserved) add(path, what string) {
	if path != "" {
		r.paths = append(r.paths, reservedPath{filepath.Clean(path), what}, reservedPath{resolved(path), what})
	}
}

// resolved returns a path without the symbolic links of its existing part.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(resolved(parent), filepath.Base(path))
	}
	return path
}

// check refuses a stray that bundlewatch uses, or that holds something that it uses.
func (r *reserved) check(s *stray) error {
	at := s.path()
	for _, p := range r.paths {
		if within(at, p.path) {
			return leave("bundlewatch uses it: %s", p.what)
		}
		if p.what == "artifacts.dir" && within(p.path, at) {
			return leave("it is in artifacts.dir")
		}
	}
	for _, e := range s.inside {
		if path.Base(e.path) == journalName {
			return leave("it holds the record of earlier moves, %q", e.path)
		}
	}
	return r.checkMembers(at, s)
}

// checkMembers refuses what a watch looks for at a path, which the stray has or would have.
func (r *reserved) checkMembers(at string, s *stray) error {
	if what := r.member(at, s.shape == shapeDir); what != "" {
		return leave("%s", what)
	}
	for _, e := range s.inside {
		if what := r.member(at+"/"+e.path, e.stat.IsDir()); what != "" {
			return leave("%q in it: %s", e.path, what)
		}
	}
	return nil
}

// member tells what a watch makes of a path, "" for nothing.
func (r *reserved) member(at string, isDir bool) string {
	for i, w := range r.watches {
		rel, below := strings.CutPrefix(at, strings.TrimSuffix(r.roots[i], "/")+"/")
		if below {
			if what := useOf(w, rel, path.Base(r.roots[i]), isDir); what != "" {
				return what
			}
		}
	}
	return ""
}

func useOf(w config.Watch, rel, base string, isDir bool) string {
	for _, m := range w.Members {
		if m.Pattern == nil || m.Pattern.IsDir() != isDir {
			continue
		}
		if _, ok := m.Pattern.Match(rel, base); ok {
			return "it is a member of watch " + w.Name
		}
	}
	if isDir {
		return ""
	}
	others := slices.Clone(w.Config.Files)
	if w.Marker != nil {
		others = append(others, w.Marker)
	}
	for _, p := range others {
		if _, ok := p.Match(rel, base); ok {
			return "it is a config file or the marker of watch " + w.Name
		}
	}
	return ""
}

// within tells whether path is dir or lies below it.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
