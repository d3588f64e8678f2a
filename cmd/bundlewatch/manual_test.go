package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/manual"
)

func helpOf(t *testing.T) *manual.Program {
	p, err := manual.Parse(usage)
	require.NoError(t, err)
	return p
}

// The program takes every flag that the help has for a verb.
func TestHelpPromisesNoFlagInVain(t *testing.T) {
	t.Chdir(t.TempDir())
	flags := 0
	for _, v := range helpOf(t).Verbs {
		require.NotEmpty(t, v.Help, "%s: the help does not say what it does", v.Label())
		if v.Label() == "version" || v.Label() == "help" {
			continue
		}
		args := slices.Clone(v.Words)
		for _, o := range helpOf(t).Flags(v) {
			if flags++; o.Name == "hook" {
				continue // with it no error ends the verb
			}
			args = append(args, "--"+o.Name)
			switch {
			case o.Value.Name == "T": // a span of time
				args = append(args, "1s")
			case o.Value.Kind() != manual.Nothing:
				args = append(args, "1")
			}
		}
		err := dispatch(t.Context(), args[0], append(args[1:], "--no-such-flag"))
		require.EqualError(t, err, v.Label()+": flag provided but not defined: -no-such-flag", "after %q", args)
	}
	require.Greater(t, flags, 40)
}

// The help has every verb and flag that the program's source defines.
func TestHelpLeavesNothingOut(t *testing.T) {
	var verbs, flags []string
	for _, v := range helpOf(t).Verbs {
		verbs = append(verbs, v.Words[0])
		for _, o := range helpOf(t).Flags(v) {
			flags = append(flags, o.Name)
		}
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if name, ok := flagDefined(n); ok {
					found++
					require.Contains(t, flags, name, "%s defines a flag that the help does not have", file)
				}
			case *ast.FuncDecl:
				if n.Name.Name == "dispatch" {
					for _, verb := range casesOf(n) {
						found++
						require.Contains(t, verbs, verb, "the help does not have a verb")
					}
				}
			}
			return true
		})
	}
	require.Greater(t, found, 40)
}

// flagDefined returns the name of the flag that a call such as set.BoolVar(&b, "name", false, "") defines.
func flagDefined(call *ast.CallExpr) (string, bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) < 3 {
		return "", false
	}
	at := slices.Index([]string{"Func", "Var", "BoolVar", "IntVar", "Int64Var", "UintVar", "StringVar", "DurationVar", "Float64Var", "TextVar", "BoolFunc"}, method.Sel.Name)
	if at < 0 {
		return "", false
	}
	for _, arg := range call.Args[:2] {
		if lit, ok := arg.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, err := strconv.Unquote(lit.Value)
			return name, err == nil
		}
	}
	return "", false
}

// casesOf are the words that a function switches on, but for the aliases that begin with a dash.
func casesOf(f *ast.FuncDecl) []string {
	var words []string
	ast.Inspect(f, func(n ast.Node) bool {
		clause, ok := n.(*ast.CaseClause)
		if !ok {
			return true
		}
		for _, expr := range clause.List {
			if lit, ok := expr.(*ast.BasicLit); ok {
				if word, err := strconv.Unquote(lit.Value); err == nil && !strings.HasPrefix(word, "-") {
					words = append(words, word)
				}
			}
		}
		return true
	})
	return words
}

