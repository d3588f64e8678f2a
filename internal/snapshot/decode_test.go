package snapshot

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func mustDecode(t *testing.T, path, text string) (any, []Note) {
	t.Helper()
	value, notes, err := Decode(File{Path: path, Name: path, Data: []byte(text)})
	require.NoError(t, err)
	return value, notes
}

func TestDecodeJSON(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{"b": 1, "a": 2.0, "b": 3}`, `{'b': 3, 'a': 2.0}`},
		{"\ufeff [1, -0, 0.0, -1.5e3, 1E+2, 1e400]", `[1, 0, 0.0, -1500.0, 100.0, inf]`},
		{`[NaN, Infinity, -Infinity]`, `[nan, inf, -inf]`},
		{`[9223372036854775807, 9223372036854775808, -123456789012345678901234567890]`,
			`[9223372036854775807, 9223372036854775808, -123456789012345678901234567890]`},
		{`[true, false, null, [], {}]`, `[True, False, None, [], {}]`},
		{`"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é"`, "'\"\\/\b\f\n\r\té😀é'"},
		{`"\ud83dx"`, "'\xed\xa0\xbdx'"},
		{` 5 `, `5`},
	}
	for _, test := range tests {
		value, _ := mustDecode(t, "c.json", test.text)
		require.Equal(t, test.want, literal(value), test.text)
	}
}

func TestDecodeErrors(t *testing.T) {
	tests := []struct{ name, path, text, want string }{
		{"empty", "c.json", ``, `decode config "c.json": line 1, column 1: expected a value`},
		{"trailing comma", "c.json", "{\n \"a\": 1,\n}", `line 3, column 1: expected a key in double quotes`},
		{"no colon", "c.json", `{"é" 1}`, `line 1, column 6: expected ':'`},
		{"no end of list", "c.json", `[1`, `expected ',' or ']'`},
		{"no end of object", "c.json", `{"a":1`, `expected ',' or '}'`},
		{"no end of string", "c.json", `"a`, `a string without an end`},
		{"control character", "c.json", "\"a\nb\"", `a control character in a string`},
		{"bad escape", "c.json", `"\x"`, `an unknown escape`},
		{"bad unicode escape", "c.json", `"\u12"`, `an unknown escape`},
		{"leading zero", "c.json", `01`, `more text after the end of the value`},
		{"leading plus", "c.json", `+1`, `expected a value`},
		{"lone minus", "c.json", `-`, `expected a value`},
		{"two values", "c.json", `{} {}`, `line 1, column 4: more text`},
		{"deep", "c.json", strings.Repeat("[", 100_000), `nested more than 200 levels deep`},
		{"long integer", "c.json", strings.Repeat("1", 5000), `an integer of more than 4300 digits`},
		{"many values", "c.json", "[" + strings.Repeat("0,", maxValues+1), `more than 1048576 values`},
		{"not UTF-8", "c.json", "\"\xff\"", `decode config "c.json": not UTF-8 text`},
		{"a path with an escape", "\x1b[31m.json", ``, `decode config "\x1b[31m.json": line`},

		{"two documents", "c.yaml", "a: 1\n---\nb: 2\n", `line 2: a second document begins`},
		{"broken second document", "c.yaml", "a: 1\n---\n[", `yaml: `},
		{"broken", "c.yml", "a: [1", `yaml: `},
		{"unknown alias", "c.yaml", "a: *x", `unknown anchor`},
		{"deep flow", "c.yaml", strings.Repeat("[", 9000) + strings.Repeat("]", 9000), `nested more than 200 levels deep`},
		{"deeper flow", "c.yaml", strings.Repeat("[", 100_000), `exceeded max depth`},
		{"alias to itself", "c.yaml", "a: &a [*a]", `line 1, column 4: an alias to a value that it is part of`},
		{"merge of itself", "c.yaml", "a: &a\n  <<: *a", `a merge key that names the mapping it is part of`},
		{"merge of a scalar", "c.yaml", "<<: 1", `a merge key whose value is not a mapping`},
		{"collection as a key", "c.yaml", "? [a, b]\n: 1", `a key that is neither a scalar nor a tuple of scalars`},
		{"long integer in YAML", "c.yaml", strings.Repeat("1", 5000), `an integer of more than 4300 digits`},
		{"large YAML", "c.yaml", strings.Repeat("a", maxYAMLSize+1), `bytes of YAML, at most`},

		{"broken TOML", "c.toml", "a = 1\nb = \n", `line 2: `},
		{"duplicate key", "c.toml", "a = 1\na = 2\n", `line 2: `},
		{"deep array", "c.toml", "a = " + strings.Repeat("[", 100_000), `line 1: nested more than 200 levels deep`},
		{"deep inline table", "c.toml", "# [\na = " + strings.Repeat("{a=", 300), `line 2: nested more than 200`},
		{"long dotted key", "c.toml", "a = 'x' # .\n\n" + strings.Repeat("a.", 300) + "b = 1", `line 3: a dotted key of more than 32 parts`},
		{"long quoted dotted key", "c.toml", strings.Repeat(`"a" . `, 300) + "b = 1", `line 1: a dotted key of more than 32 parts`},
		{"large TOML", "c.toml", strings.Repeat("#", maxTOMLSize+1), `bytes of TOML, at most`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := Decode(File{Path: test.path, Data: []byte(test.text)})
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestDecodeYAMLScalarsAsPyYAML(t *testing.T) {
	data, err := os.ReadFile("testdata/scalars.tsv")
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		text, want, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		require.True(t, ok)
		value, _ := mustDecode(t, "c.yaml", "k: "+text)
		require.Equal(t, "{'k': "+want+"}", literal(value), text)
	}
}

func TestDecodeYAML(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"floats as OmegaConf", "[1e-3, 1E5, 1.5e3, 5e-05]", `[0.001, 100000.0, 1500.0, 5e-05]`},
		{"octal as YAML 1.2", "[0o17, -0o17]", `[15, -15]`},
		{"timestamps", "[2026-01-08, 2026-01-08T14:30:22Z]", `['2026-01-08', '2026-01-08T14:30:22Z']`},
		{"explicit tags", `[!!str 1, !!int "2", !!float 3, !!str yes, !!bool "no"]`, `['1', 2, 3.0, 'yes', False]`},
		{"block scalars", "a: |\n  1\nb: >\n  yes", "{'a': '1\n', 'b': 'yes'}"},
		{"order and last duplicate", "b: 1\na: 2\nb: 3", `{'b': 3, 'a': 2}`},
		{"keys", "1: a\n1.5: b\nyes: c\n~: d\n? !!python/tuple [1, x]\n: e", `{'1': 'a', '1.5': 'b', 'True': 'c', 'None': 'd', '(1, 'x')': 'e'}`},
		{"tuples", "a: !!python/tuple\n- 1\n- [2]\nb: !<tag:yaml.org,2002:python/tuple> []", `{'a': (1, [2],), 'b': (,)}`},
		{"anchors", "a: &x {k: 1}\nb: *x\nc: [*x]", `{'a': {'k': 1}, 'b': {'k': 1}, 'c': [{'k': 1}]}`},
		{"merge", "a: &x {k: 1, l: 2}\nb:\n  m: 3\n  l: 4\n  <<: *x", `{'a': {'k': 1, 'l': 2}, 'b': {'k': 1, 'l': 4, 'm': 3}}`},
		{"merge list", "b:\n  <<: [{k: 1}, {k: 2, l: 3}]", `{'b': {'k': 1, 'l': 3}}`},
		{"quoted merge is a key", `{"<<": 1}`, `{'<<': 1}`},
		{"empty", "", `None`},
		{"only a comment", "# nothing\n", `None`},
		{"explicit end", "--- {a: 1}\n...\n", `{'a': 1}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			value, notes := mustDecode(t, "c.yaml", test.text)
			require.Equal(t, test.want, literal(value))
			require.Empty(t, notes)
		})
	}
}

// What PyYAML makes of paths, tensors and arrays, as Lightning's hparams.yaml has them.
func TestYAMLOfPathsAndTensors(t *testing.T) {
	text := "data: !!python/object/apply:pathlib.PosixPath\n- /\n- data\n- train.npz\n" +
		"here: !!python/object/apply:pathlib.PosixPath []\n" +
		"mask: &m !!python/object/apply:torch._utils._rebuild_tensor_v2\n- !!python/object/apply:torch.storage._load_from_bytes\n  - !!binary |\n    gAKKCmz8nEb5\n- 0\n" +
		"again: *m\n" +
		"list: [1, *m]\n" +
		"probe: !!python/object/apply:numpy.core.multiarray._reconstruct {args: [1], state: [!!binary gAKK]}\n"
	value, notes, err := Decode(file("hparams.yaml", text))
	require.NoError(t, err)
	require.Equal(t, `{'data': '/data/train.npz', 'here': '.', 'list': [1, None]}`, literal(value))
	require.Equal(t, []string{
		"hparams.yaml mask: a tensor, at line 6, left out of the params", "hparams.yaml again: a tensor, at line 6, left out of the params",
		"hparams.yaml 1: a tensor, at line 6, left out of the params", "hparams.yaml probe: an array, at line 13, left out of the params",
	}, noteTexts(notes, NoteLeftOut))
	require.Empty(t, noteTexts(notes, NoteTag))
}

func TestDecodeYAMLNotesForeignTags(t *testing.T) {
	text := "a: !!python/object/apply:os.system ['rm -rf /']\n" +
		"b: !!python/object:app.Config {x: 1}\n" +
		"c: !!python/name:torch.nn.ReLU ''\n" +
		"d: !secret 5\n" +
		"e: !!python/unicode 5\n" +
		"f: !!binary aGk=\n" +
		"g: !!set {x}\n"
	value, notes := mustDecode(t, "c.yaml", text)
	require.Equal(t, `{'a': ['rm -rf /'], 'b': {'x': 1}, 'c': '', 'd': 5, 'e': '5', 'f': 'aGk=', 'g': {'x': None}}`, literal(value))
	require.Len(t, notes, 7)
	for _, n := range notes {
		require.Equal(t, NoteTag, n.Kind)
		require.Equal(t, "c.yaml", n.Source)
	}
	require.Contains(t, notes[0].Text, `"!!python/object/apply:os.system"`)
}

func TestDecodeYAMLBoundsAliases(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for _, level := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		below := string(level[0] - 1)
		bomb += "a" + level + ": &a" + level + " [" + strings.Repeat("*a"+below+", ", 10) + "]\n"
	}
	merges := strings.ReplaceAll(strings.ReplaceAll(bomb, "[x, x, x, x, x, x, x, x, x, x]", "{x: 1}"), " [*", " {<<: [*")
	merges = strings.ReplaceAll(merges, "]\n", "]}\n")
	for _, text := range []string{bomb, merges} {
		_, _, err := Decode(File{Path: "c.yaml", Data: []byte(text)})
		require.Error(t, err)
		require.Regexp(t, `more than 100000 values when aliases are expanded|repeated beyond measure`, err.Error())
	}
}

func TestDecodeTOML(t *testing.T) {
	text := `
title = "run"
big = 9_223_372_036_854_775_807
rate = 1e-3
limits = [nan, inf, -inf]
when = 2026-01-08T14:30:22.5+01:00
local = 2026-01-08T14:30:22
day = 2026-01-08
time = 14:30:22.25

[model]
width = 8
depth.max = 4
depth.min = 2
[model.act]
name = 'silu'

[[stage]]
b = 1
a = 2
[[stage]]
a = 3
[data]
inline = { z = 1, y = [ { q = 1, p = 2 } ] }
`
	value, notes := mustDecode(t, "c.toml", text)
	require.Empty(t, notes)
	require.Equal(t, `{'title': 'run', 'big': 9223372036854775807, 'rate': 0.001, 'limits': [nan, inf, -inf], `+
		`'when': '2026-01-08T14:30:22.5+01:00', 'local': '2026-01-08T14:30:22', 'day': '2026-01-08', 'time': '14:30:22.25', `+
		`'model': {'width': 8, 'depth': {'max': 4, 'min': 2}, 'act': {'name': 'silu'}}, `+
		`'stage': [{'b': 1, 'a': 2}, {'a': 3}], 'data': {'inline': {'z': 1, 'y': [{'q': 1, 'p': 2}]}}}`, literal(value))
}

func TestDecodeByContent(t *testing.T) {
	for path, text := range map[string]string{
		"config":      `{"a": NaN}`,
		"config.conf": "a: .nan",
		"c.JSON":      `{"a": NaN}`,
		"c.cfg":       "\ufeffa: .nan",
	} {
		value, _ := mustDecode(t, path, text)
		require.Equal(t, `{'a': nan}`, literal(value), path)
	}
}

func fuzzDecode(f *testing.F, path string, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		value, _, err := Decode(File{Path: path, Data: data})
		if err != nil {
			return
		}
		requirePlain(t, value, true, 0)
		again, _, err := Decode(File{Path: path, Data: bytes.Clone(data)})
		require.NoError(t, err)
		require.Equal(t, literal(value), literal(again))
	})
}

func FuzzDecodeJSON(f *testing.F) {
	fuzzDecode(f, "c.json", `{"a": [1, -2.5e-3, NaN, "\ud83d\ude00\n", true, null, {}]}`, `-`, `"\u12`, `[[[[`)
}

func FuzzDecodeYAML(f *testing.F) {
	fuzzDecode(f, "c.yaml", "a: &a [1, 0x1f, 1:30, .inf]\nb:\n  <<: {c: *a}\n  d: !!python/tuple [x]\n",
		"? [a]\n: - - -", "a: |\n  x\n---\n", "&a [*a]", "{<<: [*a, {b: ~}]}", "!!float 1: !x\n- 'q'")
}

func FuzzDecodeTOML(f *testing.F) {
	fuzzDecode(f, "c.toml", "a.b = 1\n[t]\nd = 2026-01-08\n[[l]]\nx = {y = [1.5, '''q''']}\n", "a = \"\"\"\\\n\"\"\"", "[a.\"b\"]\n#[")
}
