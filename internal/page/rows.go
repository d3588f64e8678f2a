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
// descended into, also those in arrays; other arrays are shown as they are written.
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
	if depth < maxDepth && (isOf(raw, "{") && f.object(name, raw, depth) || isOf(raw, "[{") && f.array(name, raw, depth)) {
		return
	}
	if len(f.rows) >= f.most {
		f.more++
		return
	}
	f.rows = append(f.rows, row{name, cut(plainValue(raw))})
}

// isOf tells whether a JSON value begins with these delimiters, and is not empty.
func isOf(raw json.RawMessage, delimiters string) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	for _, want := range delimiters {
		if t, err := d.Token(); err != nil || t != json.Delim(want) {
			return false
		}
	}
	return d.More()
}

func (f *flattener) object(name string, raw json.RawMessage, depth int) bool {
	return inside(raw, func(d *json.Decoder, _ int) error {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var inner json.RawMessage
		if err := d.Decode(&inner); err != nil {
			return err
		}
		text, _ := key.(string)
		f.value(join(name, text), inner, depth+1)
		return nil
	})
}

func (f *flattener) array(name string, raw json.RawMessage, depth int) bool {
	return inside(raw, func(d *json.Decoder, i int) error {
		var inner json.RawMessage
		if err := d.Decode(&inner); err != nil {
			return err
		}
		f.value(name+"["+strconv.Itoa(i)+"]", inner, depth+1)
		return nil
	})
}

// inside calls next for each element of an object or array, and tells whether it was one.
func inside(raw json.RawMessage, next func(d *json.Decoder, i int) error) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return false
	}
	for i := 0; d.More(); i++ {
		if next(d, i) != nil {
			break
		}
	}
	return true
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
