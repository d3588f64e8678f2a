package pattern

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzPattern(f *testing.F) {
	f.Add("{run...}/checkpoints/autoencoder-epoch={epoch}.ckpt", "a/checkpoints/autoencoder-epoch=1.ckpt", "runs")
	f.Add("{run...}/checkpoints/{name...}.ckpt", "checkpoints/x/checkpoints/a.ckpt", "runs")
	f.Add("{run...}/G_{step}.pth", "G_2.pth", "44k")
	f.Add("{a}-{b}-*.x/{c}", "1-2-3-.x/4", ".")
	f.Add("{a}-*?{b...}/", "1-\xff\n2/3", ".")
	f.Add("*/.?{n}", "a/..", "")
	f.Add("v{n}", "v..", "x")
	f.Fuzz(func(t *testing.T, pattern, rel, base string) {
		p, err := Compile(pattern)
		if err != nil {
			return
		}
		require.Equal(t, pattern, p.String())
		captures, ok := p.Match(rel, base)
		if len(rel) <= 20 && len(p.tokens) <= 6 {
			require.Equal(t, naiveMatch(p, rel, base), ok)
		}
		if !ok {
			return
		}
		for _, name := range captures.Names() {
			value, _ := captures.Value(name)
			require.True(t, isCleanPath(value), "%q", value)
		}
		require.True(t, captures.Equal(captures))
		if slash := strings.IndexByte(rel, '/'); slash > 0 {
			require.True(t, p.CanMatchBelow(rel[:slash]))
		}
		checkBinding(t, p, captures, rel)
	})
}

// checkBinding proves that the glob made from what a path captured matches that path.
func checkBinding(t *testing.T, p *Pattern, captures Captures, rel string) {
	g, err := p.Bind(captures)
	if p.IsDir() || !isCleanPath(rel) {
		return
	}
	require.NoError(t, err)
	segments := strings.Split(rel, "/")
	require.Len(t, g.segments, len(segments))
	for i, segment := range g.segments {
		_, ok := read(segment, segments[i])
		require.True(t, ok, "%q does not match %q", segment, segments[i])
	}
	require.True(t, strings.HasSuffix(rel, g.Name(rel)))
}

// naiveMatch tries every way to divide the path among the tokens.
func naiveMatch(p *Pattern, rel, base string) bool {
	if fits, clean := naive(p.tokens, rel, 0); fits && clean {
		return true
	}
	if !p.rootCanLead() || !isSegment(base) {
		return false
	}
	fits, clean := naive(p.belowLead, rel, 0)
	return fits && clean
}

// naive also says whether the captures of the first division, the longest from the left but for short
// tokens, are clean.
func naive(tokens []token, s string, i int) (fits, clean bool) {
	if len(tokens) == 0 {
		return i == len(s), true
	}
	for n := range len(s) - i + 1 {
		end := len(s) - n
		if isShort(tokens) {
			end = i + n
		}
		if !naiveToken(tokens[0], s, i, end) {
			continue
		}
		if fits, clean := naive(tokens[1:], s, end); fits {
			return true, clean && (!tokens[0].captures() || isCleanPath(s[i:end]))
		}
	}
	return false, false
}

func naiveToken(tok token, s string, i, end int) bool {
	text := s[i:end]
	hidden := i < len(s) && s[i] == '.' && (i == 0 || s[i-1] == '/')
	switch tok.kind {
	case literal:
		return text == tok.text
	case anyChar:
		return !hidden && text != "/" && len([]rune(text)) == 1 && isWhole(s, i, end)
	case anyRun:
		return !hidden && !strings.Contains(text, "/") && isWhole(s, i, end)
	case segmentCapture:
		return text != "" && !strings.Contains(text, "/") && isWhole(s, i, end)
	default:
		return text != "" && strings.Trim(text, "/") == text && isWhole(s, i, end)
	}
}

// isWhole reports whether end lies between two characters when read from i.
func isWhole(s string, i, end int) bool {
	for offset := range s[i:] + "." {
		if i+offset == end {
			return true
		}
	}
	return false
}
