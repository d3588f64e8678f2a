package pickle

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bigEndianFloat turns the argument of BINFLOAT, read as a little-endian number, into the float.
func bigEndianFloat(n uint64) float64 {
	return math.Float64frombits(bits.ReverseBytes64(n))
}

// littleEndianInt reads the two's complement number of LONG1 and LONG4.
func littleEndianInt(b []byte) any {
	if len(b) <= 8 {
		var n int64
		for i, c := range b {
			n |= int64(c) << (8 * i)
		}
		if len(b) > 0 && len(b) < 8 && b[len(b)-1] >= 0x80 {
			n -= 1 << (8 * len(b))
		}
		return n
	}
	bigEndian := slices.Clone(b)
	slices.Reverse(bigEndian)
	n := new(big.Int).SetBytes(bigEndian)
	if bigEndian[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return normalInt(n)
}

func normalInt(n *big.Int) any {
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

// textInt reads the argument of INT and LONG. INT writes bools as 00 and 01.
func textInt(op byte, text string) (any, error) {
	if op == opInt && (text == "00" || text == "01") {
		return text == "01", nil
	}
	digits := strings.TrimSpace(text)
	if op == opLong {
		digits = strings.TrimSuffix(digits, "L")
	}
	if len(digits) > maxDigits {
		return nil, fmt.Errorf("an int of %d digits is larger than any real one", len(digits))
	}
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return nil, fmt.Errorf("%.40q is no int", text)
	}
	return normalInt(n), nil
}

// unquote reads the argument of STRING: the repr of a Python 2 str.
func unquote(text string) (string, error) {
	if len(text) < 2 || (text[0] != '\'' && text[0] != '"') || text[len(text)-1] != text[0] {
		return "", fmt.Errorf("%.40q is not quoted", text)
	}
	text = text[1 : len(text)-1]
	if !strings.Contains(text, `\`) {
		return text, nil
	}
	var b strings.Builder
	for len(text) > 0 {
		c, rest, err := unescape(text)
		if err != nil {
			return "", err
		}
		b.WriteString(c)
		text = rest
	}
	return b.String(), nil
}

var escapes = map[byte]string{'\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r",
	't': "\t", 'v': "\v", '\n': ""}

// unescape takes one character, or one escape sequence of a Python bytes literal, from the front.
func unescape(text string) (char, rest string, err error) {
	if text[0] != '\\' || len(text) == 1 {
		return text[:1], text[1:], nil
	}
	if s, ok := escapes[text[1]]; ok {
		return s, text[2:], nil
	}
	if text[1] == 'x' {
		if len(text) < 4 {
			return "", "", fmt.Errorf("%.10q is no escape sequence", text)
		}
		n, err := strconv.ParseUint(text[2:4], 16, 8)
		if err != nil {
			return "", "", fmt.Errorf("%.10q is no escape sequence", text)
		}
		return string([]byte{byte(n)}), text[4:], nil
	}
	digits := 0
	for digits < 3 && 1+digits < len(text) && text[1+digits] >= '0' && text[1+digits] <= '7' {
		digits++
	}
	if digits == 0 {
		return text[:2], text[2:], nil
	}
	n, _ := strconv.ParseUint(text[1:1+digits], 8, 16)
	return string([]byte{byte(n)}), text[1+digits:], nil
}

// rawUnicodeEscape reads the argument of UNICODE: latin-1 with \uXXXX and \UXXXXXXXX.
func rawUnicodeEscape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		if r, n := unicodeEscape(text[i:]); n > 0 {
			b.WriteRune(r)
			i += n
			continue
		}
		b.WriteRune(rune(text[i]))
		i++
	}
	return b.String()
}

func unicodeEscape(text string) (r rune, n int) {
	if len(text) < 2 || text[0] != '\\' {
		return 0, 0
	}
	switch text[1] {
	case 'u':
		n = 6
	case 'U':
		n = 10
	default:
		return 0, 0
	}
	if len(text) < n {
		return 0, 0
	}
	v, err := strconv.ParseUint(text[2:n], 16, 32)
	if err != nil || v > utf8.MaxRune {
		return 0, 0
	}
	return rune(v), n
}
