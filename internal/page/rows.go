package page

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// row is a value with the way to it.
type row struct{ Name, Value string }

// Bounds of what is shown of params and provenance.
const (
	maxRows  = 500
	maxValue = 400
	maxDepth = 32
)

// flatten lists the values of a JSON document in its order, at most so many, and counts the others. Objects are
// descended into; arrays are shown as they are written.
func flatten(document json.RawMessage, most int) (rows []row, more int) {
	f := &flattener{most: most}
	f.value("", document, 0)
	return f.rows, f.more
}

type flattener struct {
	rows []row
	more int
	most int
}

func (f *flattener) value(name string, raw json.RawMessage, depth int) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err == nil && t == json.Delim('{') && depth < maxDepth && d.More() {
		for d.More() {
			key, err := d.Token()
			var inner json.RawMessage
			if err != nil || d.Decode(&inner) != nil {
				return
			}
			text, _ := key.(string)
			f.value(join(name, text), inner, depth+1)
		}
		return
	}
	if len(f.rows) >= f.most {
		f.more++
		return
	}
	f.rows = append(f.rows, row{name, cut(plainValue(raw))})
}

func join(name, key string) string {
	if name == "" {
		return key
	}
	return name + "." + key
}

// plainValue is a JSON value as people write it: texts without quotes.
func plainValue(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil && !bytes.Equal(raw, []byte("null")) {
		return text
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return strings.ReplaceAll(b.String(), ",", ", ")
}

func cut(text string) string {
	text = status.Plain(text)
	if len(text) <= maxValue {
		return text
	}
	return strings.ToValidUTF8(text[:maxValue], "") + "… (" + strconv.Itoa(len(text)) + " bytes)"
}
