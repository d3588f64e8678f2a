package layout

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// part is a piece of a file name: text, or a slot that differs between the files of a family.
type part struct {
	text string
	slot bool
}

// tagWords stand where other names have a number.
var tagWords = []string{"best", "last", "latest", "final", "newest", "current", "initial", "init"}

var (
	pieces = regexp.MustCompile(`\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|[A-Za-z]+|[^A-Za-z0-9]+`)
	ending = regexp.MustCompile(`(?i)(\.pth\.tar|\.tar\.gz|\.weights\.h5|\.[a-z][a-z0-9]{0,11})$`)
	number = regexp.MustCompile(`^\d`)
)

// split cuts a name into text and slots. The ending is text.
func split(name string) []part {
	tail := ending.FindString(name)
	if tail == name {
		tail = ""
	}
	body := strings.TrimSuffix(name, tail)
	var parts []part
	at := 0
	for _, m := range pieces.FindAllStringIndex(body, -1) {
		parts = appendText(parts, body[at:m[0]])
		piece := body[m[0]:m[1]]
		if number.MatchString(piece) || isTag(piece) {
			parts = append(parts, part{piece, true})
		} else {
			parts = appendText(parts, piece)
		}
		at = m[1]
	}
	parts = appendText(parts, body[at:])
	return appendText(mergeSlots(parts), tail)
}

func appendText(parts []part, text string) []part {
	switch {
	case text == "":
	case len(parts) > 0 && !parts[len(parts)-1].slot:
		parts[len(parts)-1].text += text
	default:
		parts = append(parts, part{text: text})
	}
	return parts
}

// mergeSlots makes one slot of two that nothing separates which a pattern can spell.
func mergeSlots(parts []part) []part {
	var merged []part
	for _, p := range parts {
		n := len(merged)
		if p.slot && n > 1 && merged[n-2].slot && strings.Trim(literal(merged[n-1].text), "?") == "" {
			merged[n-2].text += merged[n-1].text
			merged, n = merged[:n-1], n-1
		}
		if p.slot && n > 0 && merged[n-1].slot {
			merged[n-1].text += p.text
			continue
		}
		merged = append(merged, p)
	}
	return merged
}

func isTag(word string) bool {
	for _, tag := range tagWords {
		if strings.EqualFold(word, tag) {
			return true
		}
	}
	return false
}

// shape is what the names of a family have in common: the text, with a NUL for each slot.
func shape(parts []part) string {
	var b strings.Builder
	for _, p := range parts {
		if p.slot {
			b.WriteByte(0)
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// literal writes text for a pattern. What a pattern cannot spell, and what cannot be read in a config, is
// matched by a wildcard.
func literal(text string) string {
	var b strings.Builder
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		if strings.ContainsRune("*?{}", r) || r == utf8.RuneError || !unicode.IsPrint(r) {
			b.WriteByte('?')
		} else {
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}
