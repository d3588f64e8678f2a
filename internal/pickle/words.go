package pickle

import (
	"hash/maphash"
	"unicode/utf8"
)

// words keeps short texts as values, as long as no other takes their place: what repeats in a checkpoint repeats soon.
type words [256]any

const maxWord = 24 // bytes

func (w *words) at(text []byte) *any { return &w[maphash.Bytes(keySeed, text)%uint64(len(w))] }

// known returns the kept value of a text, or nil.
func (w *words) known(text []byte) any {
	if len(text) > maxWord {
		return nil
	}
	v := *w.at(text)
	if s, ok := v.(string); ok && s == string(text) {
		return v
	}
	return nil
}

// keep returns a text as a value, and keeps it when it is short, and one that every opcode may write.
func (w *words) keep(s string) any {
	var v any = s
	if len(s) <= maxWord && utf8.ValidString(s) {
		w[maphash.String(keySeed, s)%uint64(len(w))] = v
	}
	return v
}
