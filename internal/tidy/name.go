package tidy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bytesName is a name or path, which on Linux need not be text. In JSON it is a string; one that is not valid
// UTF-8 is an object whose base64 holds its exact bytes, and whose shown is for people.
type bytesName string

type encodedName struct {
	Base64 []byte `json:"base64"`
	Shown  string `json:"shown"`
}

// MarshalJSON implements json.Marshaler.
func (n bytesName) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(n)) {
		return json.Marshal(string(n))
	}
	return json.Marshal(encodedName{Base64: []byte(n), Shown: strings.ToValidUTF8(string(n), "\ufffd")})
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *bytesName) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*n = bytesName(text)
		return nil
	}
	var encoded encodedName
	if err := json.Unmarshal(data, &encoded); err != nil {
		return fmt.Errorf("read name: %w", err)
	}
	*n = bytesName(encoded.Base64)
	return nil
}

// printable escapes all characters of JSON text that are not printable, and so could steer a terminal.
func printable(line []byte) []byte {
	var out []byte
	for _, r := range string(line) {
		switch {
		case r < 0x80 || strconv.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// visible returns a name as it is, or quoted when it holds anything but printable characters.
func visible(s string) string {
	if quoted := strconv.Quote(s); quoted[1:len(quoted)-1] != s && !onlyQuotes(s) {
		return quoted
	}
	return s
}

// onlyQuotes tells whether quotes and backslashes are all that strconv.Quote would escape.
func onlyQuotes(s string) bool {
	plain := strings.NewReplacer(`"`, "", `\`, "").Replace(s)
	quoted := strconv.Quote(plain)
	return quoted[1:len(quoted)-1] == plain
}
