package bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

func TestRangedReadsAsTheWhole(t *testing.T) {
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	r := &ranged{size: int64(len(data)), fetch: func(offset, size int64) ([]byte, error) { return data[offset : offset+size], nil }}
	for range 2000 {
		offset, size := rand.IntN(len(data)), rand.IntN(100_000)
		got := make([]byte, size)
		n, err := r.ReadAt(got, int64(offset))
		want := data[offset:min(offset+size, len(data))]
		require.True(t, bytes.Equal(want, got[:n]))
		if n < size {
			require.Equal(t, io.EOF, err)
		} else {
			require.NoError(t, err)
		}
	}
	all, err := io.ReadAll(io.NewSectionReader(r, 0, r.size))
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, all))
	require.LessOrEqual(t, len(r.pieces), keptPieces)
}

// What is read on and on takes few requests, and what is read here and there few bytes.
func TestRangedFetchesLittle(t *testing.T) {
	const size = 10 << 30
	var requests, fetched int64
	r := &ranged{size: size, fetch: func(_, n int64) ([]byte, error) {
		requests, fetched = requests+1, fetched+n
		return make([]byte, n), nil
	}}
	for i := range int64(100) {
		_, err := r.ReadAt(make([]byte, 30), i*(size/100)+1)
		require.NoError(t, err)
	}
	require.EqualValues(t, 100, requests)
	require.LessOrEqual(t, fetched, int64(100*leastAhead))
	requests = 0
	_, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, 256<<20))
	require.NoError(t, err)
	require.LessOrEqual(t, requests, int64(256/8+12))
}

// requireSame compares what is shown: a manifest holds its tensors in a form that cannot be compared.
func requireSame(t *testing.T, want, got *bundle.Inspection) {
	t.Helper()
	a, err := json.Marshal(want)
	require.NoError(t, err)
	b, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, string(a), string(b))
}

// Whoever looks into an archive pays for what is looked at.
func TestInspectReadsDirectoryAndHeadersOnly(t *testing.T) {
	s := serve(t)
	h := &host{dir: packOf(t, 4_000_000, 1, "a", 0), Bucket: New(dial(t, s), Options{Prefix: "lab", PartSize: 1 << 20, Parallel: 2, Host: "a"})}
	_, err := h.publish(t)
	require.NoError(t, err)
	requests, sent := s.Count(), s.Sent()
	r, err := h.Open(t.Context(), place)
	require.NoError(t, err)
	in, err := distant(t.Context(), r).Inspect()
	require.NoError(t, err)
	want, err := bundle.Inspect(h.dir)
	require.NoError(t, err)
	want.Path = in.Path
	requireSame(t, want, in)
	require.Greater(t, in.Bytes, int64(16_000_000))
	require.LessOrEqual(t, s.Count()-requests, 15)
	require.LessOrEqual(t, s.Sent()-sent, int64(512<<10))
}

func distant(ctx context.Context, r *Remote) *bundle.Distant {
	return &bundle.Distant{Name: "s3://x", Manifest: func() ([]byte, error) { return r.Small(ctx, bundle.ManifestName) },
		Archive: func() (io.ReaderAt, int64, error) { return r.Archive(ctx) }}
}

// A download goes on where it was cut, and gives back the bundle byte for byte.
func TestDownload(t *testing.T) {
	for n := 1; n <= 10; n++ {
		s := serve(t)
		h := newHost(t, s, "a", 1, testPart)
		_, err := h.publish(t)
		require.NoError(t, err)
		r, err := h.Open(t.Context(), place)
		require.NoError(t, err)
		s.FailAt(n, objectserver.CutBody)
		dir := t.TempDir()
		require.NoError(t, r.Download(t.Context(), dir, nil), "call %d", n)
		for _, f := range r.Name.Files {
			want, err := os.ReadFile(filepath.Join(h.dir, f.Base()))
			require.NoError(t, err)
			got, err := os.ReadFile(filepath.Join(dir, f.Base()))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
		}
	}
}

func TestDamageIsSeen(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, 1<<20)
	_, err := h.publish(t)
	require.NoError(t, err)
	r, err := h.Open(t.Context(), place)
	require.NoError(t, err)
	problems, unattested, err := r.Prove(t.Context())
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Empty(t, unattested)
	for _, f := range r.Name.Files {
		data := s.Object(r.key(f))
		s.Set(r.key(f), make([]byte, len(data)), s.Now())
		problems, _, err := r.Prove(t.Context())
		require.NoError(t, err)
		require.Len(t, problems, 1)
		require.Error(t, r.Download(t.Context(), t.TempDir(), nil))
		if f.Base() != bundle.ArchiveName {
			_, err = r.Small(t.Context(), f.Base())
			require.ErrorContains(t, err, "SHA-256")
		}
		s.Set(r.key(f), data, s.Now())
	}
}

