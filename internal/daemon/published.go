package daemon

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/store"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// version is one published bundle of a key.
type version struct {
	path    string
	members []bundle.OriginMember
}

// versions reads from the artifact directory what was published under a key, oldest first, and the
// place of the next version. When that place is free, nothing was published since.
func versions(s *store.Local, watchName, key string) (all []version, next store.Slot, err error) {
	slots, err := s.Slots(watchName, key)
	if err != nil {
		return nil, next, err
	}
	for _, slot := range slots {
		if !slot.Bundle {
			continue
		}
		o, err := bundle.ReadOrigin(filepath.Join(slot.Path, bundle.ManifestName))
		if err != nil {
			return nil, next, fmt.Errorf("find out what was published as %q: %w; verify the bundle, and move it away if it is broken", key, err)
		}
		if o.Key == key {
			all = append(all, version{slot.Path, o.Members})
		}
	}
	return all, slots[len(slots)-1], nil
}

// member returns the member of that role, unless it is a sentinel.
func (v version) member(role string) (m bundle.OriginMember, ok bool) {
	for _, m := range slices.Backward(v.members) {
		if m.Role == role && m.Source != nil {
			return m, true
		}
	}
	return m, false
}

// fingerprint is that of the member of that role, "" when there is none.
func (v version) fingerprint(role string) string {
	m, _ := v.member(role)
	return m.Fingerprint
}

// holds tells whether the member of that role was made of a file in exactly this state.
func (v version) holds(role string, st watch.Stat) (fingerprint string, ok bool) {
	m, ok := v.member(role)
	if !ok {
		return "", false
	}
	s := m.Source
	if s.Size != st.Size || s.ModTime.UnixNano() != st.ModTime || s.ChTime.UnixNano() != st.ChangeTime ||
		s.Device != st.Dev || s.Inode != st.Ino {
		return "", false
	}
	return m.Fingerprint, true
}

// same tells how many roles of a set have the content that this version has.
func (v version) same(files map[string]*file) int {
	n := 0
	for role, f := range files {
		if v.fingerprint(role) == f.fingerprint {
			n++
		}
	}
	return n
}

func contains(imports []pickle.Import, i pickle.Import) bool {
	for _, other := range imports {
		if other.Module == i.Module && other.Name == i.Name {
			return true
		}
	}
	return false
}
