package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

const (
	// maxYAMLSize bounds the text given to the YAML parser, whose nodes take about a hundred times
	// the bytes of the text they stand for.
	maxYAMLSize = 2 << 20
	// Aliases may make this many values per byte of text, or minYAMLValues.
	yamlValuesPerByte = 4
	minYAMLValues     = 100_000
)

// decodeYAML reads one YAML document, its scalars as PyYAML resolves them.
func decodeYAML(data []byte, notes *notebook) (any, error) {
	if len(data) > maxYAMLSize {
		return nil, fmt.Errorf("%d bytes of YAML, at most %d are read", len(data), maxYAMLSize)
	}
	var root *yaml.Node
	err := guard(func() (err error) {
		root, err = composeYAML(data)
		return err
	})
	if err != nil || root == nil {
		return nil, err
	}
	budget := min(max(minYAMLValues, yamlValuesPerByte*len(data)), maxValues)
	r := yamlReader{notes: notes, budget: budget, left: budget, open: make(map[*yaml.Node]bool)}
	return r.value(root, 0)
}

// composeYAML returns the root of the only document, nil when there is none.
func composeYAML(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, &SyntaxError{Line: second.Line, Reason: "a second document begins; a config is one document"}
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	return document.Content[0], nil
}

type yamlReader struct {
	notes  *notebook
	budget int
	left   int                 // how many values may still be made
	open   map[*yaml.Node]bool // the collections around the current node
}

func (r *yamlReader) value(n *yaml.Node, depth int) (any, error) {
	if r.left--; r.left < 0 {
		return nil, yamlError(n, fmt.Sprintf("more than %d values when aliases are expanded", r.budget))
	}
	if depth > maxDepth {
		return nil, yamlError(n, errTooDeep.Error())
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.value(n.Alias, depth)
	case yaml.ScalarNode:
		return r.scalar(n)
	}
	if r.open[n] {
		return nil, yamlError(n, "an alias to a value that it is part of")
	}
	r.open[n] = true
	defer delete(r.open, n)
	if n.Kind == yaml.SequenceNode {
		return r.sequence(n, depth)
	}
	r.noteTag(n, "!!map")
	dict := &pickle.Dict{}
	return dict, r.fill(dict, n, depth)
}

func (r *yamlReader) sequence(n *yaml.Node, depth int) (any, error) {
	items := make([]any, len(n.Content))
	for i, child := range n.Content {
		if r.leaveOut(child, fmt.Sprint(i)) {
			continue
		}
		var err error
		if items[i], err = r.value(child, depth+1); err != nil {
			return nil, err
		}
	}
	if n.Tag == "!!python/tuple" {
		return &pickle.Tuple{Items: items}, nil
	}
	if class, ok := strings.CutPrefix(n.Tag, yamlCall); ok && strings.HasPrefix(class, "pathlib.") {
		return pathText(class, items), nil
	}
	r.noteTag(n, "!!seq")
	return &pickle.List{Items: items}, nil
}

// fill sets the pairs of a mapping: first those of its merge keys, so that its own win, as PyYAML does.
func (r *yamlReader) fill(dict *pickle.Dict, n *yaml.Node, depth int) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag == "!!merge" {
			if err := r.merge(dict, n.Content[i+1], depth+1); err != nil {
				return err
			}
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag != "!!merge" {
			if err := r.pair(dict, n.Content[i], n.Content[i+1], depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *yamlReader) pair(dict *pickle.Dict, keyNode, valueNode *yaml.Node, depth int) error {
	key, err := r.value(keyNode, depth)
	if err != nil {
		return err
	}
	name, ok := keyText(key)
	if !ok {
		return yamlError(keyNode, "a key that is neither a scalar nor a tuple of scalars")
	}
	if r.leaveOut(valueNode, name) {
		return nil
	}
	value, err := r.value(valueNode, depth)
	if err != nil {
		return err
	}
	dict.Set(name, value)
	return nil
}

// yamlCall begins the tags under which PyYAML writes what a call returns, with the arguments as items.
const yamlCall = "!!python/object/apply:"

// leaveOut tells whether a value is a tensor or an array, of which PyYAML writes the bytes as base64,
// and notes that it is left out.
func (r *yamlReader) leaveOut(n *yaml.Node, name string) bool {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	call, _ := strings.CutPrefix(n.Tag, yamlCall)
	what := ""
	switch {
	case strings.HasPrefix(call, "torch._utils._rebuild_"), strings.HasPrefix(call, "torch._tensor._rebuild_"):
		what = "a tensor"
	case call == "numpy.core.multiarray._reconstruct", call == "numpy._core.multiarray._reconstruct":
		what = "an array"
	default:
		return false
	}
	r.notes.add(NoteLeftOut, clip(name), "%s, at line %d, left out of the params", what, n.Line)
	return true
}

// merge sets the pairs of the value of a merge key: a mapping, or mappings of which the first wins.
func (r *yamlReader) merge(dict *pickle.Dict, n *yaml.Node, depth int) error {
	if r.left--; r.left < 0 || depth > maxDepth {
		return yamlError(n, "merge keys nested or repeated beyond measure")
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.merge(dict, n.Alias, depth)
	case yaml.MappingNode:
		if r.open[n] {
			return yamlError(n, "a merge key that names the mapping it is part of")
		}
		r.open[n] = true
		defer delete(r.open, n)
		return r.fill(dict, n, depth)
	case yaml.SequenceNode:
		for i := len(n.Content) - 1; i >= 0; i-- {
			if err := r.merge(dict, n.Content[i], depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return yamlError(n, "a merge key whose value is not a mapping")
}

// scalar resolves a scalar: by its tag when that is one of YAML's own, else by its text when it is plain.
func (r *yamlReader) scalar(n *yaml.Node) (any, error) {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	tag := ""
	if n.Style&yaml.TaggedStyle != 0 {
		tag = n.Tag
	}
	switch tag {
	case "!!str", "!!timestamp":
		return n.Value, nil
	case "!!int", "!!float", "!!bool", "!!null":
		return r.resolve(n, tag == "!!float")
	case "":
	default:
		r.noteTag(n, "")
	}
	if n.Style&quoted != 0 || tag == "!!python/str" || tag == "!!python/unicode" {
		return n.Value, nil
	}
	return r.resolve(n, false)
}

func (r *yamlReader) resolve(n *yaml.Node, float bool) (any, error) {
	value, err := resolveScalar(n.Value)
	if err != nil {
		return nil, yamlError(n, err.Error())
	}
	if i, ok := value.(int64); ok && float {
		return float64(i), nil
	}
	return value, nil
}

// noteTag notes an explicit tag other than the usual one.
func (r *yamlReader) noteTag(n *yaml.Node, usual string) {
	if n.Style&yaml.TaggedStyle != 0 && n.Tag != usual {
		r.notes.add(NoteTag, "", "tag %s was not followed, its value is kept as plain data", quote(n.Tag))
	}
}

func yamlError(n *yaml.Node, reason string) error {
	return &SyntaxError{Line: n.Line, Column: n.Column, Reason: reason}
}
