package registry

import (
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

// Tags have at most 128 characters, [A-Za-z0-9_] first and ., - besides
// (github.com/opencontainers/distribution-spec, spec.md, "Pulling manifests").
const (
	maxTag     = 128
	digestPart = 12 // hex digits of the archive's SHA-256, which make the tag unique
)

// tagOf names a bundle: <run>-<key>-<the first digits of the archive's digest>, with every character that a tag
// cannot have as "-". A key that begins with the run is not given it again. Of a name that is too long the beginning
// is left out.
func tagOf(h *bundle.Head) string {
	name := h.Key
	if run := h.Run(); run != "" && !strings.HasPrefix(h.Key+"/", run+"/") {
		name = run + "-" + h.Key
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.', r == '-':
			return r
		}
		return '-'
	}, name)
	end := "-" + h.Archive.SHA256[:digestPart]
	if over := len(name) + len(end) - maxTag; over > 0 {
		name = name[over:]
	}
	if name == "" || name[0] == '-' || name[0] == '.' {
		name = "_" + name[min(1, len(name)):]
	}
	return name + end
}
