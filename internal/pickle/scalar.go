package pickle

import (
	"errors"
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
	digits := text
	if op == opLong {
		digits = strings.TrimSuffix(digits, "L")
	}
	if len(digits) > maxDigits {
		return nil, fmt.Errorf("an int of %d digits is larger than any real one", len(digits))
	}
	if !isDecimal(digits) {
		return nil, fmt.Errorf("%.40q is no int as Python writes it", text)
	}
	n, _ := new(big.Int).SetString(digits, 10)
	return normalInt(n), nil
}

// isDecimal tells whether a text is a decimal number without a leading zero, which some unpicklers
// would read as octal.
func isDecimal(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || (digits[0] == '0' && len(digits) > 1) {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

// textFloat reads the argument of FLOAT. What Go reads and Python does not (hexadecimal numbers,
// values that are too large) is an error.
func textFloat(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.ContainsAny(text, "xXpP_") {
		return 0, fmt.Errorf("%.40q is no float as Python writes it", text)
	}
	return f, nil
}

// checkText makes sure that Python would read a str: UTF-8, in which the unicode opcodes also allow lone
// surrogates (the surrogatepass error handler).
func checkText(s string, op byte) error {
	if utf8.ValidString(s) {
		return nil
	}
	surrogates := op == opBinUnicode || op == opShortBinUni || op == opBinUnicode8
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			if !surrogates || !startsWithSurrogate(s) {
				return fmt.Errorf("a str that is not UTF-8: %.40q", s)
			}
			n = 3
		}
		s = s[n:]
	}
	return nil
}

func startsWithSurrogate(s string) bool {
	return len(s) >= 3 && s[0] == 0xed && s[1] >= 0xa0 && s[1] <= 0xbf && s[2] >= 0x80 && s[2] <= 0xbf
}

// appendRune appends UTF-8, of a surrogate its three bytes.
func appendRune(b []byte, r rune) []byte {
	if r >= 0xd800 && r <= 0xdfff {
		return append(b, 0xed, 0x80|byte(r>>6&0x3f), 0x80|byte(r&0x3f))
	}
	return utf8.AppendRune(b, r)
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
	if text[0] != '\\' {
		return text[:1], text[1:], nil
	}
	if len(text) == 1 {
		return "", "", errors.New("it ends with a backslash")
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

// rawUnicodeEscape reads the argument of UNICODE: latin-1 with \uXXXX and \UXXXXXXXX. Other
// backslashes stand for themselves, together with the character after them.
func rawUnicodeEscape(text string) (string, error) {
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		if text[i] != '\\' || i+1 == len(text) {
			b = appendRune(b, rune(text[i]))
			i++
			continue
		}
		digits := map[byte]int{'u': 4, 'U': 8}[text[i+1]]
		if digits == 0 {
			b = appendRune(appendRune(b, '\\'), rune(text[i+1]))
			i += 2
			continue
		}
		r, err := unicodeEscape(text[i+2:], digits)
		if err != nil {
			return "", err
		}
		b = appendRune(b, r)
		i += 2 + digits
	}
	return string(b), nil
}

// unicodeEscape reads the hexadecimal digits of an escape sequence.
func unicodeEscape(text string, digits int) (rune, error) {
	if len(text) < digits {
		return 0, fmt.Errorf("an escape sequence is cut off after %q", text)
	}
	v, err := strconv.ParseUint(text[:digits], 16, 32)
	if err != nil || v > utf8.MaxRune {
		return 0, fmt.Errorf("%q is no code point", text[:digits])
	}
	return rune(v), nil
}
