package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const minimal = `
[artifacts]
dir = "out"
[[watch]]
name = "pairs"
root = "/data/runs"
[watch.members]
b = "{run...}/b-{epoch}.ckpt"
a = "{run...}/a-{epoch}.ckpt"
`

func TestDefaults(t *testing.T) {
	cfg, err := parse("/etc/bw/bundlewatch.toml", minimal)
	require.NoError(t, err)
	require.Equal(t, "/etc/bw/bundlewatch.toml", cfg.Path)
	require.Equal(t, "/etc/bw/out", cfg.Artifacts.Dir)
	require.Len(t, cfg.Watches, 1)

	w := cfg.Watches[0]
	require.Equal(t, "pairs", w.Name)
	require.Equal(t, "/data/runs", w.Root)
	require.Equal(t, SourceAuto, w.Source)
	require.Equal(t, time.Second, w.Settle)
	require.Equal(t, 6*time.Hour, w.Expire)
	require.Equal(t, time.Minute, w.Rescan)
	require.Equal(t, 5*time.Minute, w.Regroup)
	require.Equal(t, Snapshot{Preset: PresetNone}, w.Config)
	require.Equal(t, Payload{Keep: KeepStateDict, Imports: ImportsRefuse}, w.Payload)
	require.Equal(t, "b", w.Members[0].Role, "file order")
	require.Equal(t, "a", w.Members[1].Role)
	require.Equal(t, "{run...}/a-{epoch}.ckpt", w.Members[1].Pattern.String())
}

func TestEveryKey(t *testing.T) {
	cfg, err := parse("/etc/bw/bundlewatch.toml", `
artifacts.dir = "/srv/../srv/out/"
sign.key = "signing.pem"
[[watch]]
name = "w.1"
root = "../runs"
source = "poll"
settle = "10ms"
expire = "1h30m"
rescan = "5s"
regroup = "1ns"
members = { z = { sentinel = true }, y = "{run}/y.ckpt", x = { sentinel = true } }
[watch.config]
files = ["{run}/*.json", "shared.yaml"]
preset = "ptychopinn"
required = ["N", "gridsize"]
[watch.payload]
keep = "verbatim"
imports = "warn"
select = "model"
[[watch]]
name = "w.2"
root = "../runs"
[watch.members]
m = "{run...}/m.ckpt"
`)
	require.NoError(t, err)
	require.Equal(t, "/srv/out", cfg.Artifacts.Dir)
	require.Equal(t, "/etc/bw/signing.pem", cfg.Sign.Key)
	require.EqualError(t, cfg.KeyProblem(errors.New("it\nis bad")),
		`/etc/bw/bundlewatch.toml:3: sign.key: found "/etc/bw/signing.pem", which cannot be used (it\nis bad), expected a private key; bundlewatch keygen makes one`)
	w := cfg.Watches[0]
	require.Equal(t, "/etc/runs", w.Root)
	require.Equal(t, SourcePoll, w.Source)
	require.Equal(t, []time.Duration{10 * time.Millisecond, 90 * time.Minute, 5 * time.Second, 1},
		[]time.Duration{w.Settle, w.Expire, w.Rescan, w.Regroup})
	require.Equal(t, []Member{{Role: "z", Sentinel: true}, {Role: "y", Pattern: w.Members[1].Pattern}, {Role: "x", Sentinel: true}}, w.Members)
	require.Equal(t, "{run}/y.ckpt", w.Members[1].Pattern.String())
	require.Len(t, w.Config.Files, 2)
	require.Equal(t, "shared.yaml", w.Config.Files[1].String())
	require.Equal(t, PresetPtychoPINN, w.Config.Preset)
	require.Equal(t, []string{"N", "gridsize"}, w.Config.Required)
	require.Equal(t, Payload{Keep: KeepVerbatim, Imports: ImportsWarn, Select: "model"}, w.Payload)
	require.Equal(t, "w.2", cfg.Watches[1].Name)
}

// problem is a change of a good file and what is said about it.
type problem struct {
	name     string
	old, new string // in minimal, whose first key is on line 3
	want     []string
}

