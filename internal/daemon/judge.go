package daemon

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
)

// files returns the members of a complete set by role.
func (e *engine) files(s *set) map[string]*file {
	files := make(map[string]*file)
	for _, r := range e.table.Roles() {
		files[r.Name] = s.Member(r.Name).Value
	}
	return files
}

// verdict is what is to be done with a set.
type verdict int

const (
	waits verdict = iota
	published
	regroups // some members of a published set were written anew, the others not yet, or less often
	ready
)

// judge decides what is to be done with a set, and for how many roles the newest bundle of the key
// has the same content.
func (e *engine) judge(s *set) (v verdict, same int) {
	if !s.Complete() || e.missingMarker(s) != nil {
		return waits, 0
	}
	files := e.files(s)
	for i, known := range s.State.versions {
		n := known.same(files)
		if n == len(files) {
			return published, n
		}
		if i == len(s.State.versions)-1 {
			same = n
		}
	}
	if same > 0 || !e.savedTogether(s) {
		return regroups, same
	}
	return ready, 0
}

// missingMarker says which marker file is awaited; nil when it is there, or when the watch has none.
func (e *engine) missingMarker(s *set) error {
	if e.watch.Marker == nil {
		return nil
	}
	g, err := e.watch.Marker.Bind(s.Captures)
	if err != nil {
		return err
	}
	defer e.pulse.call("look for the marker", e.absolute(g.String()))()
	root, err := os.OpenRoot(e.watch.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	found, err := g.Expand(root)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no marker file %s", g)
	}
	return err
}

// savedTogether tells whether all roles of a published set were written anew equally often: else the
// newest file of one belongs to an older one of another, that is gone.
func (e *engine) savedTogether(s *set) bool {
	if len(s.State.versions) == 0 {
		return true
	}
	first := s.State.savesOf(e.table.Roles()[0].Name)
	for _, r := range e.table.Roles() {
		if s.State.savesOf(r.Name) != first {
			return false
		}
	}
	return true
}

// recount begins to count saves anew from a bundle that was just published.
func (e *engine) recount(s *set, v version) {
	s.State.forgetSaves()
	for _, r := range e.table.Roles() {
		s.State.saved(r.Name, v.fingerprint(r.Name))
		if m := s.Member(r.Name); m != nil && m.Value != nil && m.Wait == nil {
			s.State.saved(r.Name, m.Value.fingerprint)
		}
	}
}

// job makes the order to bundle a complete set.
func (e *engine) job(s *set, same int) *job {
	j := &job{watch: e.watch, key: s.Key, captures: s.Captures, files: make(map[string]*file), first: s.State.pending().first}
	j.work = newWork(j, e.opts)
	for role, f := range e.files(s) {
		if f.crcs == nil && f.leaves == nil {
			f.crcs = new(checkpoint.Ranges)
		}
		copied := *f
		j.files[role] = &copied
	}
	if same > 0 {
		last := s.State.versions[len(s.State.versions)-1]
		for _, r := range e.table.Roles() {
			if last.fingerprint(r.Name) == j.files[r.Name].fingerprint {
				j.notes = append(j.notes, fmt.Sprintf("update: %s has the content that it has in %s; not every member was written anew", r.Name, filepath.Base(last.path)))
			}
		}
	} else if !e.savedTogether(s) {
		j.notes = append(j.notes, "update: the members were not written anew equally often since the last bundle; they may be of different saves")
	}
	return j
}
