package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const minimalTidy = `[[tidy]]
root = "/data/repo"
match = ["*.log"]
move_to = "reports/{utc}"
`

func TestTidyDefaults(t *testing.T) {
	cfg, err := parse("/etc/bw/bundlewatch.toml", minimalTidy)
	require.NoError(t, err)
	require.Empty(t, cfg.Artifacts.Dir)
	require.Empty(t, cfg.Watches)
	require.Len(t, cfg.Tidies, 1)
	got := cfg.Tidies[0]
	require.Equal(t, "/data/repo", got.Root)
	require.Equal(t, 10*time.Minute, got.MinAge)
	require.Equal(t, time.Minute, got.Rescan)
	require.Equal(t, 100, got.MaxPerHour)
	require.Zero(t, got.MaxSize)
	require.Equal(t, TrackedSkip, got.Tracked)
	require.False(t, got.Symlinks)
	require.Equal(t, "*.log", got.Match[0].String())
	require.Equal(t, []string{"reports"}, got.MoveTo.Fixed())
	require.Equal(t, []string{"utc"}, got.MoveTo.Placeholders())
}

func TestTidyEveryKey(t *testing.T) {
	cfg, err := parse("/etc/bw/bundlewatch.toml", minimal+`
[[tidy]]
root = "../repo"
match = ["core.*", "lightning_logs/", ".nfs*"]
keep = ["README*", "keep/"]
move_to = "/srv/attic/{host}/{run...}-{epoch}/{name}/{date}"
min_age = "1s"
max_size = "1.5 MiB"
max_per_hour = 7
tracked = "git-rm"
symlinks = true
watch = "pairs"
rescan = "5s"
i_know = true
`)
	require.NoError(t, err)
	got := cfg.Tidies[0]
	require.Equal(t, "/etc/repo", got.Root)
	require.Len(t, got.Match, 3)
	require.True(t, got.Match[1].IsDir())
	require.Len(t, got.Keep, 2)
	require.EqualValues(t, 3<<19, got.MaxSize)
	require.Equal(t, 7, got.MaxPerHour)
	require.Equal(t, TrackedGitRm, got.Tracked)
	require.True(t, got.Symlinks)
	require.Equal(t, "pairs", got.Watch)
	require.Equal(t, []time.Duration{time.Second, 5 * time.Second}, []time.Duration{got.MinAge, got.Rescan})
	require.True(t, got.MoveTo.Absolute())
	require.Equal(t, "/srv/attic/h/a/b-3/x.log/d", got.MoveTo.Expand(func(name string) string {
		return map[string]string{"host": "h", "run": "a/b", "epoch": "3", "name": "x.log", "date": "d"}[name]
	}))
}

