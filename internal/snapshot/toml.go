package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

const (
	// maxTOMLSize bounds the text given to the TOML parser.
	maxTOMLSize = 256 << 10
	// maxTOMLKeyDepth bounds the parts of a dotted key, each of which costs the parser time in
	// every key below it.
	maxTOMLKeyDepth = 32
)

// decodeTOML reads a TOML document; its dates and times become strings as TOML writes them.
func decodeTOML(data []byte, _ *notebook) (any, error) {
	if len(data) > maxTOMLSize {
		return nil, fmt.Errorf("%d bytes of TOML, at most %d are read", len(data), maxTOMLSize)
	}
	if err := checkTOMLDepth(data); err != nil {
		return nil, err
	}
	var tree map[string]any
	var order tomlOrder
	err := guard(func() error {
		meta, err := toml.Decode(string(data), &tree)
		order = newTOMLOrder(meta.Keys())
		return err
	})
	if err != nil {
		return nil, tomlError(err)
	}
	return order.dict(tree, ""), nil
}

func tomlError(err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return &SyntaxError{Line: parse.Position.Line, Reason: quote(parse.Message)}
	}
	return err
}

// tomlOrder gives each dotted path the place of its first appearance. The tables of an array share
// their paths, and so the order of their keys.
type tomlOrder map[string]int

const tomlSeparator = "\x00"

func newTOMLOrder(keys []toml.Key) tomlOrder {
	order := make(tomlOrder)
	for _, key := range keys {
		path := tomlSeparator + strings.Join(key, tomlSeparator)
		for end := len(path); end > 0; end = strings.LastIndex(path[:end], tomlSeparator) {
			if _, ok := order[path[:end]]; ok {
				break
			}
			order[path[:end]] = len(order)
		}
	}
	return order
}

func (o tomlOrder) dict(table map[string]any, path string) *pickle.Dict {
	keys := make([]string, 0, len(table))
	for key := range table {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if d := o.place(path, a) - o.place(path, b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	dict := &pickle.Dict{}
	for _, key := range keys {
		dict.Set(key, o.value(table[key], path+tomlSeparator+key))
	}
	return dict
}

func (o tomlOrder) place(path, key string) int {
	if i, ok := o[path+tomlSeparator+key]; ok {
		return i
	}
	return math.MaxInt32
}

func (o tomlOrder) value(v any, path string) any {
	switch v := v.(type) {
	case map[string]any:
		return o.dict(v, path)
	case []map[string]any:
		list := &pickle.List{}
		for _, table := range v {
			list.Items = append(list.Items, o.dict(table, path))
		}
		return list
	case []any:
		list := &pickle.List{}
		for _, item := range v {
			list.Items = append(list.Items, o.value(item, path))
		}
		return list
	case time.Time:
		return tomlTime(v)
	}
	return v
}

// tomlTime writes a time as TOML does; the parser marks local ones by the name of their location.
func tomlTime(t time.Time) string {
	switch t.Location().String() {
	case "datetime-local":
		return t.Format("2006-01-02T15:04:05.999999999")
	case "date-local":
		return t.Format(time.DateOnly)
	case "time-local":
		return t.Format("15:04:05.999999999")
	}
	return t.Format(time.RFC3339Nano)
}

// checkTOMLDepth refuses nesting that the parser, which recurses without a limit and works in the
// square of the parts of a dotted key, could not bear. It knows no more of TOML than its strings
// and comments.
func checkTOMLDepth(data []byte) error {
	depth, dots, line := 0, 0, 1
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"', '\'', '#':
			opaque := tomlOpaque(data[i:])
			line += bytes.Count(data[i:i+opaque], newline)
			i += opaque - 1
		case '\n':
			line++
			dots = 0
		case '[', '{':
			depth++
			dots = 0
		case ']', '}':
			depth = max(0, depth-1)
		case ',', '=':
			dots = 0
		case '.':
			dots++
		}
		if depth > maxDepth {
			return &SyntaxError{Line: line, Reason: errTooDeep.Error()}
		}
		if dots > maxTOMLKeyDepth {
			return &SyntaxError{Line: line, Reason: fmt.Sprintf("a dotted key of more than %d parts", maxTOMLKeyDepth)}
		}
	}
	return nil
}

var newline = []byte("\n")

// tomlOpaque returns the length of the string or comment that data begins with, without the end of
// the line where one ends it.
func tomlOpaque(data []byte) int {
	if data[0] == '#' {
		return 1 + len(bytes.SplitN(data[1:], newline, 2)[0])
	}
	quote, escapes := data[:1], data[0] == '"'
	if long := bytes.Repeat(quote, 3); bytes.HasPrefix(data, long) {
		return lengthUntil(data, 3, long, escapes)
	}
	return lengthUntil(data, 1, quote, escapes)
}

// lengthUntil returns the length of data up to and with end, sought after the first from bytes.
// A one-byte end is not sought beyond the line.
func lengthUntil(data []byte, from int, end []byte, escapes bool) int {
	for i := from; i < len(data); i++ {
		switch {
		case bytes.HasPrefix(data[i:], end):
			return i + len(end)
		case len(end) == 1 && data[i] == '\n':
			return i
		case escapes && data[i] == '\\':
			i++
		}
	}
	return len(data)
}