// A name that was tampered with leads nowhere else.
func TestNamesAreChecked(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	_, err := h.publish(t)
	require.NoError(t, err)
	key := "lab/names/" + place + ".json"
	good := string(s.Object(key))
	for _, change := range [][2]string{{`"layout": 1`, `"layout": 2`}, {"epoch=3\",", "epoch=4\","}, {"wts.h5.zip", "../../x"}, {"archive_tree.txt", "SHA256SUMS"}, {good[:20], "{"}, {`"size": `, `"size": -`}} {
		s.Set(key, bytes.Replace([]byte(good), []byte(change[0]), []byte(change[1]), 1), s.Now())
		_, err := h.Open(t.Context(), place)
		require.ErrorContains(t, err, "read name", change)
	}
	s.Set(key, []byte(good), s.Now())
	_, err = h.Open(t.Context(), place)
	require.NoError(t, err)
	_, err = h.Open(t.Context(), "ptycho/none")
	require.ErrorIs(t, err, ErrNone)
}

// The newest is found by the times of the names, and few of them are read.
func TestNewestFirst(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	l, err := OpenLocal(h.dir, "w/r/000")
	require.NoError(t, err)
	defer l.Close()
	_, err = h.Publish(t.Context(), l)
	require.NoError(t, err)
	key := h.nameKey("w/r/000")
	var good Name
	require.NoError(t, json.Unmarshal(s.Object(key), &good))
	begun := time.Now().Add(-1000 * time.Hour)
	put := func(i int, published, named time.Time) {
		n := good
		n.Place, n.Published = fmt.Sprintf("w/r/%03d", i), published
		data, err := json.Marshal(n)
		require.NoError(t, err)
		s.Set(h.nameKey(n.Place), data, named)
	}
	for i := range 200 { // one each hour, and named up to 9 hours late, as after an outage
		at := begun.Add(time.Duration(i) * time.Hour)
		put(i, at, at.Add(time.Duration(i%10)*time.Hour))
	}
	put(199, begun.Add(199*time.Hour), begun.Add(199*time.Hour-ClockGap/2)) // by a clock that is ahead
	newest := func(most int) (places []string) {
		require.NoError(t, h.NewestFirst(t.Context(), "w/r", func(r *Remote) (bool, error) {
			places = append(places, r.Name.Place)
			return len(places) < most, nil
		}))
		return places
	}
	before := s.Count()
	require.Equal(t, []string{"w/r/199", "w/r/198", "w/r/197"}, newest(3))
	require.LessOrEqual(t, s.Count()-before, 1+2*readers)
	all := newest(1000)
	require.Len(t, all, 200)
	require.True(t, slices.IsSortedFunc(all, func(x, y string) int { return strings.Compare(y, x) }))
	failed := errors.New("enough")
	require.ErrorIs(t, h.NewestFirst(t.Context(), "", func(*Remote) (bool, error) { return true, failed }), failed)
	s.Set(h.nameKey("w/r/100"), []byte("{}"), time.Now())
	require.ErrorContains(t, h.NewestFirst(t.Context(), "", func(*Remote) (bool, error) { return true, nil }), "w/r/100")
}

// A name that is too old to be of interest is not read.
func TestEachLeavesOut(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	_, err := h.publish(t)
	require.NoError(t, err)
	before := s.Count()
	require.NoError(t, h.Each(t.Context(), "", func(l Listed) bool {
		require.Equal(t, place, l.Place)
		require.WithinDuration(t, time.Now(), l.Named, time.Hour)
		return false
	}, func(*Remote) error { t.Fatal("it is not wanted"); return nil }))
	require.Equal(t, 1, s.Count()-before)
}

func TestEachIsInOrder(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	var want []string
	for i := range 50 {
		at := fmt.Sprintf("w%d/r/%02d", i%2, i)
		l, err := OpenLocal(h.dir, at)
		require.NoError(t, err)
		_, err = h.Publish(t.Context(), l)
		require.NoError(t, err)
		l.Close()
		if i%2 == 1 {
			want = append(want, at)
		}
	}
	var got []string
	require.NoError(t, h.Each(t.Context(), "w1", nil, func(r *Remote) error { got = append(got, r.Name.Place); return nil }))
	require.Equal(t, want, got)
	stop := fmt.Errorf("enough")
	require.ErrorIs(t, h.Each(t.Context(), "", nil, func(*Remote) error { return stop }), stop)
	got = nil
	require.NoError(t, h.Each(t.Context(), "w", nil, func(r *Remote) error { got = append(got, r.Name.Place); return nil }))
	require.Empty(t, got, "a folder, not the beginning of one")
}