func TestTidyProblems(t *testing.T) {
	t.Setenv("HOME", "/somebody")
	tests := []problem{
		{"typo", `move_to`, `move_too`, []string{
			`1: tidy.move_to: found nothing, expected a path`,
			`4: tidy.move_too: found an unknown key, expected one of "root", "match", "keep", "move_to", "min_age", "max_size", "max_per_hour", "tracked", "symlinks", "watch", "rescan" or "i_know", did you mean "move_to"?`,
		}},
		{"no match", `match = ["*.log"]`, ``, []string{`1: tidy.match: found nothing, expected at least one name in [ ], such as "*.log"`}},
		{"empty match", `["*.log"]`, `[]`, []string{`3: tidy.match: found no name, expected at least one name in [ ], such as "*.log"`}},
		{"wide match", `["*.log"]`, `["*", "*.*", ".*", "*/", "?*"]`, []string{
			`3: tidy.match[0]: found "*", which matches almost every name, expected names of strays, such as "*.log"; or i_know = true`,
			`3: tidy.match[1]: found "*.*", which matches almost every name, expected names of strays, such as "*.log"; or i_know = true`,
			`3: tidy.match[2]: found ".*", which matches almost every name, expected names of strays, such as "*.log"; or i_know = true`,
			`3: tidy.match[3]: found "*/", which matches almost every name, expected names of strays, such as "*.log"; or i_know = true`,
			`3: tidy.match[4]: found "?*", which matches almost every name, expected names of strays, such as "*.log"; or i_know = true`,
		}},
		{"match everything twice", `["*.log"]`, `["**"]`, []string{`3: tidy.match[0]: found "**", expected a pattern, but "**" does not cross folders: write one * for each folder, or {name...}`}},
		{"deep match", `["*.log"]`, `["a/*.log", "../x", "{n}.log"]`, []string{
			`3: tidy.match[0]: found "a/*.log", expected a name at the top level of the root, without a slash in it`,
			`3: tidy.match[1]: found "../x", expected a pattern, but it has the path segment "..": write the plain path below the root`,
			`3: tidy.match[2]: found "{n}.log", expected a name without placeholders: match what varies with * and ?`,
		}},
		{"wrong types", `match = ["*.log"]`, "match = [\"*.log\"]\nmin_age = 5\nmax_size = \"64 mb\"\nmax_per_hour = 0\ntracked = \"git-mv\"\nsymlinks = \"yes\"\nkeep = \"x\"\ni_know = 1", []string{
			`4: tidy.min_age: found the number 5, expected a duration with its unit in quotes, such as "10m"`,
			`5: tidy.max_size: found "64 mb", expected a size with its unit in quotes, such as "64MiB" or "2GB"`,
			`6: tidy.max_per_hour: found the number 0, expected a whole number from 1 to 2147483647`,
			`7: tidy.tracked: found "git-mv", expected "skip" or "git-rm", did you mean "git-rm"?`,
			`8: tidy.symlinks: found "yes", expected true or false`,
			`9: tidy.keep: found "x", expected an array of strings in [ ]`,
			`10: tidy.i_know: found the number 1, expected true or false`,
		}},
		{"leaves the root", `"reports/{utc}"`, `"../reports"`, []string{`4: tidy.move_to: found "../reports", expected the path of a directory, but it leads upwards with "..": write a path below the root, or an absolute one`}},
		{"the root itself", `"reports/{utc}"`, `"/data/repo"`, []string{`4: tidy.move_to: found "/data/repo", which is the root itself, expected a directory of its own, such as "reports/{utc}"`}},
		{"no directory", `"reports/{utc}"`, `"."`, []string{`4: tidy.move_to: found ".", expected the path of a directory, but it names no directory of its own`}},
		{"bad braces", `"reports/{utc}"`, `"reports/{u tc}"`, []string{`4: tidy.move_to: found "reports/{u tc}", expected the path of a directory, but its braces do not hold a name, as in {utc}`}},
		{"unknown placeholder", `"reports/{utc}"`, `"reports/{utcc}"`, []string{`4: tidy.move_to: found {utcc}, expected only {utc}, {date}, {host}, {name}; the placeholders of a watch need watch = "…", did you mean "utc"?`}},
		{"unknown watch", `root =`, "watch = \"pears\"\nroot =", []string{`2: tidy.watch: found "pears", expected the name of a [[watch]], of which there is none`}},
		{"root of all", `"/data/repo"`, `"/"`, []string{`2: tidy.root: found "/", the root of the file system, expected the directory of a repository or of runs; or i_know = true`}},
		{"a home", `"/data/repo"`, `"/root/"`, []string{`2: tidy.root: found "/root", a home directory, expected the directory of a repository or of runs; or i_know = true`}},
		{"my home", `"/data/repo"`, `"/somebody"`, []string{`2: tidy.root: found "/somebody", a home directory, expected the directory of a repository or of runs; or i_know = true`}},
		{"any home", `"/data/repo"`, `"/home/me"`, []string{`2: tidy.root: found "/home/me", a home directory, expected the directory of a repository or of runs; or i_know = true`}},
		{"inside another root", `move_to`, "move_to = \"/data/other/x\"\n[[tidy]]\nroot = \"/data/other\"\nmatch = [\"x\"]\nmove_to", []string{
			`4: tidy.move_to: found "/data/other/x" inside another root of [[tidy]], "/data/other", expected a directory that is not tidied itself`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, 1, strings.Count(minimalTidy, test.old))
			_, err := parse("/f", strings.Replace(minimalTidy, test.old, test.new, 1))
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

func TestTidyBesideWatches(t *testing.T) {
	for _, test := range []struct{ tidy, want string }{
		{`root = "/data"` + "\nmatch = ['x']\nmove_to = 'r'", ""},
		{`root = "."` + "\nmatch = ['x']\nmove_to = 'r'", `tidy.root: found "/f", which holds artifacts.dir "/f/out"`},
		{`root = "."` + "\nmatch = ['x', '*']\nmove_to = 'r'\ni_know = true", ""},
		{`root = "out/pairs"` + "\nmatch = ['x']\nmove_to = 'r'\ni_know = true", `tidy.root: found "/f/out/pairs" inside artifacts.dir "/f/out"`},
		{`root = "/data"` + "\nmatch = ['x']\nmove_to = '/f/out/r'", `tidy.move_to: found "/f/out/r" inside artifacts.dir "/f/out"`},
		{`root = "/data"` + "\nmatch = ['x']\nmove_to = '{run}'\nwatch = 'pairs'", ""},
		{`root = "/data"` + "\nmatch = ['x']\nmove_to = '{step}'\nwatch = 'pairs'", `tidy.move_to: found {step}, expected only {utc}, {date}, {host}, {name}, {run}, {epoch}`},
		{`root = "/data"` + "\nmatch = ['x']\nmove_to = '{run}'\nwatch = 'pair'", `found "pair", expected the name of a [[watch]]: "pairs", did you mean "pairs"?`},
	} {
		_, err := parse("/f/bundlewatch.toml", minimal+"[[tidy]]\n"+test.tidy+"\n")
		if test.want == "" {
			require.NoError(t, err, test.tidy)
		} else {
			require.ErrorContains(t, err, test.want)
		}
	}
}

// A placeholder that means two things is refused.
func TestTidyPlaceholderOfTwoMeanings(t *testing.T) {
	src := strings.ReplaceAll(minimal, "{epoch}", "{name}") + "[[tidy]]\nroot='/data'\nmatch=['x']\nmove_to='{name}'\nwatch='pairs'\n"
	_, err := parse("/f", src)
	require.ErrorContains(t, err, `tidy.move_to: found {name}, which is a placeholder of watch "pairs" too`)
}

// What a link hides is found as well.
func TestTidyBehindALink(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "other"), 0o755))
	require.NoError(t, os.Symlink("/", filepath.Join(dir, "all")))
	require.NoError(t, os.Symlink("other", filepath.Join(dir, "link")))
	_, err := parse(filepath.Join(dir, "f"), strings.Replace(minimalTidy, "/data/repo", "all", 1))
	require.ErrorContains(t, err, "the root of the file system")
	_, err = parse(filepath.Join(dir, "f"), strings.Replace(minimalTidy, "reports/{utc}", dir+"/link/x", 1)+strings.Replace(minimalTidy, "/data/repo", "other", 1))
	require.ErrorContains(t, err, "inside another root")
}

// An absolute path below the root means the same as the relative one.
func TestTemplateBelowTheRoot(t *testing.T) {
	cfg, err := parse("/f", strings.Replace(minimalTidy, "reports/{utc}", "/data/repo/reports//./{utc}/", 1))
	require.NoError(t, err)
	require.False(t, cfg.Tidies[0].MoveTo.Absolute())
	require.Equal(t, "reports/x", cfg.Tidies[0].MoveTo.Expand(func(string) string { return "x" }))
}

func TestLoadTheTidyExampleInComments(t *testing.T) {
	src, err := os.ReadFile(filepath.Join("..", "..", "bundlewatch.toml"))
	require.NoError(t, err)
	_, block, found := strings.Cut(string(src), "#\n# [[tidy]]")
	require.True(t, found)
	block, _, _ = strings.Cut(block, "\n\n")
	cfg, err := parse("/f/bundlewatch.toml", string(src)+"\n[[tidy]]"+strings.ReplaceAll(block, "\n# ", "\n"))
	require.NoError(t, err)
	require.Len(t, cfg.Tidies, 1)
	require.Equal(t, TrackedSkip, cfg.Tidies[0].Tracked)
}
