package snapshot

import (
	"bytes"
	"math"
	"math/big"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// decodeJSON reads what Python's json module writes: JSON, with NaN, Infinity and -Infinity, and
// integers of any size (CPython's Lib/json/decoder.py and scanner.py).
func decodeJSON(data []byte, _ *notebook) (any, error) {
	r := jsonReader{data: data}
	value, reason := r.document()
	if reason != "" {
		return nil, r.syntaxError(reason)
	}
	return value, nil
}

// jsonReader's methods return a reason instead of an error, empty when all is well; the position
// of the failure is pos.
type jsonReader struct {
	data   []byte
	pos    int
	depth  int
	values int
}

func (r *jsonReader) syntaxError(reason string) error {
	before := r.data[:min(r.pos, len(r.data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return &SyntaxError{
		Line:   bytes.Count(before, []byte("\n")) + 1,
		Column: utf8.RuneCount(before[start:]) + 1,
		Reason: reason,
	}
}

func (r *jsonReader) document() (any, string) {
	value, reason := r.value()
	if reason != "" {
		return nil, reason
	}
	if r.skipSpace(); r.pos < len(r.data) {
		return nil, "more text after the end of the value"
	}
	return value, ""
}

func (r *jsonReader) skipSpace() {
	for r.pos < len(r.data) && bytes.IndexByte([]byte(" \t\n\r"), r.data[r.pos]) >= 0 {
		r.pos++
	}
}

// next skips white space and returns the byte there, 0 at the end.
func (r *jsonReader) next() byte {
	if r.skipSpace(); r.pos < len(r.data) {
		return r.data[r.pos]
	}
	return 0
}

func (r *jsonReader) take(c byte) bool {
	if r.next() != c || r.pos >= len(r.data) {
		return false
	}
	r.pos++
	return true
}

func (r *jsonReader) value() (any, string) {
	if r.values++; r.values > maxValues {
		return nil, errTooMany.Error()
	}
	switch r.next() {
	case '{':
		return r.nested(r.object)
	case '[':
		return r.nested(r.array)
	case '"':
		return r.text()
	}
	if value, ok := r.constant(); ok {
		return value, ""
	}
	return r.number()
}

func (r *jsonReader) nested(read func() (any, string)) (any, string) {
	if r.depth++; r.depth > maxDepth {
		return nil, errTooDeep.Error()
	}
	defer func() { r.depth-- }()
	r.pos++
	return read()
}

func (r *jsonReader) object() (any, string) {
	dict := &pickle.Dict{}
	if r.take('}') {
		return dict, ""
	}
	for {
		if r.next() != '"' {
			return nil, "expected a key in double quotes"
		}
		key, reason := r.text()
		if reason != "" {
			return nil, reason
		}
		if !r.take(':') {
			return nil, "expected ':' after a key"
		}
		value, reason := r.value()
		if reason != "" {
			return nil, reason
		}
		dict.Set(key, value)
		if r.take('}') {
			return dict, ""
		}
		if !r.take(',') {
			return nil, "expected ',' or '}'"
		}
	}
}

func (r *jsonReader) array() (any, string) {
	list := &pickle.List{}
	if r.take(']') {
		return list, ""
	}
	for {
		value, reason := r.value()
		if reason != "" {
			return nil, reason
		}
		list.Items = append(list.Items, value)
		if r.take(']') {
			return list, ""
		}
		if !r.take(',') {
			return nil, "expected ',' or ']'"
		}
	}
}

var jsonConstants = []struct {
	text  string
	value any
}{
	{"null", nil},
	{"true", true},
	{"false", false},
	{"NaN", math.NaN()},
	{"Infinity", math.Inf(1)},
	{"-Infinity", math.Inf(-1)},
}

func (r *jsonReader) constant() (any, bool) {
	for _, c := range jsonConstants {
		if bytes.HasPrefix(r.data[r.pos:], []byte(c.text)) {
			r.pos += len(c.text)
			return c.value, true
		}
	}
	return nil, false
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?; a fraction or an exponent makes a float.
func (r *jsonReader) number() (any, string) {
	start := r.pos
	r.skip('-')
	if !r.skip('0') && r.digits() == 0 {
		r.pos = start
		return nil, "expected a value"
	}
	whole := r.pos
	if r.skip('.') && r.digits() == 0 {
		r.pos = whole
	}
	mantissa := r.pos
	if r.skip('e') || r.skip('E') {
		if !r.skip('-') {
			r.skip('+')
		}
		if r.digits() == 0 {
			r.pos = mantissa
		}
	}
	text := string(r.data[start:r.pos])
	if r.pos > whole {
		return parseFloat(text), ""
	}
	value, err := parseInt(text, 10)
	if err != nil {
		return nil, err.Error()
	}
	return value, ""
}

func (r *jsonReader) skip(c byte) bool {
	if r.pos < len(r.data) && r.data[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

func (r *jsonReader) digits() int {
	start := r.pos
	for r.pos < len(r.data) && r.data[r.pos] >= '0' && r.data[r.pos] <= '9' {
		r.pos++
	}
	return r.pos - start
}

// text reads a string, from its opening quote.
func (r *jsonReader) text() (string, string) {
	r.pos++
	var out []byte
	for r.pos < len(r.data) {
		c := r.data[r.pos]
		switch {
		case c == '"':
			r.pos++
			return string(out), ""
		case c < ' ':
			return "", "a control character in a string"
		case c == '\\':
			var reason string
			if out, reason = r.escape(out); reason != "" {
				return "", reason
			}
		default:
			out = append(out, c)
			r.pos++
		}
	}
	return "", "a string without an end"
}

var jsonEscapes = map[byte]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (r *jsonReader) escape(out []byte) ([]byte, string) {
	if r.pos+1 < len(r.data) {
		if c, ok := jsonEscapes[r.data[r.pos+1]]; ok {
			r.pos += 2
			return append(out, c), ""
		}
	}
	unit, ok := r.unit()
	if !ok {
		return nil, "an unknown escape in a string"
	}
	if !utf16.IsSurrogate(unit) {
		return utf8.AppendRune(out, unit), ""
	}
	after := r.pos
	if low, ok := r.unit(); ok {
		if pair := utf16.DecodeRune(unit, low); pair != utf8.RuneError {
			return utf8.AppendRune(out, pair), ""
		}
	}
	r.pos = after
	return appendSurrogate(out, unit), ""
}

// unit reads one \uXXXX.
func (r *jsonReader) unit() (rune, bool) {
	if r.pos+6 > len(r.data) || r.data[r.pos] != '\\' || r.data[r.pos+1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(r.data[r.pos+2:r.pos+6]), 16, 16)
	if err != nil {
		return 0, false
	}
	r.pos += 6
	return rune(unit), true
}

// appendSurrogate writes a lone surrogate as Python's "surrogatepass" does, which is how a pickle holds it.
func appendSurrogate(out []byte, unit rune) []byte {
	return append(out, 0xe0|byte(unit>>12), 0x80|byte(unit>>6)&0x3f, 0x80|byte(unit)&0x3f)
}

// parseFloat reads a float whose syntax is known to be right; too large is infinite, as in Python.
func parseFloat(text string) float64 {
	value, _ := strconv.ParseFloat(text, 64)
	return value
}

// parseInt returns an int64, or a *big.Int for what an int64 cannot hold.
func parseInt(text string, base int) (any, error) {
	if value, err := strconv.ParseInt(text, base, 64); err == nil {
		return value, nil
	}
	if len(text) > maxDigits {
		return nil, errTooLongInt
	}
	value, ok := new(big.Int).SetString(text, base)
	if !ok {
		return nil, strconv.ErrSyntax
	}
	return value, nil
}