func TestProblems(t *testing.T) {
	const members = `[watch.members]
b = "{run...}/b-{epoch}.ckpt"
a = "{run...}/a-{epoch}.ckpt"
`
	tests := []problem{
		{"syntax", `dir = "out"`, `dir = out`, []string{`3: artifacts.dir: found bad TOML (expected value but found "out" instead), expected the syntax that https://toml.io describes`}},
		{"syntax hides the rest", `name = "pairs"`, "nam = 1\n= 2", []string{`6: watch: found bad TOML (unexpected '=': key name appears blank), expected the syntax that https://toml.io describes`}},
		{"key twice", `name = "pairs"`, "name = \"a\"\nname = \"b\"", []string{`6: watch.name: found bad TOML (Key 'watch.name' has already been defined.), expected the syntax that https://toml.io describes`}},
		{"case", `root =`, `Root =`, []string{
			`4: watch.root: found nothing, expected a path`,
			`6: watch.Root: found an unknown key, expected one of "name", "root", "source", "settle", "expire", "rescan", "poll_ops", "regroup", "marker", "code", "ignore_writers", "members", "config", "payload" or "retention", did you mean "root"?`,
		}},
		{"unknown table", `[artifacts]`, "[[tidi]]\nroot = \"x\"\n[artifacts]", []string{`2: tidi: found an unknown key, expected one of "artifacts", "watch", "limits", "http", "status", "retention", "alerts", "notify", "sign", "tidy", "store" or "push", did you mean "tidy"?`}},
		{"unknown key in a quoted table", members, members + "[watch.'config']\n\"pre\\u0073ets\" = 1\n\"\\u001b[31m\" = 1\n", []string{
			`11: watch.config.presets: found an unknown key, expected one of "files", "preset", "metrics" or "required", did you mean "preset"?`,
			`12: watch.config."\x1b[31m": found an unknown key, expected one of "files", "preset", "metrics" or "required"`,
		}},
		{"unknown keys inline", members, "members = { a = { sentinal = true }, b = '{n}' }\npayload = { kep = 'x' }", []string{
			`7: watch.members.a.sentinal: found an unknown key, expected one of "sentinel", did you mean "sentinel"?`,
			`7: watch.members.a.sentinel: found nothing, expected true, or a pattern in quotes instead of the table`,
			`8: watch.payload.kep: found an unknown key, expected one of "keep", "imports" or "select", did you mean "keep"?`,
		}},
		{"no artifacts", "[artifacts]\ndir = \"out\"", "", []string{
			`1: artifacts: found nothing, expected a table [artifacts]`,
			`1: artifacts.dir: found nothing, expected a path`,
		}},
		{"sign without a key", `[artifacts]`, "[sign]\n[artifacts]", []string{`2: sign.key: found nothing, expected a path, or no [sign] at all`}},
		{"unknown key of sign", `[artifacts]`, "[sign]\nkeys = 'k.pem'\n[artifacts]", []string{
			`2: sign.key: found nothing, expected a path, or no [sign] at all`,
			`3: sign.keys: found an unknown key, expected one of "key", did you mean "key"?`,
		}},
		{"no artifacts.dir", `dir = "out"`, "", []string{`2: artifacts.dir: found nothing, expected a path`}},
		{"empty path", `"out"`, `""`, []string{`3: artifacts.dir: found "", expected a path in quotes that is not empty`}},
		{"no name", `name = "pairs"`, "", []string{`4: watch.name: found nothing, expected a string`}},
		{"wrong name", `"pairs"`, `".staging"`, []string{`5: watch.name: found ".staging", expected letters, digits, '.', '_' and '-', a letter or digit first`}},
		{"name with a slash", `"pairs"`, `"a/b"`, []string{`5: watch.name: found "a/b", expected letters, digits, '.', '_' and '-', a letter or digit first`}},
		{"name with a newline", `"pairs"`, `"a\n"`, []string{`5: watch.name: found "a\n", expected letters, digits, '.', '_' and '-', a letter or digit first`}},
		{"name twice", members, members + "[[watch]]\nname = \"pairs\"\nroot = \"x\"\n" + members, []string{`11: watch.name: found "pairs", the name of an earlier watch, expected a name of its own`}},
		{"no members", members, "", []string{`4: watch.members: found nothing, expected a table [watch.members]`}},
		{"empty members", members, "[watch.members]\n", []string{`7: watch.members: found no role with a pattern, expected at least one, or no file is ever bundled`}},
		{"only sentinels", members, "[watch.members]\na = { sentinel = true }", []string{`7: watch.members: found no role with a pattern, expected at least one, or no file is ever bundled`}},
		{"sentinel false", members, "[watch.members]\nb = '{n}'\na = { sentinel = false }", []string{`9: watch.members.a.sentinel: found false, expected true, or a pattern in quotes instead of the table`}},
		{"wrong types", `root = "/data/runs"`, "root = ['x']\nsource = 1\nsettle = 2\nexpire = 1.5\nconfig = 'x'\npayload = [1]", []string{
			`6: watch.root: found an array, expected a path in quotes that is not empty`,
			`7: watch.source: found the number 1, expected a string in quotes that is not empty`,
			`8: watch.settle: found the number 2, expected a duration with its unit in quotes, such as "1s"`,
			`9: watch.expire: found the number 1.5, expected a duration with its unit in quotes, such as "6h"`,
			`10: watch.config: found "x", expected a table [watch.config]`,
			`11: watch.payload: found an array, expected a table [watch.payload]`,
		}},
		{"wrong durations", `root = "/data/runs"`, "root='r'\nsettle = \"9ms\"\nexpire = \"0s\"\nrescan = \"1 day\"\nregroup = \"-1m\"", []string{
			`7: watch.settle: found "9ms", expected at least "10ms", such as "1s"`,
			`8: watch.expire: found "0s", expected a duration above zero, such as "6h"`,
			`9: watch.rescan: found "1 day", expected a duration in h, m, s or ms, such as "1m"`,
			`10: watch.regroup: found "-1m", expected a duration above zero, such as "5m"`,
		}},
		{"wrong choices", members, "source = 'inotfy'\npayload.keep = 'all'\npayload.imports = 'Refuse'\nconfig.preset = ''\n" + members, []string{
			`7: watch.source: found "inotfy", expected "auto", "inotify" or "poll", did you mean "inotify"?`,
			`8: watch.payload.keep: found "all", expected "state_dict" or "verbatim"`,
			`9: watch.payload.imports: found "Refuse", expected "refuse" or "warn", did you mean "refuse"?`,
			`10: watch.config.preset: found "", expected a string in quotes that is not empty`,
		}},
		{"table instead of tables", `[[watch]]`, `[watch]`, []string{`4: watch: found a table, expected one or more tables [[watch]]`}},
		{"tables instead of table", `[artifacts]`, `[[artifacts]]`, []string{
			`2: artifacts: found an array of tables, expected a table [artifacts]`,
			`2: artifacts.dir: found nothing, expected a path`,
		}},
		{"wrong roles", members, "[watch.members]\n'a/b' = '{n}/1'\n'..' = '{n}/2'\nbundlewatch = '{n}/3'\n'manifest.dill' = '{n}/4'", []string{
			`8: watch.members."a/b": found the role "a/b", expected a role that can name a folder: letters, digits, '.', '_' and '-', a letter or digit first`,
			`9: watch.members."..": found the role "..", expected a role that can name a folder: letters, digits, '.', '_' and '-', a letter or digit first`,
			`10: watch.members.bundlewatch: found the role "bundlewatch", expected another name: the archive has an entry of its own of that name`,
			`11: watch.members."manifest.dill": found the role "manifest.dill", expected another name: the archive has an entry of its own of that name`,
		}},
		{"wrong patterns", members, "[watch.members]\na = '{run'\nb = ''\nc = 5\n\n[watch.config]\nfiles = [\n'{run}/*.json',\n'a}',\n'',\n7]", []string{
			`8: watch.members.a: found "{run", expected a pattern, but the brace of "{run" is not closed`,
			`9: watch.members.b: found "", expected a pattern, but it is empty`,
			`10: watch.members.c: found the number 5, expected a pattern in quotes or { sentinel = true }`,
			`15: watch.config.files[1]: found "a}", expected a pattern, but a closing brace has no opening one`,
			`16: watch.config.files[2]: found "", expected a string in quotes that is not empty`,
			`17: watch.config.files[3]: found the number 7, expected a string in quotes that is not empty`,
		}},
		{"files is no array", members, members + "[watch.config]\nfiles = 'x'\nrequired = 'N'", []string{
			`11: watch.config.files: found "x", expected an array of strings in [ ]`,
			`12: watch.config.required: found "N", expected an array of strings in [ ]`,
		}},
		{"different placeholders", members, "[watch.members]\na = '{run}/{epoch}.ckpt'\nb = '{run}/{step}.ckpt'\nc = { sentinel = true }", []string{
			`8: watch.members.a: found "{run}/{epoch}.ckpt" without {step}, expected every placeholder to occur in every pattern of the watch: match what varies in one role only with *`,
			`9: watch.members.b: found "{run}/{step}.ckpt" without {epoch}, expected every placeholder to occur in every pattern of the watch: match what varies in one role only with *`,
		}},
		{"a setting among the roles", members, members + "settle = '1s'", []string{
			`10: watch.members.settle: found "1s" without {run}, {epoch}, expected every placeholder to occur in every pattern of the watch: match what varies in one role only with *`,
		}},
		{"no placeholders", members, "[watch.members]\na = 'last.ckpt'", []string{
			`7: watch.members: found patterns without a placeholder, expected one such as "{run...}/" in each: what it captures names the bundle`,
		}},
		{"config placeholder that nothing captures", members, members + "[watch.config]\nfiles = ['{run}/x', '{runs}/{step}.json']", []string{
			`11: watch.config.files[1]: found "{runs}/{step}.json" with {runs}, {step}, expected only placeholders of [watch.members]: {run}, {epoch}, did you mean "run"?`,
		}},
		{"marker that nothing captures", members, "marker = '{runs}/_SUCCESS'\n" + members, []string{
			`7: watch.marker: found "{runs}/_SUCCESS" with {runs}, expected only placeholders of [watch.members]: {run}, {epoch}, did you mean "run"?`,
		}},
		{"config that is a directory", members, members + "[watch.config]\nfiles = ['{run}/configs/']", []string{
			`11: watch.config.files[0]: found "{run}/configs/", expected a pattern of files, without a slash at its end`,
		}},
		{"artifacts are the root", `"out"`, `"/data/./runs/"`, []string{`6: watch.root: found "/data/runs", which is artifacts.dir too, expected two directories: give the artifacts one of their own`}},
		{"root in the artifacts", `"out"`, `"/data"`, []string{`6: watch.root: found "/data/runs" inside artifacts.dir "/data", expected a root outside of it: give the artifacts a directory of their own`}},
		{"artifacts where members match", `"out"`, `"/data/runs/out"`, []string{
			`6: watch.root: found "/data/runs", which holds artifacts.dir "/data/runs/out" where "{run...}/b-{epoch}.ckpt" can match, expected artifacts out of reach: move artifacts.dir out of the root, or use patterns that cannot match below "out/"`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, 1, strings.Count(minimal, test.old))
			_, err := parse("/f", strings.Replace(minimal, test.old, test.new, 1))
			var problems Problems
			require.ErrorAs(t, err, &problems)
			var got []string
			for _, p := range problems {
				got = append(got, strings.TrimPrefix(p.Error(), "/f:"))
			}
			require.Equal(t, test.want, got)
		})
	}
}

