package daemon

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/provenance"
	"github.com/bundlewatch/bundlewatch/internal/snapshot"
)

func TestRunDirectory(t *testing.T) {
	real, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	root := filepath.Join(t.TempDir(), "runs")
	require.NoError(t, os.Symlink(real, root))
	for _, tc := range []struct{ pattern, member, want string }{
		{"{run...}/checkpoints/{name}.ckpt", "a/r1/checkpoints/last.ckpt", real + "/a/r1"},
		{"{run...}/checkpoints/{name}.ckpt", "checkpoints/last.ckpt", real},
		{"{run}_{step}.pt", "r1_100.pt", ""},
		{"{run}_{step}.pt", "runs_100.pt", ""},
		{"checkpoint-{step}/model.pt", "checkpoint-5/model.pt", real + "/checkpoint-5"},
		{"{name}.pt", "last.pt", ""},
	} {
		p, err := pattern.Compile(tc.pattern)
		require.NoError(t, err)
		captures, ok := p.Match(tc.member, "runs")
		require.True(t, ok, tc.member)
		j := &job{watch: config.Watch{Root: root}, captures: captures, work: &work{pulse: newPulse(Options{})}}
		top, dir := j.runDir(tc.member)
		require.Equal(t, real, top)
		require.Equal(t, tc.want, dir, tc.member)
	}
}

// The same repository found twice is named once, and not endlessly many are.
func TestDistinct(t *testing.T) {
	var all []provenance.Repository
	for i := range 3 * maxRepositories {
		all = append(all, provenance.Repository{Of: "run", Path: strconv.Itoa(i / 2)}, provenance.Repository{Of: "writer", Path: strconv.Itoa(i / 2)})
	}
	found := distinct(all)
	require.Len(t, found, maxRepositories)
	for i, r := range found {
		require.Equal(t, provenance.Repository{Of: "run", Path: strconv.Itoa(i)}, r)
	}
}

func TestEntryName(t *testing.T) {
	for in, want := range map[string]string{
		"r/configs/a.json": "r/configs/a.json",
		"é ü/x":            "é ü/x",
		`a\b`:              "a%5Cb",
		"50%":              "50%25",
		"a\nb\x7f":         "a%0Ab%7F",
		"\xff\xfe":         "%FF%FE",
		"\u0085":           "%C2%85",
		"\ufffd":           "\ufffd",
	} {
		require.Equal(t, want, bundle.EntryName(in), "%q", in)
	}
}

// Different names stay different.
func FuzzEntryName(f *testing.F) {
	f.Add("a\\b", "a%5Cb")
	f.Add("\xff", "%FF")
	f.Add("\ufffd", "\xef")
	f.Fuzz(func(t *testing.T, a, b string) {
		require.Equal(t, a == b, bundle.EntryName(a) == bundle.EntryName(b), "%q %q", a, b)
	})
}

func TestArchivedNamesAreUnique(t *testing.T) {
	files := []snapshot.File{{Name: "a", Data: []byte("1")}, {Name: "a", Data: []byte("2")}, {Name: "a~2", Data: []byte("3")}}
	require.Equal(t, []bundle.File{{Name: "a", Data: []byte("1")}, {Name: "a~2", Data: []byte("2")}, {Name: "a~2~2", Data: []byte("3")}}, archived(files))
}
