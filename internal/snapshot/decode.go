package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

const (
	// maxDepth bounds the nesting of what is decoded or flattened.
	maxDepth = 200
	// maxValues bounds the values made of one config.
	maxValues = 1 << 20
	// maxDigits is Python's own limit for reading an int from text (sys.int_info.default_max_str_digits).
	maxDigits = 4300
)

var (
	errTooDeep     = fmt.Errorf("nested more than %d levels deep", maxDepth)
	errTooMany     = fmt.Errorf("more than %d values", maxValues)
	errTooLongInt  = fmt.Errorf("an integer of more than %d digits", maxDigits)
	errNotUTF8     = errors.New("not UTF-8 text")
	byteOrderMark  = []byte("\xef\xbb\xbf")
	decodersByName = map[string]decoder{".json": decodeJSON, ".yaml": decodeYAML, ".yml": decodeYAML, ".toml": decodeTOML}
)

type decoder func(data []byte, notes *notebook) (any, error)

// Decode reads a config file into plain values, in the order of the file. YAML's !!python/tuple
// becomes a *pickle.Tuple; every other foreign tag is ignored and noted. The extension of the
// file's path says the format; without a known one, the text is tried as JSON and then as YAML.
func Decode(f File) (any, []Note, error) {
	if !utf8.Valid(f.Data) {
		return nil, nil, fmt.Errorf("decode config %q: %w", f.Path, errNotUTF8)
	}
	decode := decodersByName[strings.ToLower(path.Ext(f.Path))]
	if decode == nil {
		decode = decodeText
	}
	notes := &notebook{source: f.Name}
	value, err := decode(bytes.TrimPrefix(f.Data, byteOrderMark), notes)
	if err != nil {
		return nil, nil, fmt.Errorf("decode config %q: %w", f.Path, err)
	}
	return value, notes.list(), nil
}

// decodeText reads text of an unknown format. JSON goes first: YAML would read NaN as a string.
func decodeText(data []byte, notes *notebook) (any, error) {
	if value, err := decodeJSON(data, notes); err == nil {
		return value, nil
	}
	return decodeYAML(data, notes)
}

// guard turns a panic of a foreign parser into an error.
func guard(parse func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the parser broke on this text: %v", p)
		}
	}()
	return parse()
}
