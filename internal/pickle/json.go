package pickle

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// AppendJSON appends a plain value as JSON in the order of its dicts, tuples as arrays. A float is
// always written with a point or an exponent, so that it stays a float; NaN and the infinities,
// which JSON has not, become the strings "NaN", "Infinity" and "-Infinity". JSON knows no sharing: a
// value whose shared parts would make more than [MaxSize] bytes is an error.
func AppendJSON(dst []byte, v any) ([]byte, error) {
	w := jsonWriter{limit: len(dst) + MaxSize}
	return w.value(dst, v, 0)
}

type jsonWriter struct{ limit int }

// MarshalJSON implements json.Marshaler.
func (d *Dict) MarshalJSON() ([]byte, error) { return AppendJSON(nil, d) }

// MarshalJSON implements json.Marshaler.
func (l *List) MarshalJSON() ([]byte, error) { return AppendJSON(nil, l) }

// MarshalJSON implements json.Marshaler.
func (t *Tuple) MarshalJSON() ([]byte, error) { return AppendJSON(nil, t) }

func (w jsonWriter) value(dst []byte, v any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("write JSON: values are nested more than %d deep", MaxDepth)
	}
	if len(dst) > w.limit {
		return nil, fmt.Errorf("write JSON: it would be larger than %d bytes", MaxSize)
	}
	switch t := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, t), nil
	case int64:
		return strconv.AppendInt(dst, t, 10), nil
	case *big.Int:
		return t.Append(dst, 10), nil
	case float64:
		return appendJSONFloat(dst, t), nil
	case string:
		return appendJSONString(dst, t)
	case *List:
		return w.array(dst, t.Items, depth)
	case *Tuple:
		return w.array(dst, t.Items, depth)
	case *Dict:
		return w.object(dst, t, depth)
	}
	return nil, fmt.Errorf("write JSON: %s is no plain value", kindOf(v))
}

func appendJSONFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return append(dst, text...)
}

func appendJSONString(dst []byte, s string) ([]byte, error) {
	quoted, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return append(dst, quoted...), nil
}

func (w jsonWriter) array(dst []byte, items []any, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for i, v := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = w.value(dst, v, depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func (w jsonWriter) object(dst []byte, d *Dict, depth int) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	for k, v := range d.All() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		key, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("write JSON: a dict key is %s, not a str", kindOf(k))
		}
		var err error
		if dst, err = appendJSONString(dst, key); err != nil {
			return nil, err
		}
		dst = append(dst, ':')
		if dst, err = w.value(dst, v, depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}
