package config

import (
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"
)

// tricky is TOML in which the lines are hard to find.
var tricky = []string{
	"",
	"# only [a] comment = 1",
	"a = 1\nb.c = 2\n\"d e\".'f.g' . h = 3",
	"[a]\nb = 1 # [c]\n[ a . 'x y' ]\nz = '#'\n[[t]]\n[[ t ]]\nu = 1\n[t.v]\nw = 2",
	"a = \"\"\"\nb = 1\n[c]\n\"\"\"\nd = '''\n[[e]]'''\nf = 2",
	"a = \"\"\"x\\\"\"\"\"\"\"\nb = '''y'''''\nc = \"\"\"\"\"\"\nd = \"\"\nf = ''",
	"a = \"\\\\\" # \"\nb = 'c\\'\nd = \"\"\"\\\\\"\"\"\ne = 1",
	"a = [\n  'x', # ] \n  [1,\n 2], { b = ']', c = [ { d = 1 } ] },\n]\ne = 1",
	"a = { b = 1, c.d = 2, 'e' = { f = \"}\" } }\ng = 1",
	"a = {\n b = 1, # }\n c = 2,\n}\nd = 3",
	"[a.b]\nc = 1\n[a]\nd = 2",
	"a = 1979-05-27 07:32:00\nb = -1e6 # x\nc = +inf\nd = true",
	"\"\\u00e9\\t\\\"\" = 1\n\"\\x41\\e\" = 2\n'\\u00e9' = 3\n\"\" = 4\ng = {'' = 5}",
	"\xef\xbb\xbfa = 1\r\n[b]\r\nc = \"\"\"\r\n\"\"\"\r\nd = 1\r\n",
	"watch = [\n { name = 'a' },\n { name = 'b',\n root = '.' },\n]",
	"[[a]]\n[[a.b]]\nc = 1\n[[a.b]]\nc = 2\n[[a]]\n[[a.b]]\n[a.b.d]\ne = 3",
}

func TestScanFindsTheKeysOfTOML(t *testing.T) {
	for _, src := range tricky {
		requireSameKeys(t, src)
	}
}

func requireSameKeys(t *testing.T, src string) {
	t.Helper()
	var values map[string]any
	meta, err := toml.Decode(src, &values)
	require.NoError(t, err, src)
	tree, keys := scan(src)
	require.Len(t, keys, len(meta.Keys()), src)
	for i, key := range meta.Keys() {
		require.Equal(t, []string(key), keys[i], src)
	}
	requireSameShape(t, values, tree, strings.Count(src, "\n")+1)
}

// requireSameShape proves that the nodes form the same tree as the decoded values.
func requireSameShape(t *testing.T, value any, at *node, lines int) {
	t.Helper()
	require.NotNil(t, at)
	require.Positive(t, at.line)
	require.LessOrEqual(t, at.line, lines)
	if table, ok := value.(map[string]any); ok {
		require.Len(t, at.names, len(table))
		require.Len(t, at.table, len(table))
		for name, inner := range table {
			requireSameShape(t, inner, at.child(name), lines)
		}
	}
	if tables, ok := value.([]map[string]any); ok {
		require.Len(t, at.items, len(tables))
		for i := range tables {
			requireSameShape(t, tables[i], at.item(i), lines)
		}
	}
	if items, ok := value.([]any); ok {
		require.Len(t, at.items, len(items))
		for i := range items {
			requireSameShape(t, items[i], at.item(i), lines)
		}
	}
}

func TestScanLines(t *testing.T) {
	src := strings.Join([]string{
		/*  1 */ `# comment`,
		/*  2 */ `[artifacts]`,
		/*  3 */ `dir = """`,
		/*  4 */ `[watch]`,
		/*  5 */ `x = 1"""`,
		/*  6 */ `[[watch]]`,
		/*  7 */ `name = 'a'`,
		/*  8 */ `[watch.config]`,
		/*  9 */ `files = [ "x",`,
		/* 10 */ `  # "no"`,
		/* 11 */ `  "y", [`,
		/* 12 */ `  1 ] ]`,
		/* 13 */ `[[watch]]`,
		/* 14 */ `name = 'b'`,
		/* 15 */ `members = { 'a b' = "x",`,
		/* 16 */ ` c.d = { e = 1 } }`,
		/* 17 */ `config.preset = 'none'`,
	}, "\n")
	requireSameKeys(t, src)
	tree, _ := scan(src)
	watch := tree.child("watch")
	lines := map[string]int{
		"artifacts":     tree.child("artifacts").line,
		"artifacts.dir": tree.child("artifacts").child("dir").line,
		"first":         watch.item(0).line,
		"first name":    watch.item(0).child("name").line,
		"files":         watch.item(0).child("config").child("files").line,
		"files 0":       watch.item(0).child("config").child("files").item(0).line,
		"files 1":       watch.item(0).child("config").child("files").item(1).line,
		"files 2 0":     watch.item(0).child("config").child("files").item(2).item(0).line,
		"second":        watch.item(1).line,
		"quoted":        watch.item(1).child("members").child("a b").line,
		"inline":        watch.item(1).child("members").child("c").child("d").child("e").line,
		"dotted":        watch.item(1).child("config").child("preset").line,
	}
	require.Equal(t, map[string]int{
		"artifacts": 2, "artifacts.dir": 3, "first": 6, "first name": 7, "files": 9, "files 0": 9, "files 1": 11,
		"files 2 0": 12, "second": 13, "quoted": 15, "inline": 16, "dotted": 17,
	}, lines)
	require.Equal(t, []string{"a b", "c"}, watch.item(1).child("members").names)
	require.Nil(t, watch.item(2).child("name").item(0))
}

func TestDeepNestingIsRead(t *testing.T) {
	src := "a = " + strings.Repeat("[", maxSize/2-10) + strings.Repeat("]", maxSize/2-10)
	_, err := parse("/f", src)
	require.ErrorContains(t, err, "found an unknown key")
}

func FuzzScan(f *testing.F) {
	for _, src := range tricky {
		f.Add(src)
	}
	f.Add("a = \"\\")
	f.Add("[[[a\n{=}]\n= '''")
	f.Add("0=\"\"\"\\\\" + `""""""`)
	f.Fuzz(func(t *testing.T, src string) {
		scan(src)
		if isReadByTOML(src) && !strings.Contains(src, sixQuotes) {
			requireSameKeys(t, src)
		}
	})
}

// sixQuotes is what the TOML library takes for an escaped quote and the end of a text even where the
// backslash is itself escaped: text that is not TOML, which it reads all the same.
const sixQuotes = `\""""""`

func isReadByTOML(src string) bool {
	var values map[string]any
	_, err := toml.Decode(src, &values)
	return err == nil
}

func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add("artifacts = 1\nwatch = 2")
	f.Add("[[watch]]\nmembers = { a = '{b}', c = 'd' }\nconfig = { files = ['{e}'] }\nsettle = 1")
	f.Fuzz(func(t *testing.T, src string) {
		cfg, err := parse("/etc/bundlewatch.toml", src)
		if err == nil {
			require.NotEmpty(t, cfg.Watches)
			require.Greater(t, cfg.Watches[0].Settle, time.Duration(0))
			return
		}
		var problems Problems
		require.ErrorAs(t, err, &problems)
		for _, problem := range problems {
			require.Positive(t, problem.Line)
			require.NotContains(t, problem.Error(), "\n")
			require.NotContains(t, problem.Error(), "\x1b")
		}
	})
}