func TestEmptyFile(t *testing.T) {
	_, err := parse("/f", "")
	require.EqualError(t, err, "/f:1: artifacts: found nothing, expected a table [artifacts]\n"+
		"/f:1: artifacts.dir: found nothing, expected a path\n"+
		"/f:1: watch: found nothing, expected one or more tables [[watch]]")
	var first Problem
	require.ErrorAs(t, err, &first)
	require.Equal(t, "artifacts", first.Key)
}

func TestArtifactsBesideWhatMatches(t *testing.T) {
	src := strings.NewReplacer(`"out"`, `"/data/runs/out"`, "{run...}/", "run_{run}/").Replace(minimal)
	_, err := parse("/f", src)
	require.NoError(t, err)
}

func TestArtifactsBehindALink(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "runs"), 0o755))
	require.NoError(t, os.Symlink("runs", filepath.Join(dir, "link")))
	src := strings.NewReplacer(`"out"`, `"link/not/yet"`, `"/data/runs"`, `"runs"`).Replace(minimal)
	_, err := parse(filepath.Join(dir, "bundlewatch.toml"), src)
	require.ErrorContains(t, err, "expected artifacts out of reach")
}

func TestWatchesInAnArray(t *testing.T) {
	_, err := parse("/f", "artifacts.dir = 'a'\nwatch = [\n  { name = 'x', root = 'r', members = { a = '{n}' } },\n  { name = 'y', root = 's' },\n]")
	require.EqualError(t, err, "/f:4: watch.members: found nothing, expected a table [watch.members]")
	_, err = parse("/f", "artifacts.dir = 'a'\nwatch = [ 1 ]")
	require.EqualError(t, err, "/f:2: watch: found an array, expected one or more tables [[watch]]")
	_, err = parse("/f", "artifacts.dir = 'a'\nwatch = []")
	require.EqualError(t, err, "/f:2: watch: found an array, expected one or more tables [[watch]]")
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bundlewatch.toml")
	_, err := Load(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, `read config "`+path+`"`)

	require.NoError(t, os.WriteFile(path, []byte(minimal), 0o644))
	t.Chdir(dir)
	cfg, err := Load("./bundlewatch.toml")
	require.NoError(t, err)
	require.Equal(t, path, cfg.Path)
	require.Equal(t, filepath.Join(dir, "out"), cfg.Artifacts.Dir)

	_, err = Load(dir)
	require.ErrorContains(t, err, "is a directory")
	require.NoError(t, os.WriteFile(path, make([]byte, maxSize+1), 0o644))
	_, err = Load(path)
	require.ErrorContains(t, err, "larger than 262144 bytes")
}

