package pair

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func member(t testing.TB, role, text string) config.Member {
	t.Helper()
	p, err := pattern.Compile(text)
	require.NoError(t, err)
	return config.Member{Role: role, Pattern: p}
}

func newTable(t testing.TB, members ...config.Member) *Table[string, int] {
	t.Helper()
	if members == nil {
		members = []config.Member{
			member(t, "a", "{run...}/a-{epoch}.ckpt"),
			member(t, "b", "{run...}/*b-{epoch}.ckpt"),
		}
	}
	return NewTable[string, int](members, "runs")
}

// put makes a finished file a candidate wherever it fits and returns its sets.
func put(t *Table[string, int], path string, modTime int64, wait error) []*Set[string, int] {
	var sets []*Set[string, int]
	for _, h := range t.Hits(path) {
		sets = append(sets, t.Put(h, &Member[string]{Path: path, ModTime: modTime, Wait: wait, Value: path}, start))
	}
	return sets
}

func keys(t *Table[string, int]) []string {
	var all []string
	for _, s := range t.Sets() {
		all = append(all, s.Key)
	}
	return all
}

func TestFilesAreGroupedByTheirCaptures(t *testing.T) {
	table := newTable(t)
	for _, path := range []string{"r2/a-1.ckpt", "r1/x/b-3.ckpt", "r1/x/a-3.ckpt", "r2/loss-b-1.ckpt", "r2/b-2.ckpt"} {
		require.True(t, table.Wants(path), path)
		require.Len(t, put(table, path, 1, nil), 1, path)
	}
	require.False(t, table.Wants("r1/c-1.ckpt"))
	require.Empty(t, put(table, "r1/c-1.ckpt", 1, nil))
	require.Equal(t, []string{"r1/x/3", "r2/1", "r2/2"}, keys(table))
	sets := table.Sets()
	require.True(t, sets[0].Complete())
	require.True(t, sets[1].Complete())
	require.False(t, sets[2].Complete())
	require.Equal(t, "r2/loss-b-1.ckpt", sets[1].Member("b").Value)
	require.Equal(t, start, sets[0].Since)
}

func TestKeysFollowTheFirstPattern(t *testing.T) {
	table := newTable(t, config.Member{Role: "s", Sentinel: true}, member(t, "a", "{epoch}/{run}/a"), member(t, "b", "{run}/{epoch}/b"))
	put(table, "7/r/a", 1, nil)
	put(table, "r/7/b", 1, nil)
	require.Equal(t, []string{"7/r"}, keys(table))
	require.True(t, table.Sets()[0].Complete(), "a sentinel needs no file")
	require.Len(t, table.Roles(), 2)
}

// The texts of two sets can join to the same key: they are different sets all the same.
func TestEqualKeysAreNotEqualSets(t *testing.T) {
	table := newTable(t, member(t, "a", "{run...}/x/{part...}/a"))
	put(table, "p/x/q/x/r/a", 1, nil)
	put(table, "p/x/q/a", 1, nil)
	require.Len(t, table.Sets(), 2)

	table = newTable(t, member(t, "a", "{run...}/a"))
	put(table, "a", 1, nil)
	put(table, "runs/a", 1, nil)
	require.Equal(t, []string{"runs", "runs"}, keys(table), "the root itself, and a directory of its name")
}

func TestOneFileCanTakeSeveralRoles(t *testing.T) {
	table := newTable(t, member(t, "a", "{run}/*.ckpt"), member(t, "b", "{run}/m*"))
	require.Len(t, put(table, "r/m.ckpt", 1, nil), 2)
	require.Len(t, table.Find("r/m.ckpt"), 1)
	require.True(t, table.Sets()[0].Complete())
	table.Remove("r/m.ckpt")
	require.Empty(t, table.Sets())
}

func TestMissing(t *testing.T) {
	changing := errors.New("still changing")
	table := newTable(t)
	put(table, "r/b-1.ckpt", 1, changing)
	s := table.Sets()[0]
	missing := s.Missing()
	require.Len(t, missing, 2)
	require.Equal(t, "a: no file r/a-1.ckpt", missing[0].String())
	require.Empty(t, missing[0].Path)
	require.Equal(t, Missing{Role: "b", Path: "r/b-1.ckpt", Reason: changing}, missing[1])

	s.Member("b").Refused = true
	require.True(t, s.Missing()[1].Refused)
	put(table, "r/b-1.ckpt", 1, nil)
	put(table, "r/a-1.ckpt", 1, nil)
	require.Empty(t, s.Missing())
	require.True(t, s.Complete())
}

