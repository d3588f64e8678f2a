package bucket

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

const day = 24 * time.Hour

func sweepAll(t *testing.T, h *host, dry bool) (removed []string) {
	t.Helper()
	require.NoError(t, h.Sweep(t.Context(), SweepOptions{DryRun: dry, Removed: func(r Removal) { removed = append(removed, fmt.Sprintf("%s: %s", filepath.Base(r.Key), r.Reason)) }}))
	return removed
}

// The data of a host that lost goes, when it is old enough; what has a name never does.
func TestSweepTakesNamelessData(t *testing.T) {
	s := serve(t)
	a, b := newHost(t, s, "a", 1, testPart), newHost(t, s, "b", 2, testPart)
	var ran atomic.Bool
	s.Before = func(_ int, r *http.Request) {
		if r.Method == http.MethodPut && filepath.Base(r.URL.Path) == "epoch=3.json" && ran.CompareAndSwap(false, true) {
			_, err := b.publish(t)
			require.NoError(t, err)
		}
	}
	_, err := a.publish(t)
	require.Error(t, err)
	require.Len(t, s.Keys("lab/data/"), 8)
	for _, age := range []time.Duration{0, 13 * day} {
		s.Age(age)
		require.Empty(t, sweepAll(t, a, false))
	}
	s.Age(2 * day)
	dry := sweepAll(t, a, true)
	require.Len(t, dry, 4)
	require.Len(t, s.Keys("lab/data/"), 8)
	require.Equal(t, dry, sweepAll(t, a, false))
	require.Len(t, s.Keys("lab/data/"), 4)
	requireWhole(t, s)
	require.Empty(t, sweepAll(t, a, false))
}

func TestSweepGivesUpOldUploads(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	for _, key := range []string{"lab/data/x/y", "other/data/x/y"} {
		_, err := h.objects.Begin(t.Context(), key)
		require.NoError(t, err)
	}
	require.Empty(t, sweepAll(t, h, false))
	s.Age(15 * day)
	require.Len(t, sweepAll(t, h, true), 1)
	require.Len(t, sweepAll(t, h, false), 1)
	require.Equal(t, []string{"other/data/x/y"}, s.Uploads(), "of others nothing is touched")
}

// A probe that is cut off at any call leaves nothing that a later sweep does not take, and what others have below
// probe/ stays.
func TestSweepTakesWhatKilledProbesLeft(t *testing.T) {
	others := []string{"lab/probe/notes.txt", "lab/probe/theirs/name", "probe/" + strings.Repeat("A", 26) + "/name"}
	dir := pack(t, 1, "a", testPart)
	objects, uploads := 0, 0
	for n := int64(1); n <= 30; n++ {
		s := serve(t)
		h := hostOf(t, s, "a", dir, testPart)
		for _, key := range others {
			s.Set(key, []byte("x"), time.Now().Add(-60*day))
		}
		var asked atomic.Int64
		s.Deny = func(*http.Request) bool { return asked.Add(1) > n } // nothing comes any more of one that is dead
		_, _ = h.Probe(t.Context())
		asked.Store(-1000)
		left := len(s.Keys("lab/probe/")) - 2
		objects, uploads = objects+left, uploads+len(s.Uploads())

		s.Age(13 * day)
		require.Empty(t, sweepAll(t, h, false))
		s.Age(2 * day)
		require.NoError(t, h.Sweep(t.Context(), SweepOptions{Within: "ptycho/", Removed: func(r Removal) { t.Error(r.Key) }}), "of one watch")
		require.Len(t, sweepAll(t, h, true), left+len(s.Uploads()))
		sweepAll(t, h, false)
		require.Equal(t, others, s.Keys(""))
		require.Empty(t, s.Uploads())
	}
	require.NotZero(t, objects)
	require.NotZero(t, uploads)
}

// A pruned bundle stands for a day, then its name and its data go, and its tomb stays for long: a host that slept
// cannot bring it back meanwhile.
func TestTombThenNameThenData(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	_, err := h.publish(t)
	require.NoError(t, err)
	require.NoError(t, h.Bury(t.Context(), place, "keep_last"))
	require.NoError(t, h.Bury(t.Context(), place, "another reason"), "once more changes nothing")
	require.Contains(t, string(s.Object("lab/tombs/"+place+".json")), "keep_last")
	require.Empty(t, sweepAll(t, h, false))
	s.Age(25 * time.Hour)
	require.Len(t, sweepAll(t, h, true), 5)
	require.Len(t, sweepAll(t, h, false), 5)
	require.Equal(t, []string{"lab/tombs/" + place + ".json"}, s.Keys(""))
	_, err = h.publish(t)
	require.ErrorContains(t, err, "was pruned")
	s.Age(89 * day)
	require.Len(t, sweepAll(t, h, false), 1)
	require.Empty(t, s.Keys(""))
}

// A sweep that is cut off at any call leaves no bundle that has a name without its data.
func TestSweepWithFaultsAtEachCall(t *testing.T) {
	dir := pack(t, 1, "a", testPart)
	for n := 1; n <= 40; n++ {
		for _, f := range []objectserver.Fault{objectserver.LoseAnswer, objectserver.Say500, objectserver.Say409} {
			s := serve(t)
			h := hostOf(t, s, "a", dir, testPart)
			_, err := h.publish(t)
			require.NoError(t, err)
			require.NoError(t, h.Bury(t.Context(), place, "test"))
			s.Age(2 * day)
			s.FailAt(n, f)
			_ = h.Sweep(t.Context(), SweepOptions{})
			requireWhole(t, s)
			require.NoError(t, h.Sweep(t.Context(), SweepOptions{}))
			require.Empty(t, s.Keys("lab/data/"))
		}
	}
}

func TestSweepOfOneWatch(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	digest := strings.Repeat("ab", 32)
	old := time.Now().Add(-30 * day)
	for _, watch := range []string{"one", "two"} {
		s.Set("lab/data/"+watch+"/r/k/"+digest+"/"+bundle.ArchiveName, []byte("x"), old)
	}
	s.Set("lab/data/one/of/somebody/else", []byte("x"), old)
	require.NoError(t, h.Sweep(t.Context(), SweepOptions{Within: "one/"}))
	require.Equal(t, []string{"lab/data/one/of/somebody/else", "lab/data/two/r/k/" + digest + "/" + bundle.ArchiveName}, s.Keys(""))
}

func TestKeysOfPlaces(t *testing.T) {
	b := New(nil, Options{Prefix: "/lab/"})
	for _, place := range []string{"w/k", "w/a b/ö=3~2", "w/a.json/b.json", "w/100%/\x01\xff", "w/" + strings.Repeat("ab", 32) + "/k", "w/a/b\\c?*"} {
		key := b.nameKey(place)
		got, ok := b.placeOfName(key, namesFolder)
		require.True(t, ok, key)
		require.Equal(t, place, got)
		digest := strings.Repeat("0f", 32)
		d, ok := b.parseData(b.dataKey(place, digest+"/"+bundle.ArchiveName))
		require.True(t, ok)
		require.Equal(t, datum{place: place, archive: digest, file: bundle.ArchiveName}, d)
		d, ok = b.parseData(b.dataKey(place, digest+"/"+digest+"/SHA256SUMS"))
		require.True(t, ok)
		require.Equal(t, datum{place: place, archive: digest, sums: digest, file: "SHA256SUMS"}, d)
	}
	require.Equal(t, "lab/names/w/a%2Ejson/b.json.json", b.nameKey("w/a.json/b.json"), "no folder has the name of an object")
}