func TestLoadTheExample(t *testing.T) {
	cfg, err := Load(filepath.Join("..", "..", "bundlewatch.toml"))
	require.NoError(t, err)
	base := filepath.Dir(cfg.Path)
	require.Equal(t, filepath.Join(base, "artifacts"), cfg.Artifacts.Dir)
	require.Len(t, cfg.Watches, 2)
	pairs, unified := cfg.Watches[0], cfg.Watches[1]
	require.Equal(t, filepath.Join(base, "examples", "runs", "pairs"), pairs.Root)
	require.Len(t, pairs.Members, 2)
	require.Len(t, pairs.Config.Files, 2)
	require.Equal(t, []string{"N", "gridsize"}, pairs.Config.Required)
	require.True(t, unified.Members[0].Sentinel)
	require.Equal(t, "autoencoder", unified.Members[0].Role)
}

func TestLoadTheExampleInComments(t *testing.T) {
	src, err := os.ReadFile(filepath.Join("..", "..", "bundlewatch.toml"))
	require.NoError(t, err)
	_, gan, found := strings.Cut(string(src), "#\n# [[watch]]")
	require.True(t, found)
	gan = "[[watch]]" + strings.ReplaceAll(gan, "\n# ", "\n")
	cfg, err := parse("/f", string(src)+gan)
	require.NoError(t, err)
	require.Equal(t, "gan", cfg.Watches[2].Name)
	_, ok := cfg.Watches[2].Members[0].Pattern.Match("44k/G_2333.pth", "logs")
	require.True(t, ok)
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.toml"), filepath.Join(dir, "second.toml")
	places := []string{first, second}

	_, err := find("", "", places)
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, tried := range []string{"--config", "$BUNDLEWATCH_CONFIG", first, second} {
		require.ErrorContains(t, err, tried)
	}
	require.NoError(t, os.WriteFile(second, nil, 0o644))
	requireFound(t, second, "", "", places)
	require.NoError(t, os.WriteFile(first, nil, 0o644))
	requireFound(t, first, "", "", places)
	requireFound(t, "env", "", "env", places)
	requireFound(t, "flag", "flag", "env", places)

	t.Setenv(EnvVar, "from the environment")
	got, err := Find("")
	require.NoError(t, err)
	require.Equal(t, "from the environment", got)
}

