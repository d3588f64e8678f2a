package status

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSentence is how long the sentence may be in bytes; systemd takes more, people do not.
const maxSentence = 400

// Sentence says in one line how the daemon is doing: what is wrong first, then what it does.
func (s *Snapshot) Sentence() string {
	var parts []string
	parts = append(parts, s.Problems...)
	if !s.Ready {
		parts = append(parts, s.listing())
	}
	parts = append(parts, number(len(s.Watches), "watch", "watches"))
	parts = append(parts, s.pending()...)
	parts = append(parts, s.packing()...)
	parts = append(parts, s.sending()...)
	parts = append(parts, s.history())
	return Plain(shorten(strings.Join(parts, "; "), maxSentence))
}

func (s *Snapshot) listing() string {
	done := 0
	for i := range s.Watches {
		if w := &s.Watches[i]; w.Scan.Ended != nil || w.Gone != "" || w.Hung != nil {
			done++
		}
	}
	return fmt.Sprintf("listing: %d of %s done", done, number(len(s.Watches), "root", "roots"))
}

func (s *Snapshot) pending() []string {
	counts := make(map[State]int)
	for i := range s.Watches {
		for state, n := range s.Watches[i].Sets.Pending {
			counts[state] += n
		}
	}
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{counts[Waiting] + counts[Regrouping], "waiting"}, {counts[Queued], "queued"}, {counts[Retrying], "to be tried again"},
		{counts[Expired], "waiting too long"}, {counts[Refused], "refused"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", number(c.n, "set", "sets"), c.what))
		}
	}
	return parts
}

func (s *Snapshot) packing() []string {
	if len(s.Packs) == 0 {
		return nil
	}
	p := s.Packs[0]
	text := fmt.Sprintf("packing %s %s at %d %%", p.Watch, p.Key, p.Percent())
	if more := len(s.Packs) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return []string{text}
}

func (s *Snapshot) sending() []string {
	var parts []string
	for i := range s.Destinations {
		if d := &s.Destinations[i]; d.Pending > 0 {
			parts = append(parts, fmt.Sprintf("%s to send to %s", number(d.Pending, "bundle", "bundles"), d.Name))
		}
	}
	return parts
}

func (s *Snapshot) history() string {
	text := number(s.Counts.Published, "bundle", "bundles") + " published"
	if len(s.Bundles) > 0 {
		text += ", the last at " + s.Bundles[0].At.Format("15:04:05")
	}
	if s.Counts.Refused+s.Counts.Failed > 0 {
		text += fmt.Sprintf(", %s, %s since the start", number(s.Counts.Refused, "refusal", "refusals"), number(s.Counts.Failed, "failure", "failures"))
	}
	return text
}

func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Plain writes what is no printable character as an escape, so that text from outside stays on its line and
// steers no terminal.
func Plain(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// shorten cuts a text at a rune.
func shorten(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	for bytes > 0 && !utf8.RuneStart(text[bytes]) {
		bytes--
	}
	return text[:bytes] + "…"
}

// Size writes a number of bytes for people.
func Size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
