package pattern

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func mustCompile(t testing.TB, s string) *Pattern {
	t.Helper()
	p, err := Compile(s)
	require.NoError(t, err)
	return p
}

func TestCompile(t *testing.T) {
	tests := []struct {
		pattern      string
		placeholders []string
		isDir        bool
	}{
		{"{run...}/checkpoints/autoencoder-epoch={epoch}.ckpt", []string{"run", "epoch"}, false},
		{"{run...}/checkpoint-{step}/", []string{"run", "step"}, true},
		{"last.ckpt", nil, false},
		{"a/*/b?.pth", nil, false},
		{"{_a1}-{B}", []string{"_a1", "B"}, false},
		{"[a]\\(b)/{x}", []string{"x"}, false},
	}
	for _, test := range tests {
		t.Run(test.pattern, func(t *testing.T) {
			p := mustCompile(t, test.pattern)
			require.Equal(t, test.placeholders, p.Placeholders())
			require.Equal(t, test.isDir, p.IsDir())
			require.Equal(t, test.pattern, p.String())
		})
	}
}

func TestCompileErrors(t *testing.T) {
	tests := []struct{ pattern, reason string }{
		{"", "it is empty"},
		{"/data/{run}.ckpt", "it is absolute: patterns are relative to the root"},
		{"/", "it is absolute: patterns are relative to the root"},
		{"{run", `the brace of "{run" is not closed`},
		{"a/{run/b", `the brace of "{run/b" is not closed`},
		{"run}", "a closing brace has no opening one"},
		{"{}", `"{}" has no name: write {name} or {name...}`},
		{"{...}", `"{...}" has no name: write {name} or {name...}`},
		{"{a{b}}", `the placeholder name "a{b" is not made of letters, digits and _ (no digit first)`},
		{"{1st}", `the placeholder name "1st" is not made of letters, digits and _ (no digit first)`},
		{"{a-b}", `the placeholder name "a-b" is not made of letters, digits and _ (no digit first)`},
		{"{a.}", `the placeholder name "a." is not made of letters, digits and _ (no digit first)`},
		{"{épo}", `the placeholder name "épo" is not made of letters, digits and _ (no digit first)`},
		{"{a\n}", `the placeholder name "a\n" is not made of letters, digits and _ (no digit first)`},
		{"{run}/{run}.ckpt", `the placeholder "run" occurs twice`},
		{"{run...}/{run}.ckpt", `the placeholder "run" occurs twice`},
		{"{a}{b}", `no literal text separates the placeholders "a" and "b"`},
		{"{a...}{b}", `no literal text separates the placeholders "a" and "b"`},
		{"{a}*{b}", `no literal text separates the placeholders "a" and "b"`},
		{"a//b", `it has the path segment "": write the plain path below the root`},
		{"a//", `it has the path segment "": write the plain path below the root`},
		{"./a", `it has the path segment ".": write the plain path below the root`},
		{"{run}/../a", `it has the path segment "..": write the plain path below the root`},
		{"..", `it has the path segment "..": write the plain path below the root`},
		{"../", `it has the path segment "..": write the plain path below the root`},
		{"{run...}/**/a.yaml", `"**" does not cross folders: write one * for each folder, or {name...}`},
		{"a\x00b", "it holds a NUL character, which no path can"},
	}
	for _, test := range tests {
		t.Run(test.pattern, func(t *testing.T) {
			p, err := Compile(test.pattern)
			require.Nil(t, p)
			var syntax *SyntaxError
			require.ErrorAs(t, err, &syntax)
			require.Equal(t, SyntaxError{Pattern: test.pattern, Reason: test.reason}, *syntax)
		})
	}
	_, err := Compile("\x1b[31m{")
	require.EqualError(t, err, `compile pattern "\x1b[31m{": the brace of "{" is not closed`)
}

