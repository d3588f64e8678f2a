package snapshot

import (
	"fmt"
	"strconv"
	"strings"
)

// NoteKind says what a [Note] is about.
type NoteKind string

// The kinds of notes.
const (
	NoteClass     NoteKind = "class"      // an instance of a class was flattened to plain values
	NoteTag       NoteKind = "tag"        // a YAML tag was not followed
	NoteLeftOut   NoteKind = "left-out"   // a value that params cannot hold, such as a tensor
	NoteConflict  NoteKind = "conflict"   // two sources set one key to different values
	NoteNotMerged NoteKind = "not-merged" // a file is frozen, and gave nothing to the params
	NoteUnparsed  NoteKind = "unparsed"   // a file is frozen, and could not be parsed
	NoteTaken     NoteKind = "taken"      // one source completes what another lacks
	NoteWarning   NoteKind = "warning"    // what a loader of the bundle will stumble over
)

// Note is something about the config that the manifest must say.
type Note struct {
	Kind   NoteKind `json:"kind"`
	Source string   `json:"source,omitempty"` // a file's name in the archive, or whose hyper_parameters
	Key    string   `json:"key,omitempty"`    // dotted path of the value within the source
	Text   string   `json:"text"`
}

const (
	maxNotes    = 200
	maxQuoted   = 120
	quotedTail  = "…"
	unnamedType = "?"
)

// notebook collects notes, each once, and not more than maxNotes of them.
type notebook struct {
	source string
	notes  []Note
	seen   map[Note]bool
	more   int
}

func (b *notebook) add(kind NoteKind, key, format string, args ...any) {
	b.put(Note{Kind: kind, Source: b.source, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (b *notebook) put(n Note) {
	if b.seen[n] {
		return
	}
	if len(b.notes) >= maxNotes {
		b.more++
		return
	}
	if b.seen == nil {
		b.seen = make(map[Note]bool)
	}
	b.seen[n] = true
	b.notes = append(b.notes, n)
}

func (b *notebook) putAll(notes []Note, source string) {
	for _, n := range notes {
		if n.Source == "" {
			n.Source = source
		}
		b.put(n)
	}
}

// list returns the notes, with a last one that counts those there was no room for.
func (b *notebook) list() []Note {
	if b.more == 0 {
		return b.notes
	}
	return append(b.notes[:len(b.notes):len(b.notes)],
		Note{Kind: NoteWarning, Source: b.source, Text: fmt.Sprintf("%d more notes are not listed", b.more)})
}

// quote shows foreign text, escaped and not longer than a line can bear.
func quote(s string) string { return strconv.Quote(clip(s)) }

func clip(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	return strings.ToValidUTF8(s[:maxQuoted], "") + quotedTail
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	return strings.Join(quoted, ", ")
}
