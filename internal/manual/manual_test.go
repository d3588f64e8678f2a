package manual

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const sample = `tool does things, well,
and others.

  tool run     [--config F] [--json]          do it
  tool show    A B... [--sort up|down] [--role R] [--reverse] [FILTER...]
                                              what's there: [all] of it,
                                              on two lines
  tool lock    KEY...
  tool unlock  KEY...                         keep it
  tool move    [--to D | --stay] [FILTER...]  .begins with a dot
  tool move back DIR [--only NAME]            undo \it
  tool shell   bash|zsh                       for a shell

  --config F   where it is;
               two lines
  --json       one per line

  FILTER is any of:
  --config F   whose
  --role R     not this one's help: it has one of its own

Something else.

Exit codes: 0 good; 3 in part: some (show,
move); 64 usage.
`

func parsed(t *testing.T) *Program {
	p, err := Parse(sample)
	require.NoError(t, err)
	return p
}

func TestParse(t *testing.T) {
	p := parsed(t)
	require.Equal(t, "tool", p.Name)
	require.Equal(t, "does things, well, and others.", p.Summary)
	require.Equal(t, []string{"run", "show", "lock", "unlock", "move", "shell"}, p.below())
	require.Equal(t, []string{"back"}, p.below("move"))
	require.Equal(t, []Option{{Name: "config", Value: Value{Name: "F"}, Help: "where it is; two lines"}, {Name: "json", Help: "one per line"}}, p.Options)
	require.Equal(t, "do it", p.helpOf([]string{"run"}))
	require.Equal(t, p.Options, p.verb([]string{"run"}).Options)

	show := p.verb([]string{"show"})
	require.Equal(t, "what's there: [all] of it, on two lines", show.Help)
	require.Equal(t, []Operand{{Value: Value{Name: "A"}}, {Value: Value{Name: "B"}, Many: true}}, show.Operands)
	require.Equal(t, []string{"up", "down"}, show.Options[0].Value.Choices)
	require.True(t, show.Filtered)
	require.Len(t, p.Flags(*show), 4, "a filter of a name that the verb has itself is not added")

	require.Equal(t, "keep it", p.helpOf([]string{"unlock"}))
	require.Equal(t, []Option{{Name: "to", Value: Value{Name: "D"}}, {Name: "stay"}}, p.verb([]string{"move"}).Options)
	require.Equal(t, Directories, p.verb([]string{"move", "back"}).Operands[0].Value.Kind())
	require.Equal(t, "Exit codes: 0 good; 3 in part: some (show, move); 64 usage.", p.Rest[1])
}

// A synopsis that is longer than the column of the help, and has a gap between two options there.
func TestLongSynopses(t *testing.T) {
	p, err := Parse("tool does.\n\n  tool drain          [--config F] [--job ID] [--timeout T] [--json]\n" + strings.Repeat(" ", 46) + "before it ends\n")
	require.NoError(t, err)
	require.Equal(t, "before it ends", p.Verbs[0].Help)
	require.Len(t, p.Verbs[0].Options, 4)
}

// Verbs that follow each other and share their help below.
func TestVerbsShareHelp(t *testing.T) {
	p, err := Parse("tool does.\n\n  tool a\n  tool b [--long-option F] [--another-long-option F]\n" + strings.Repeat(" ", 46) + "both\n" +
		strings.Repeat(" ", 46) + "of them\n  tool c\n" + strings.Repeat(" ", 46) + "alone\n")
	require.NoError(t, err)
	require.Equal(t, "both of them", p.helpOf([]string{"a"}))
	require.Equal(t, "both of them", p.helpOf([]string{"b"}))
	require.Equal(t, "alone", p.helpOf([]string{"c"}))
}

// A verb may have several synopses: it takes the flags of all.
func TestSynopsesOfOneVerb(t *testing.T) {
	p, err := Parse("tool does.\n\n  tool check   PATH [--json]                  look\n  tool check   --key PUB [--curve P-256|b] PATH [--json]\n" +
		strings.Repeat(" ", 46) + "and at the signature\n")
	require.NoError(t, err)
	var names []string
	for _, o := range p.Flags(p.Verbs[0]) {
		names = append(names, o.Name)
	}
	require.Equal(t, []string{"json", "key", "curve"}, names)
	require.Equal(t, p.Flags(p.Verbs[0]), p.Flags(p.Verbs[1]))
	require.Len(t, p.commands(), 1)
	require.Equal(t, 1, strings.Count(p.Bash(), `"check") _tool_words "--help --json --key --curve"`))
	require.Contains(t, p.Page("", time.Time{}), "[\\-\\-curve P\\-256|b]")
}

func TestParseRefusesWhatIsNoHelp(t *testing.T) {
	for help, reason := range map[string]string{
		"":                                      "no name of a program",
		"Tool does.":                            "no name of a program",
		"tool does.\n\n  tool A":                "begins with no verb",
		"tool does.\n\n  tool run oh? [--a]":    "neither an option nor a value",
		"tool does.\n\n  tool run\n  and so on": "neither a verb nor the help of one",
		"tool does.\n\n  --json   x\nand y":     "describes no option",
	} {
		_, err := Parse(help)
		require.ErrorContains(t, err, reason, help)
	}
}

func TestPage(t *testing.T) {
	page := parsed(t).Page("tool 1.2", time.Date(2026, 1, 31, 23, 0, 0, 0, time.FixedZone("", -3600)))
	for _, want := range []string{
		".TH TOOL 1 \"2026-02-01\" \"tool 1.2\"\n",
		"tool \\- does things\n",
		".B show A B... [\\-\\-sort up|down]",
		"\n\\&.begins with a dot\n",
		"\nundo \\eit\n",
		".SH EXIT STATUS\n.TP\n.B 0\ngood\n.TP\n.B 3\nin part: some (show, move)\n.TP\n.B 64\nusage\n",
	} {
		require.Contains(t, page, want)
	}
	for line := range strings.Lines(page) {
		require.Equal(t, strings.TrimRight(line, " \n")+"\n", line)
	}
}

func TestPageHasNoFlaws(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("mandoc is not installed")
	}
	lint := exec.Command(mandoc, "-T", "lint", "-W", "warning")
	lint.Stdin = strings.NewReader(parsed(t).Page("tool 1.2", time.Unix(0, 0)))
	out, err := lint.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// Whatever is in the help, the scripts stay scripts.
func TestScriptsAreValid(t *testing.T) {
	p := parsed(t)
	for shell, script := range map[string]string{"bash": p.Bash(), "zsh": p.Zsh(), "fish": p.Fish()} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not installed", shell)
			}
			check := exec.Command(path, "-n", "/dev/stdin")
			check.Stdin = strings.NewReader(script)
			out, err := check.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Empty(t, string(out))
		})
	}
}
