package pattern

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Captures are the texts that the placeholders of a pattern matched. The zero value holds none.
type Captures struct {
	names  []string
	values []string
	root   string // the placeholder that stands for the root itself, "" if none does
}

// Value returns the text that the placeholder name captured.
func (c Captures) Value(name string) (string, bool) {
	i := slices.Index(c.names, name)
	if i < 0 {
		return "", false
	}
	return c.values[i], true
}

// Names returns the placeholders in the order of the pattern that matched.
func (c Captures) Names() []string { return slices.Clone(c.names) }

// Key returns the captures joined by slashes in the order of the pattern that matched.
func (c Captures) Key() string { return c.KeyOf(c.names) }

// KeyOf returns the captures joined by slashes in the order of names, which for the key of a set
// are the placeholders of the first pattern of its watch. Names that were not captured are left out.
func (c Captures) KeyOf(names []string) string {
	var parts []string
	for _, name := range names {
		if value, ok := c.Value(name); ok {
			parts = append(parts, value)
		}
	}
	return strings.Join(parts, "/")
}

// Equal reports whether both hold the same texts under the same names, in whatever order, and agree
// on whether one of them stands for the root itself: the root /data/r7 and the directory /data/r7/r7
// are captured by the same text but are not the same run.
func (c Captures) Equal(other Captures) bool { return c.Identity() == other.Identity() }

// Identity returns a string that two captures share exactly when they are [Captures.Equal], for use
// as a map key. It is not meant for people; see [Captures.KeyOf].
func (c Captures) Identity() string {
	values := make(map[string]string, len(c.names))
	for i, name := range c.names {
		values[name] = c.values[i]
	}
	var id strings.Builder
	id.WriteString(c.root)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		id.WriteString(" " + name + "=" + strconv.Itoa(len(values[name])) + ":" + values[name])
	}
	return id.String()
}