func TestMatch(t *testing.T) {
	const pair = "{run...}/checkpoints/autoencoder-epoch={epoch}.ckpt"
	const unified = "{run...}/checkpoints/{name...}.ckpt"
	const base = "r7"
	tests := []struct {
		name, pattern, rel string
		want               []string // the captured texts; nil if there is no match
		root               bool     // the first one stands for the root
	}{
		{"pair", pair, "run_1/checkpoints/autoencoder-epoch=03.ckpt", []string{"run_1", "03"}, false},
		{"nested run", pair, "exp/a/run_1/checkpoints/autoencoder-epoch=3.ckpt", []string{"exp/a/run_1", "3"}, false},
		{"root is the run", pair, "checkpoints/autoencoder-epoch=3.ckpt", []string{base, "3"}, true},
		{"other role", pair, "run_1/checkpoints/diffraction_to_obj-epoch=3.ckpt", nil, false},
		{"capture is not empty", pair, "run_1/checkpoints/autoencoder-epoch=.ckpt", nil, false},
		{"capture stays in its segment", pair, "run_1/checkpoints/autoencoder-epoch=3/a.ckpt", nil, false},
		{"more after the end", pair, "run_1/checkpoints/autoencoder-epoch=3.ckpt.tmp", nil, false},
		{"more before the literal", pair, "xcheckpoints/autoencoder-epoch=3.ckpt", nil, false},
		{"root has no slash before", pair, "/checkpoints/autoencoder-epoch=3.ckpt", nil, false},
		{"dots in a capture", pair, "run.1/checkpoints/autoencoder-epoch=3.5.ckpt", []string{"run.1", "3.5"}, false},

		{"deep name", unified, "r/checkpoints/milestones/epoch-0005.ckpt", []string{"r", "milestones/epoch-0005"}, false},
		{"a path wins over the root", unified, "checkpoints/x/checkpoints/a.ckpt", []string{"checkpoints/x", "a"}, false},
		{"the first takes most", unified, "a/checkpoints/b/checkpoints/c.ckpt", []string{"a/checkpoints/b", "c"}, false},
		{"root with deep name", unified, "checkpoints/m/a.ckpt", []string{base, "m/a"}, true},
		{"deep does not end with a slash", unified, "r/checkpoints/m/.ckpt", nil, false},
		{"deep does not begin with a slash", "x{a...}.ckpt", "x/y.ckpt", nil, false},
		{"star takes the slashless part", "*{a...}.ckpt", "xy/z.ckpt", []string{"y/z"}, false},
		{"single leading placeholder is not the root", "{run}/a.ckpt", "a.ckpt", nil, false},

		{"gan", "{run...}/G_{step}.pth", "logs/44k/G_2333.pth", []string{"logs/44k", "2333"}, false},
		{"gan at the root", "{run...}/G_{step}.pth", "G_2333.pth", []string{base, "2333"}, true},
		{"captures take most from the left", "{a}-{b}", "1-2-3", []string{"1-2", "3"}, false},

		{"star", "{n}-*.ckpt", "3-val=0.5.ckpt", []string{"3"}, false},
		{"a name before a star ends early", "epoch={n}-*.ckpt", "epoch=03-step=12-loss=-0.5.ckpt", []string{"03"}, false},
		{"of two names the one before the star", "{run}-{n}-*.ckpt", "exp-1-03-x.ckpt", []string{"exp-1", "03"}, false},
		{"a star in the next segment does not count", "{n}-/*.ckpt", "a-b-/x.ckpt", []string{"a-b"}, false},
		{"star may be nothing", "a*{n}", "a3", []string{"3"}, false},
		{"star stays in its segment", "a*.ckpt", "a/b.ckpt", nil, false},
		{"question mark", "e?-{n}", "e1-3", []string{"3"}, false},
		{"question mark is not a slash", "a?b", "a/b", nil, false},
		{"question mark is one character", "a?{n}", "aé1", []string{"1"}, false},
		{"question mark is not half a character", "a??", "aé", nil, false},
		{"nor a third behind a star", "*??", "€", nil, false},
		{"question mark is one wrong byte", "a?{n}", "a\xff1", []string{"1"}, false},
		{"star does not show hidden files", "{r}/*.ckpt", "a/.ckpt", nil, false},
		{"nor does a question mark", "{r}/?x", "a/.x", nil, false},
		{"star after the dot", "{r}/.*", "a/.x", []string{"a"}, false},
		{"placeholders show hidden files", "{r}/{n}", "a/.x", []string{"a", ".x"}, false},

		{"brackets are literal", "[ab]/(x|y)+\\{n}", "[ab]/(x|y)+\\1", []string{"1"}, false},
		{"blank and newline", "{r}/{n}.ckpt", "a b/c\nd .ckpt", []string{"a b", "c\nd "}, false},
		{"wrong utf-8", "{r}/é{n}.ckpt", "a\xff/é\xc3.ckpt", []string{"a\xff", "\xc3"}, false},
		{"the replacement character is no wrong byte", "\ufffd{n}", "\xff1", nil, false},

		{"key cannot climb", "v{n}", "v..", nil, false},
		{"nor stay", "{r}/v{n}", "a/v.", nil, false},
		{"nor deep", "x-{n...}", "x-a/..", nil, false},
		{"three dots are a name", "v{n}", "v...", []string{"..."}, false},

		{"directory", "{run...}/checkpoint-{step}/", "a/checkpoint-500", []string{"a", "500"}, false},
		{"no placeholders", "a/b", "a/b", []string{}, false},
		{"empty path", "{a}", "", nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := mustCompile(t, test.pattern)
			got, ok := p.Match(test.rel, base)
			require.Equal(t, test.want != nil, ok)
			require.Equal(t, test.root, got.root != "")
			var values []string
			for _, name := range got.Names() {
				value, known := got.Value(name)
				require.True(t, known)
				values = append(values, value)
			}
			require.ElementsMatch(t, test.want, values)
			require.Equal(t, len(test.want), len(values))
			for i := range values {
				require.Equal(t, test.want[i], values[i])
			}
		})
	}
}