func TestTheNewestCandidateCounts(t *testing.T) {
	table := newTable(t)
	put(table, "r/x-b-1.ckpt", 5, nil)
	put(table, "r/z-b-1.ckpt", 7, errors.New("broken"))
	put(table, "r/y-b-1.ckpt", 7, nil)
	s := table.Sets()[0]
	require.Equal(t, "r/z-b-1.ckpt", s.Member("b").Path, "of equally new ones the last by name")
	require.Equal(t, []string{"r/y-b-1.ckpt", "r/x-b-1.ckpt"}, s.Older("b"))
	require.Len(t, s.Candidates("b"), 3)
	require.Len(t, s.Missing(), 2, "an older one does not stand in for the newest")

	put(table, "r/x-b-1.ckpt", 9, nil)
	require.Equal(t, "r/x-b-1.ckpt", s.Member("b").Path, "written anew")
	require.Len(t, s.Candidates("b"), 3)
	require.Nil(t, s.Candidate("b", "r/b-1.ckpt"))
	require.EqualValues(t, 7, s.Candidate("b", "r/y-b-1.ckpt").ModTime)
	require.Empty(t, s.Older("a"))
}

func TestRemove(t *testing.T) {
	table := newTable(t)
	put(table, "r/a-1.ckpt", 1, nil)
	s := put(table, "r/b-1.ckpt", 1, nil)[0]
	put(table, "r/old-b-1.ckpt", 0, nil)
	table.Remove("r/b-1.ckpt")
	require.Equal(t, "r/old-b-1.ckpt", s.Member("b").Path)
	require.Empty(t, table.Find("r/b-1.ckpt"))
	table.Remove("r/old-b-1.ckpt")
	table.Remove("r/never-there.ckpt")
	require.Nil(t, s.Member("b"))
	require.Same(t, s, table.Current(s))
	table.Remove("r/a-1.ckpt")
	require.Empty(t, table.Sets(), "a set without candidates is forgotten")
	require.Nil(t, table.Current(s))
	require.Empty(t, table.byPath)

	again := put(table, "r/a-1.ckpt", 1, nil)[0]
	require.NotSame(t, s, again)
	require.Same(t, again, table.Current(s))
}

func TestRemoveFromTwoSets(t *testing.T) {
	table := newTable(t, member(t, "a", "{x}-{y}/f"), member(t, "b", "{y}-{x}/f"))
	require.Len(t, put(table, "1-2/f", 1, nil), 2)
	require.Equal(t, []string{"1/2", "2/1"}, keys(table))
	put(table, "2-1/f", 1, nil)
	table.Remove("1-2/f")
	require.Len(t, table.Sets(), 2)
	table.Remove("2-1/f")
	require.Empty(t, table.Sets())
}

func TestCheckKey(t *testing.T) {
	long := strings.Repeat("ü", maxSegment/2)
	for _, tc := range []struct{ key, reason string }{
		{"run a/epoch=1,b", ""},
		{"...", ""},
		{`back\slash "quoted"`, ""},
		{long + "/" + long, ""},
		{long + "x", "longer than 250"},
		{"a\xffb", `"a\xffb" is not UTF-8`},
		{"a\nb", "control character U+000A"},
		{"a\x1b[31m", `"a\x1b[31m" holds the control character U+001B`},
		{"a\u0085", "control character U+0085"},
		{"a\u2028b", "control character U+2028"},
		{"..", `segment ".."`},
		{"a/../b", `segment ".."`},
		{"a/.", `segment "."`},
		{"a//b", `segment ""`},
		{"", `segment ""`},
		{"/a", `segment ""`},
	} {
		err := CheckKey(tc.key)
		if tc.reason == "" {
			require.NoError(t, err, "%q", tc.key)
			continue
		}
		require.ErrorIs(t, err, ErrKey, "%q", tc.key)
		require.ErrorContains(t, err, tc.reason)
	}
}

// Whatever passes names a place below the directory that it is joined to, of as many segments.
func FuzzCheckKey(f *testing.F) {
	for _, seed := range []string{"a/b", "../x", "a\x00b", "\xff", "a/./b", strings.Repeat("x", 300), "é/ü"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		require.True(t, isCleanBelow(key), "%q", key)
	})
}

func isCleanBelow(key string) bool {
	return filepath.IsLocal(key) && filepath.Clean(key) == key && !strings.ContainsRune(key, 0)
}
