package pattern

import (
	"strings"
	"unicode/utf8"
)

// read matches the whole of s and returns the captured texts in order.
func read(tokens []token, s string) (values []string, ok bool) {
	if last := tokens[len(tokens)-1]; last.kind == literal && !strings.HasSuffix(s, last.text) {
		return nil, false
	}
	r := newReader(tokens, s, false)
	if !r.fits[0][0] {
		return nil, false
	}
	i := 0
	for t, tok := range tokens {
		end := r.end(t, i)
		if tok.captures() {
			if !isCleanPath(s[i:end]) {
				return nil, false
			}
			values = append(values, s[i:end])
		}
		i = end
	}
	return values, true
}

// canBegin reports whether a path that begins with prefix and goes on could match.
func canBegin(tokens []token, prefix string) bool {
	return newReader(tokens, prefix, true).fits[0][0]
}

// isCleanPath reports whether s, joined to a directory, names a path below it.
func isCleanPath(s string) bool {
	for segment := range strings.SplitSeq(s, "/") {
		if !isSegment(segment) {
			return false
		}
	}
	return true
}

// reader knows for every token and offset whether the text from there on matches the tokens from
// there on. It is filled from the last token to the first, so no text makes it backtrack.
type reader struct {
	tokens []token
	s      string
	open   bool     // s is only the beginning: more text follows, and anything may
	fits   [][]bool // by token, then by offset in s
}

func newReader(tokens []token, s string, open bool) *reader {
	width := len(s) + 1
	cells := make([]bool, width*(len(tokens)+1))
	r := &reader{tokens: tokens, s: s, open: open, fits: make([][]bool, len(tokens)+1)}
	for t := range r.fits {
		r.fits[t] = cells[t*width : (t+1)*width]
	}
	r.fits[len(tokens)][len(s)] = !open
	for t := len(tokens) - 1; t >= 0; t-- {
		r.fill(t)
	}
	return r
}

func (r *reader) fill(t int) {
	switch tok, n := r.tokens[t], len(r.s); tok.kind {
	case literal:
		for i := range n + 1 {
			r.fits[t][i] = r.fitsLiteral(t, i)
		}
	case anyChar:
		r.fits[t][n] = r.open
		for i := range n {
			r.fits[t][i] = r.wild(i) && r.fits[t+1][r.next(i)]
		}
	case anyRun:
		r.fits[t][n] = r.open || r.fits[t+1][n]
		for i := n - 1; i >= 0; i-- {
			r.fits[t][i] = !r.hidden(i) && (r.fits[t+1][i] || r.s[i] != '/' && r.fits[t][r.next(i)])
		}
	case segmentCapture:
		r.fits[t][n] = r.open
		for i := n - 1; i >= 0; i-- {
			after := r.next(i)
			r.fits[t][i] = r.s[i] != '/' && (r.fits[t+1][after] || r.fits[t][after])
		}
	case deepCapture:
		r.fillDeep(t)
	}
}

func (r *reader) fitsLiteral(t, i int) bool {
	text, rest := r.tokens[t].text, r.s[i:]
	if strings.HasPrefix(rest, text) {
		return r.fits[t+1][i+len(text)]
	}
	return r.open && strings.HasPrefix(text, rest)
}

// fillDeep lets a capture run over slashes but neither begin nor end with one.
func (r *reader) fillDeep(t int) {
	n := len(r.s)
	goesOn := make([]bool, n+1)
	r.fits[t][n], goesOn[n] = r.open, r.open
	for i := n - 1; i >= 0; i-- {
		after := r.next(i)
		goesOn[i] = goesOn[after] || r.s[i] != '/' && r.fits[t+1][after]
		r.fits[t][i] = r.s[i] != '/' && goesOn[i]
	}
}

// end returns the furthest end of token t at offset i that leaves a text which matches the rest, or the
// nearest when the token is to be short. It may only be asked where token t fits.
func (r *reader) end(t, i int) int {
	tok := r.tokens[t]
	switch tok.kind {
	case literal:
		return i + len(tok.text)
	case anyChar:
		return r.next(i)
	}
	best := i
	for end := i; end < len(r.s) && (r.s[end] != '/' || tok.kind == deepCapture); {
		slash := r.s[end] == '/'
		end = r.next(end)
		if !slash && r.fits[t+1][end] {
			if best = end; isShort(r.tokens[t:]) {
				break
			}
		}
	}
	return best
}

// isShort tells whether the first token is a {name} that only literal text separates from a * in its
// segment: in {epoch}-*.ckpt the epoch ends at the first dash, wherever else the metrics have one.
func isShort(tokens []token) bool {
	return len(tokens) > 2 && tokens[0].kind == segmentCapture &&
		tokens[1].kind == literal && !strings.Contains(tokens[1].text, "/") && tokens[2].kind == anyRun
}

// next returns the offset after the character at i; a byte that is not UTF-8 is a character.
func (r *reader) next(i int) int {
	_, size := utf8.DecodeRuneInString(r.s[i:])
	return i + size
}

func (r *reader) wild(i int) bool { return r.s[i] != '/' && !r.hidden(i) }

// hidden reports a dot at the start of a segment, which wildcards do not match.
func (r *reader) hidden(i int) bool {
	return r.s[i] == '.' && (i == 0 || r.s[i-1] == '/')
}