func TestRootsWithoutANameDoNotLead(t *testing.T) {
	p := mustCompile(t, "{run...}/a.ckpt")
	for _, base := range []string{"", ".", "..", "/"} {
		_, ok := p.Match("a.ckpt", base)
		require.False(t, ok, "root base %q", base)
	}
}

func TestMatchIsNotExponential(t *testing.T) {
	p := mustCompile(t, "{a...}x*y*x*y*x*y*x*y*x*y*x*y*x*y*x*y-{b...}.ckpt")
	rel := make([]byte, 4096)
	for i := range rel {
		rel[i] = "xy"[i%2]
	}
	_, ok := p.Match(string(rel)+".ckpt", "r")
	require.False(t, ok)
}

func TestCanMatchBelow(t *testing.T) {
	tests := []struct {
		pattern, dir string
		want         bool
	}{
		{"{run...}/checkpoints/{n}.ckpt", "artifacts", true},
		{"{run...}/checkpoints/{n}.ckpt", "checkpoints", true},
		{"run_{n}/x.ckpt", "artifacts", false},
		{"run_{n}/x.ckpt", "run_1", true},
		{"run_{n}/x.ckpt", "run_1/deep", false},
		{"*/x.ckpt", "artifacts", true},
		{"*/x.ckpt", ".artifacts", false},
		{"{n}.ckpt", "artifacts", false},
		{"artifacts/{n}.ckpt", "artifacts", true},
		{"artifacts/{n}.ckpt", "art", false},
		{"{run...}/{n}.ckpt", "artifacts", true},
		{"x-{n...}.ckpt", "artifacts", false},
	}
	for _, test := range tests {
		t.Run(test.pattern+" "+test.dir, func(t *testing.T) {
			require.Equal(t, test.want, mustCompile(t, test.pattern).CanMatchBelow(test.dir))
		})
	}
}

func TestCaptures(t *testing.T) {
	match := func(pattern, rel string) Captures {
		c, ok := mustCompile(t, pattern).Match(rel, "r7")
		require.True(t, ok)
		return c
	}
	first := match("{run...}/e{epoch}/a.ckpt", "x/y/e3/a.ckpt")
	require.Equal(t, "x/y/3", first.Key())
	require.Equal(t, "3/x/y", first.KeyOf([]string{"epoch", "run"}))
	_, ok := first.Value("step")
	require.False(t, ok)

	turned := match("{epoch}@{run...}.ckpt", "3@x/y.ckpt")
	require.Equal(t, "3/x/y", turned.Key())
	require.True(t, first.Equal(turned))
	require.Equal(t, first.Identity(), turned.Identity())

	require.False(t, first.Equal(match("{run...}/e{epoch}/a.ckpt", "x/y/e4/a.ckpt")))
	require.False(t, first.Equal(match("{run...}/a.ckpt", "x/y/a.ckpt")), "fewer placeholders")
	require.False(t, match("{a...}/f{b...}", "x/fy/z").Equal(match("{a...}-{b}", "x/y-z")), "same key, other parts")
	require.False(t, match("{run...}/a", "a").Equal(match("{run...}/a", "r7/a")), "the root is not r7/r7")
}
