package page

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Python that loads a bundle, and what there is to know; both are of docs/loading.md, as a test checks.
//
//go:embed assets/load.py
var loadPython string

//go:embed assets/load.txt
var loadNotes string

// exampleBundle is the bundle of the examples.
const exampleBundle = "artifacts/pairs/run_20251017_104700/00"

// howTo says how a bundle is loaded.
type howTo struct {
	Python   string
	Notes    []string
	Commands []string
}

func howToLoad(path string) howTo {
	return howTo{
		Python: strings.ReplaceAll(loadPython, `"`+exampleBundle+`"`, pythonText(path)),
		Notes:  strings.Split(strings.TrimSpace(loadNotes), "\n"),
		Commands: []string{"bundlewatch verify " + shellWord(path), "(cd " + shellWord(path) + " && sha256sum -c SHA256SUMS)",
			"bundlewatch unpack " + shellWord(path) + " unpacked"},
	}
}

// pythonText writes a text as a literal of Python.
func pythonText(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r) && r != utf8.RuneError:
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// shellWord writes a text as one word of bash.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-+=:,@%", r))
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	quoted := strconv.QuoteToASCII(text) // its escapes are those of $'…', but for the quote itself
	return "$'" + strings.ReplaceAll(strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`), "'", `\'`) + "'"
}
