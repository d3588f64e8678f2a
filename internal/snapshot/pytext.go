package snapshot

import (
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// keyText returns what Python's str makes of a dict key; false when the key is not a scalar or a
// tuple of them.
func keyText(key any) (string, bool) {
	if text, ok := key.(string); ok {
		return text, true
	}
	return scalarRepr(key)
}

func scalarRepr(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "None", true
	case bool:
		if v {
			return "True", true
		}
		return "False", true
	case int64:
		return strconv.FormatInt(v, 10), true
	case *big.Int:
		return v.String(), true
	case float64:
		return floatRepr(v), true
	case string:
		return "'" + v + "'", true
	case *pickle.Tuple:
		return tupleRepr(v)
	}
	return "", false
}

// tupleRepr writes a tuple of scalars; tuples in tuples are no keys worth reading.
func tupleRepr(t *pickle.Tuple) (string, bool) {
	parts := make([]string, len(t.Items))
	for i, item := range t.Items {
		if _, nested := item.(*pickle.Tuple); nested {
			return "", false
		}
		text, ok := scalarRepr(item)
		if !ok {
			return "", false
		}
		parts[i] = text
	}
	if len(parts) == 1 {
		return "(" + parts[0] + ",)", true
	}
	return "(" + strings.Join(parts, ", ") + ")", true
}

// floatRepr is Python's repr of a float: exponents below -4 and from 16 on (CPython's PyOS_double_to_string).
func floatRepr(v float64) string {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 0):
		return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(v, 'g', -1, 64), "+"))
	}
	if a := math.Abs(v); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// show describes a value in an error message, clipped and escaped.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case *pickle.List:
		return showItems(v.Items, "[", "]")
	case *pickle.Tuple:
		return showItems(v.Items, "(", ")")
	case *pickle.Dict:
		return "a mapping"
	case *pickle.Object:
		return "an instance of " + quote(className(v))
	}
	if text, ok := scalarRepr(v); ok {
		return clip(text)
	}
	return "something else"
}

func showItems(items []any, opening, closing string) string {
	const most = 8
	var parts []string
	for _, item := range items[:min(len(items), most)] {
		switch item.(type) {
		case *pickle.List, *pickle.Tuple:
			parts = append(parts, quotedTail)
		default:
			parts = append(parts, show(item))
		}
	}
	if len(items) > most {
		parts = append(parts, quotedTail)
	}
	return opening + strings.Join(parts, ", ") + closing
}
