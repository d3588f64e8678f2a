// Package provenance sees where a bundle comes from: the git repository of the training code, the machine, and the process that
// wrote the checkpoints. Everything is recorded as seen and nothing is guessed: what cannot be seen is absent.
//
// Repositories, their files and processes belong to others. Nothing of them is run, no git is called, no hook, filter or setting of
// a repository takes effect, and whatever they hold is bounded: a file is read to a limit, a text is clipped, and work ends after
// a while. Of a process's environment only names of an allow-list are kept.
package provenance

import (
	"strings"
	"unicode/utf8"
)

// maxText is the longest text in bytes that is recorded.
const maxText = 256

// Clip makes a text of others fit for a manifest: valid UTF-8 in one line without control characters, and not long.
func Clip(s string) string {
	cut := len(s) > maxText
	if cut {
		s = s[:maxText]
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
	if cut {
		s += "…"
	}
	return s
}