func requireFound(t *testing.T, want, flag, env string, places []string) {
	t.Helper()
	got, err := find(flag, env, places)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestChoices(t *testing.T) {
	var source Source
	require.NoError(t, source.UnmarshalText([]byte("poll")))
	require.Equal(t, SourcePoll, source)
	require.EqualError(t, source.UnmarshalText([]byte("x\x1b")), `found "x\x1b", expected "auto", "inotify" or "poll"`)
	require.Equal(t, SourcePoll, source)
}

func TestNearest(t *testing.T) {
	known := watchTable.names()
	for wrong, want := range map[string]string{
		"setle": "settle", "ROOT": "root", "member": "members", "x": "", "": "", "files": "", "roots": "root", "configuration": "",
	} {
		require.Equal(t, want, nearest(wrong, known), wrong)
	}
	require.Equal(t, 3, distance("kitten", "sitting"))
}

func TestProblemShowsNoControlCharacters(t *testing.T) {
	p := Problem{File: "/a\x1b[31m\n", Line: 1, Found: "x", Expected: "y"}
	require.EqualError(t, error(p), `/a\x1b[31m\n:1: found x, expected y`)
	require.True(t, errors.As(error(Problems{p}), new(Problem)))
}

func TestStores(t *testing.T) {
	const watch = "[artifacts]\ndir = \"/a\"\n[[watch]]\nname = \"w\"\nroot = \"/r\"\n[watch.members]\nm = \"{run...}/{k}.pt\"\n"
	const store = watch + "[[store]]\nname = \"lab\"\nendpoint = \"https://s3.example.org\"\nbucket = \"bundles\"\n"
	c, err := Parse("/c/bundlewatch.toml", store)
	require.NoError(t, err)
	require.Equal(t, []Store{{Name: "lab", Endpoint: "https://s3.example.org", Bucket: "bundles", Region: "us-east-1", PathStyle: true, PartSize: 64 << 20, Parallel: 8,
		Stall: 2 * time.Minute, Conditional: ConditionalRequired, KeepLocal: -1}}, c.Stores)
	c, err = Parse("/c/bundlewatch.toml", store+"prefix = \"/x/y/\"\ncredentials = \"keys\"\nprofile = \"p\"\npath_style = false\nca_file = \"ca.pem\"\npart_size = \"8MiB\"\n"+
		"parallel = 2\nrate = \"1MiB\"\nstall = \"30s\"\nwatches = [\"w\"]\nconditional = \"none\"\nkeep_local = \"72h\"\nregion = \"eu\"\n")
	require.NoError(t, err)
	require.Equal(t, Store{Name: "lab", Endpoint: "https://s3.example.org", Bucket: "bundles", Prefix: "x/y", Region: "eu", Credentials: "/c/keys", Profile: "p", CAFile: "/c/ca.pem",
		PartSize: 8 << 20, Parallel: 2, Rate: 1 << 20, Stall: 30 * time.Second, Watches: []string{"w"}, Conditional: ConditionalNone, KeepLocal: 72 * time.Hour}, c.Stores[0])

	for _, test := range []struct{ lines, want string }{
		{"kind = \"gcs\"", `12: store.kind: found "gcs", expected "s3"`},
		{"part_size = \"1MiB\"", `12: store.part_size: found "1MiB", expected a size from "5MiB" to "5GiB"`},
		{"watches = [\"v\"]", `12: store.watches[0]: found "v", expected the name of a [[watch]]`},
		{"conditional = \"nome\"", `12: store.conditional: found "nome", expected "required" or "none", did you mean "none"?`},
		{"keep_local = \"soon\"", `12: store.keep_local: found "soon", expected "forever", or a duration in h, m or s, such as "72h"`},
		{"prefix = \"a/../b\"", `12: store.prefix: found "a/../b", expected a folder, without empty segments, "." and ".."`},
		{"stall = \"1ms\"", `12: store.stall: found "1ms", expected at least "1s"`},
		{"secret = \"x\"", `12: store.secret: found an unknown key`},
		{"[[store]]\nname = \"lab\"\nendpoint = \"https://h\"\nbucket = \"b\"", `13: store.name: found "lab", the name of an earlier [[store]], expected a name of its own`},
		{"[[push]]\nname = \"lab\"\nkind = \"oci\"\nrepository = \"h/r\"", `13: push.name: found "lab", the name of an earlier [[store]], expected a name of its own`},
		{"[[store]]\nname = \"x\"\nendpoint = \"https://me:hush@h\"\nbucket = \"bbb\"", `14: store.endpoint: found a URL with credentials in it, expected the URL without them`},
		{"[[store]]\nname = \"x\"\nendpoint = \"host\"\nbucket = \"bbb\"", `14: store.endpoint: found "host", expected http:// or https://`},
		{"[[store]]\nname = \"x\"\nendpoint = \"http://h\"\nbucket = \"b!\"", `15: store.bucket: found "b!", expected the name of a bucket`},
	} {
		_, err := Parse("/c/bundlewatch.toml", store+test.lines+"\n")
		require.ErrorContains(t, err, test.want)
		require.NotContains(t, err.Error(), "hush")
	}
}
