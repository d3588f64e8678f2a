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

// keep keeps a text that is a value, when it is short, and one that every opcode may write.
func (w *words) keep(text []byte, v any) {
	if len(text) <= maxWord && utf8.Valid(text) {
		*w.at(text) = v
	}
}
