package bucket

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

func TestProbeClassifies(t *testing.T) {
	for _, test := range []struct {
		name   string
		spoil  func(*objectserver.Server)
		claims bool
		class  status.Class
		unfit  bool
		lacks  string
	}{
		{"all", func(*objectserver.Server) {}, false, status.ClassA, false, ""},
		{"completion ignored", func(s *objectserver.Server) { s.IgnoreCompleteConditions = true }, false, status.ClassB, false, "when an upload of parts is completed"},
		{"nothing attested", func(s *objectserver.Server) { s.NoAttestation = true }, false, status.ClassB, false, "attests no SHA-256 of what it holds: MD5s are sent"},
		{"not even by MD5", func(s *objectserver.Server) { s.NoAttestation, s.OpaqueETags = true, true }, false, status.ClassB, false, "its ETags are no MD5s"},
		{"PUT ignored", func(s *objectserver.Server) { s.IgnorePutConditions = true }, false, status.ClassC, true, "replaced the first"},
		{"PUT not known", func(s *objectserver.Server) { s.UnknownConditions = true }, false, status.ClassC, true, "does not know If-None-Match"},
		{"racers all win", func(s *objectserver.Server) { s.Racy = true }, false, status.ClassC, true, "at once"},
		{"PUT ignored, claims", func(s *objectserver.Server) { s.IgnorePutConditions = true }, true, status.ClassC, false, "replaced the first"},
		{"hash not looked at", func(s *objectserver.Server) { s.UncheckedHashes, s.NoAttestation = true, true }, true, status.ClassC, true, "not the signed one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t)
			test.spoil(s)
			b := New(dial(t, s), Options{Prefix: "lab", Claims: test.claims})
			p, err := b.Probe(t.Context())
			require.Equal(t, test.class, p.Class)
			var unfit *Unfit
			require.Equal(t, test.unfit, errors.As(err, &unfit))
			if !test.unfit {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.lacks)
			}
			if test.lacks != "" {
				require.Contains(t, p.Lacks[0], test.lacks)
			}
			require.Equal(t, test.name == "nothing attested", p.MD5s)
			require.Empty(t, s.Keys(""), "it takes away what it put")
			require.Empty(t, s.Uploads())
			require.Less(t, s.Count(), 30)
		})
	}
}

// A fault in the probe is never taken for a property of the store.
func TestProbeWithFaults(t *testing.T) {
	for n := 1; n <= 25; n++ {
		for _, f := range []objectserver.Fault{objectserver.LoseAnswer, objectserver.Reset, objectserver.Say500, objectserver.Say503, objectserver.DoneBut500} {
			s := serve(t)
			s.FailAt(n, f)
			p, err := New(dial(t, s), Options{}).Probe(t.Context())
			var unfit *Unfit
			require.False(t, errors.As(err, &unfit), "%s at call %d: %v", f, n, err)
			if err == nil {
				require.Equal(t, status.ClassA, p.Class, "%s at call %d", f, n)
			}
		}
	}
}

// Credentials that may not delete are enough.
func TestProbeWithoutTheRightToDelete(t *testing.T) {
	s := serve(t)
	s.Deny = func(r *http.Request) bool { return r.Method == http.MethodDelete && r.URL.RawQuery == "" }
	p, err := New(dial(t, s), Options{}).Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, status.ClassA, p.Class)
}

func destination(t *testing.T, s *objectserver.Server, name string) *Destination {
	return NewDestination("lab", "s3://lab", func() (*Bucket, error) {
		return New(dial(t, s), Options{Prefix: "lab", PartSize: testPart, Parallel: 2, Host: name, Uploads: t.TempDir()}), nil
	})
}

func local(t *testing.T, dir string) shelf.Bundle {
	m, err := bundle.ReadManifest(dir + "/" + bundle.ManifestName)
	require.NoError(t, err)
	return shelf.Bundle{Path: dir, Place: place, Watch: "ptycho", Key: "r7/epoch=3", Archive: m.Archive}
}

func TestDestination(t *testing.T) {
	s := serve(t)
	d := destination(t, s, "a")
	require.Nil(t, d.Probed())
	b := local(t, pack(t, 1, "a", testPart))
	has, err := d.Has(t.Context(), b)
	require.NoError(t, err)
	require.False(t, has)
	var sent atomic.Int64
	require.NoError(t, d.Send(t.Context(), b, func(n int64) { sent.Add(n) }))
	require.Greater(t, sent.Load(), b.Archive.Bytes)
	has, err = d.Has(t.Context(), b)
	require.NoError(t, err)
	require.True(t, has)
	require.Equal(t, status.ClassA, d.Probed().Class)
	require.WithinDuration(t, time.Now(), d.Probed().At, time.Minute)
	require.False(t, d.Probed().Refused)
	requireWhole(t, s)

	other := local(t, pack(t, 2, "a", testPart))
	_, err = d.Has(t.Context(), other)
	require.ErrorIs(t, err, backlog.ErrConflict)
	require.ErrorIs(t, d.Send(t.Context(), other, func(int64) {}), backlog.ErrConflict)

	grave, err := d.open()
	require.NoError(t, err)
	require.NoError(t, grave.Bury(t.Context(), place, "", "test"))
	s.Age(25 * time.Hour)
	require.NoError(t, grave.Sweep(t.Context(), SweepOptions{}))
	has, err = d.Has(t.Context(), b)
	require.NoError(t, err)
	require.False(t, has)
	require.ErrorIs(t, d.Send(t.Context(), b, func(int64) {}), backlog.ErrRefused)
}

// Who asks while somebody else waits for a probe waits no longer than it may.
func TestAskingEndsInTime(t *testing.T) {
	s := serve(t)
	s.Suffer(objectserver.Stalls)
	d := destination(t, s, "a")
	b := local(t, pack(t, 1, "a", testPart))
	probing, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = d.Has(probing, b)
	}()
	require.Eventually(t, func() bool { return s.Count() > 0 }, time.Minute, time.Millisecond)
	ctx, end := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer end()
	_, err := d.Has(ctx, b)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	s.Suffer(objectserver.None)
	stop()
	<-done
}

func TestUnfitStoreGetsNothing(t *testing.T) {
	s := serve(t)
	s.IgnorePutConditions = true
	d := destination(t, s, "a")
	b := local(t, pack(t, 1, "a", testPart))
	_, err := d.Has(t.Context(), b)
	require.ErrorContains(t, err, "class C")
	require.ErrorContains(t, err, `conditional = "none"`)
	require.True(t, d.Probed().Refused)
	require.Equal(t, status.ClassC, d.Probed().Class)
	count := s.Count()
	require.Error(t, d.Send(t.Context(), b, func(int64) {}))
	require.Equal(t, count, s.Count(), "it is not probed at each attempt")
	require.Empty(t, s.Keys(""))
}