func TestManualPageHasNoFlaws(t *testing.T) {
	page := helpOf(t).Page("bundlewatch 1.0", time.Unix(0, 0))
	for _, v := range helpOf(t).Verbs {
		require.Contains(t, page, "\n.B bundlewatch "+v.Label()+"\n")
	}
	if path, err := exec.LookPath("mandoc"); err == nil {
		lint := exec.Command(path, "-T", "lint", "-W", "style")
		lint.Stdin = strings.NewReader(page)
		out, err := lint.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	path, err := exec.LookPath("man")
	if err != nil {
		t.Skip("man is not installed")
	}
	file := filepath.Join(t.TempDir(), "bundlewatch.1")
	require.NoError(t, os.WriteFile(file, []byte(page), 0o644))
	man := exec.Command(path, "--warnings", "-l", file)
	man.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=100", "MAN_KEEP_FORMATTING=")
	var complaints strings.Builder
	man.Stderr = &complaints
	text, err := man.Output()
	require.NoError(t, err, complaints.String())
	require.Empty(t, complaints.String())
	require.Contains(t, string(text), "prove bundles whole")
}

// completion is a command line up to the cursor, and what the shell must offer and must not.
type completion struct {
	line     string
	want     []string
	unwanted []string
}

// completions are tried in a directory with the files one.toml and two.zip and the directory dir.
var completions = []completion{
	{"bundlewatch ", []string{"run", "ls", "tidy", "completion"}, []string{"undo", "one.toml", "--json"}},
	{"bundlewatch ver", []string{"verify", "version"}, []string{"run"}},
	{"bundlewatch ls --", []string{"--json", "--sort", "--artifacts", "--since", "--help"}, []string{"--dry-run", "--only"}},
	{"bundlewatch ls --sort ", []string{"key", "published", "size"}, []string{"one.toml", "--json"}},
	{"bundlewatch ls --json --sort pu", []string{"published"}, []string{"key", "size"}},
	{"bundlewatch ls --config ", []string{"one.toml", "two.zip"}, []string{"key"}},
	{"bundlewatch ls --artifacts ", []string{"dir"}, []string{"one.toml"}},
	{"bundlewatch once --config one.toml --", []string{"--json"}, []string{"--sort"}},
	{"bundlewatch verify --", []string{"--json", "--key", "--signature"}, []string{"--sort"}},
	{"bundlewatch keygen --curve ", []string{"P-256", "P-384", "P-521"}, []string{"one.toml"}},
	{"bundlewatch verify --json ", []string{"two.zip", "dir"}, []string{"run"}},
	{"bundlewatch verify two.zip ", []string{"two.zip", "dir"}, []string{"run"}},
	{"bundlewatch unpack two.zip ", []string{"dir"}, []string{"run"}},
	{"bundlewatch tidy ", []string{"undo"}, []string{"one.toml", "run"}},
	{"bundlewatch tidy --", []string{"--dry-run", "--resume"}, []string{"--only"}},
	{"bundlewatch tidy undo ", []string{"dir"}, []string{"one.toml", "undo"}},
	{"bundlewatch tidy undo --", []string{"--only", "--json"}, []string{"--resume"}},
	{"bundlewatch completion ", []string{"bash", "zsh", "fish"}, []string{"one.toml"}},
	{"bundlewatch run --json=x dir ", nil, []string{"run", "one.toml"}},
}

// inShell tries the completions. offered returns what the shell at path offers for a line, with the script in the file.
func inShell(t *testing.T, shell, script string, cases []completion, offered func(path, file, line string) string) {
	path, err := exec.LookPath(shell)
	if err != nil {
		t.Skipf("%s is not installed", shell)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "_bundlewatch")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o644))
	t.Chdir(t.TempDir())
	for _, name := range []string{"one.toml", "two.zip"} {
		require.NoError(t, os.WriteFile(name, nil, 0o644))
	}
	require.NoError(t, os.Mkdir("dir", 0o755))
	for _, c := range cases {
		var words []string
		for _, word := range strings.Fields(offered(path, file, c.line)) {
			words = append(words, strings.TrimRight(word, "/="))
		}
		for _, want := range c.want {
			require.Contains(t, words, want, c.line)
		}
		for _, unwanted := range c.unwanted {
			require.NotContains(t, words, unwanted, c.line)
		}
	}
}

func TestCompletionsInBash(t *testing.T) {
	cases := append(slices.Clone(completions), completion{"bundlewatch ls --sort = ", []string{"key", "published", "size"}, []string{"one.toml"}},
		completion{"bundlewatch once --config = o", []string{"one.toml"}, []string{"two.zip"}})
	inShell(t, "bash", helpOf(t).Bash(), cases, func(path, file, line string) string {
		// The words as readline cuts them: a last one that is empty, and = on its own.
		run := exec.Command(path, "--norc", "-euo", "pipefail", "-c", `set +eu; . "$1"; shift
			complete -p bundlewatch | grep -q -- '-F _bundlewatch bundlewatch' || exit 1
			COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _bundlewatch; printf '%s\n' "${COMPREPLY[@]}"`, "-", file)
		run.Args = append(run.Args, strings.Split(line, " ")...)
		out, err := run.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	})
}

func TestCompletionsInFish(t *testing.T) {
	inShell(t, "fish", helpOf(t).Fish(), completions, func(path, file, line string) string {
		run := exec.Command(path, "--no-config", "-c", `source $argv[1]; complete -C $argv[2] | string replace -r '\t.*' ''; true`, file, line)
		run.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := run.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	})
}

// captureZsh types a line into an interactive zsh and presses the tabulator; what the completion system is given to
// offer goes to a file.
const captureZsh = `
zmodload zsh/zpty || exit 1
zpty shell "exec zsh -f -i"
zpty -w shell "PS1= PS2= fpath=(${(q)1:h} \$fpath); unsetopt beep; autoload -Uz compinit && compinit -u -d \$HOME/dump"
zpty -w shell 'compadd() {
  local -a hits
  if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
    builtin compadd -O hits "$@"
    print -rl -- $hits >>$OFFERED
  fi
  builtin compadd "$@"
}
finish() { zle complete-word; print done >>$OFFERED; zle .kill-whole-line; exit }
zle -N finish; bindkey "^I" finish'
zpty -w shell "print ready >>\$OFFERED"
for ((i = 0; i < 600; i++)); do [[ -s $OFFERED ]] && break; zpty -rt shell out; sleep 0.05; done
zpty -w -n shell "$2"$'\t'
for ((i = 0; i < 600; i++)); do grep -qx done $OFFERED && break; zpty -rt shell out; sleep 0.05; done
zpty -d shell
grep -qx done $OFFERED
`

func TestCompletionsInZsh(t *testing.T) {
	inShell(t, "zsh", helpOf(t).Zsh(), completions, func(path, file, line string) string {
		offered := filepath.Join(t.TempDir(), "offered")
		run := exec.Command(path, "-f", "-c", captureZsh, "-", file, line)
		run.Env = append(os.Environ(), "OFFERED="+offered, "HOME="+filepath.Dir(file))
		out, err := run.CombinedOutput()
		require.NoError(t, err, "%s", out)
		words, err := os.ReadFile(offered)
		require.NoError(t, err)
		return string(words)
	})
}
