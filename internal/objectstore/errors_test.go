package objectstore

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

func caFile(t *testing.T, s *objectserver.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	return path
}

// say makes a store that answers every request in one way.
func say(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func sayCode(status int, code string) http.HandlerFunc {
	return say(status, "application/xml", "<Error><Code>"+code+"</Code><Message>secret-of-the-object-server AKOBJECTSERVER</Message></Error>")
}

func TestEachFailureIsToldForWhatItIs(t *testing.T) {
	tests := []struct {
		name      string
		answer    http.HandlerFunc
		kind      error
		transient bool
		setup     bool
	}{
		{"wrong key", sayCode(403, "InvalidAccessKeyId"), ErrKeys, false, true},
		{"wrong secret", sayCode(403, "SignatureDoesNotMatch"), ErrKeys, false, true},
		{"expired token", sayCode(400, "ExpiredToken"), ErrKeys, false, true},
		{"no right", sayCode(403, "AccessDenied"), ErrDenied, false, true},
		{"wrong region", sayCode(400, "AuthorizationHeaderMalformed"), ErrRegion, false, true},
		{"redirect", sayCode(301, "PermanentRedirect"), ErrRegion, false, true},
		{"clock", sayCode(403, "RequestTimeTooSkewed"), ErrClock, false, true},
		{"no bucket", sayCode(404, "NoSuchBucket"), ErrNoBucket, false, true},
		{"html 200", say(200, "text/html; charset=utf-8", "<html>hello</html>"), ErrNotS3, false, true},
		{"html 403", say(403, "text/html", "<html>blocked</html>"), ErrNotS3, false, true},
		{"full", sayCode(507, "XMinioStorageFull"), ErrFull, false, false},
		{"quota", sayCode(403, "QuotaExceeded"), ErrFull, false, false},
		{"slow down", sayCode(503, "SlowDown"), ErrBusy, true, false},
		{"too many", say(429, "application/xml", ""), ErrBusy, true, false},
		{"bad gateway", say(502, "text/plain", "bad gateway"), ErrBusy, true, false},
		{"not implemented", sayCode(501, "NotImplemented"), ErrUnsupported, false, false},
		{"conflict", sayCode(409, "ConditionalRequestConflict"), ErrConflict, true, false},
		{"exists", sayCode(412, "PreconditionFailed"), ErrExists, false, false},
		{"odd", sayCode(418, "Teapot"), ErrRefused, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, c := serve(t)
			s.Answer = test.answer
			err := put(t, c, "k", Bytes([]byte("x")), true)
			require.ErrorIs(t, err, test.kind)
			require.Equal(t, test.transient, IsTransient(err))
			require.Equal(t, test.setup, IsSetup(err))
			_, err = c.Head(t.Context(), "k")
			if test.kind != ErrNoBucket { // for a HEAD it is like an object that is missing
				require.ErrorIs(t, err, test.kind, "a HEAD has no body, so it is asked again")
			}
			require.NotContains(t, err.Error(), objectserver.SecretKey)
			require.NotContains(t, err.Error(), objectserver.AccessKey)
			require.NotContains(t, err.Error(), "<html>")
		})
	}
}

func TestClockIsToldWithTheDifference(t *testing.T) {
	s, c := serve(t)
	for clock, want := range map[time.Duration]string{-time.Hour: `: it is 1h0m[01]s ahead of it \(403 RequestTimeTooSkewed\)$`, time.Hour: `: it is (1h0m0s|59m59s) behind it \(403 RequestTimeTooSkewed\)$`} {
		s.SetClock(clock)
		err := put(t, c, "k", Bytes([]byte("x")), true)
		require.ErrorIs(t, err, ErrClock)
		require.Regexp(t, want, err.Error())
		require.False(t, IsTransient(err))
	}
}

// Who is denied a call learns which right it takes.
func TestDeniedCallIsToldWithItsRight(t *testing.T) {
	s, c := serve(t)
	s.Answer = sayCode(http.StatusForbidden, "AccessDenied")
	ctx, body := t.Context(), Bytes([]byte("x"))
	told := make(map[string]bool)
	for call, do := range map[string]func() error{
		"PutObject":               func() error { return put(t, c, "k", body, true) },
		"GetObject":               func() error { _, _, err := c.Get(ctx, "k", 10); return err },
		"HeadObject":              func() error { _, err := c.Now(ctx, "k"); return err },
		"DeleteObject":            func() error { return c.Delete(ctx, "k") },
		"ListObjectsV2":           func() error { return c.List(ctx, "", "", true, func(Object) error { return nil }) },
		"CreateMultipartUpload":   func() error { _, err := c.Begin(ctx, "k"); return err },
		"UploadPart":              func() error { _, err := c.PutPart(ctx, "k", "id", 1, body); return err },
		"CompleteMultipartUpload": func() error { return c.Complete(ctx, "k", "id", []Part{{Number: 1}}, true) },
		"ListParts":               func() error { _, err := c.Parts(ctx, "k", "id"); return err },
		"AbortMultipartUpload":    func() error { return c.Abort(ctx, "k", "id") },
		"ListMultipartUploads":    func() error { return c.Uploads(ctx, func(Upload) error { return nil }) },
	} {
		err := do()
		require.ErrorIs(t, err, ErrDenied, call)
		require.Regexp(t, "see docs/store.md for the policy that bundlewatch needs: "+call+" was denied, which takes s3:[A-Z]", err.Error())
		require.False(t, IsTransient(err))
		told[call] = true
	}
	require.Len(t, told, len(rights))
}

func TestUntrustedCertificate(t *testing.T) {
	s := objectserver.New()
	s.Server.Close()
	s.Server = httptest.NewUnstartedServer(s.Config.Handler)
	s.Config.ErrorLog = quiet
	s.StartTLS()
	defer s.Close()
	c := dial(t, s.URL)
	err := put(t, c, "k", Bytes([]byte("x")), true)
	require.ErrorIs(t, err, ErrUntrusted)
	require.ErrorContains(t, err, "ca_file")
	c = dial(t, s.URL, func(o *Options) { o.CAFile = caFile(t, s) })
	require.NoError(t, put(t, c, "k", Bytes([]byte("x")), true))
	_, err = Open(Options{Endpoint: s.URL, Bucket: "b", CAFile: "errors_test.go"})
	require.ErrorContains(t, err, "PEM")
}

func TestWrongSchemeAndNoListener(t *testing.T) {
	s := objectserver.New()
	defer s.Close()
	require.ErrorIs(t, put(t, dial(t, "https"+s.URL[len("http"):]), "k", Bytes([]byte("x")), true), ErrNotS3)
	s.Close()
	err := put(t, dial(t, s.URL), "k", Bytes([]byte("x")), true)
	require.ErrorIs(t, err, ErrUnreachable)
	require.True(t, IsTransient(err))
}

// What cannot be read here is no fault of the store, and is not tried again.
func TestSourceThatCannotBeRead(t *testing.T) {
	for name, body := range map[string]Body{
		"a failure": {Source: brokenSource{}, Size: 100},
		"an end":    {Source: strings.NewReader("short"), Size: 100},
	} {
		s, c := serve(t)
		before := s.Count()
		for _, err := range []error{put(t, c, "k", body, true), onlyError(c.PutPart(t.Context(), "k", "id", 1, body))} {
			require.ErrorIs(t, err, ErrSource, name)
			require.ErrorContains(t, err, "what is to be sent cannot be read: ")
			require.False(t, IsTransient(err))
			require.NotErrorIs(t, err, ErrUnreachable)
		}
		require.LessOrEqual(t, s.Count()-before, 2, name)
	}
	_, c := serve(t)
	var file *fs.PathError
	require.ErrorAs(t, put(t, c, "k", Body{Source: brokenSource{}, Size: 100}, true), &file)
}

type brokenSource struct{}

func (brokenSource) ReadAt([]byte, int64) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: "/disk", Err: errors.New("input/output error")}
}

func onlyError(_ Part, err error) error { return err }

func TestStalledCallIsGivenUp(t *testing.T) {
	s, c := serve(t, func(o *Options) { o.Patience.Stall = 20 * time.Millisecond; o.Patience.Tries = 1 })
	release := make(chan struct{})
	s.Answer = func(http.ResponseWriter, *http.Request) { <-release }
	defer close(release)
	require.ErrorIs(t, put(t, c, "k", Bytes([]byte("x")), true), ErrStalled)
	_, err := c.Head(t.Context(), "k")
	require.ErrorIs(t, err, ErrStalled)
}

// Each stall is a long wait, so what stalls is tried twice and not more.
func TestStallsAreTriedTwice(t *testing.T) {
	s, c := serve(t, func(o *Options) { o.Patience.Stall = 20 * time.Millisecond; o.Patience.Tries = 6 })
	s.Suffer(objectserver.Stalls)
	_, _, err := c.Get(t.Context(), "k", 10)
	require.ErrorIs(t, err, ErrStalled)
	require.ErrorContains(t, err, "20ms")
	require.Equal(t, 2, s.Count())
}

// Waiting for the limit of our own is no stall.
func TestOwnPaceIsNoStall(t *testing.T) {
	const stall = 2 * time.Second
	const more = 32 << 10 // what is read at once beyond the burst
	limit := rate.NewLimiter(rate.Limit(more/(stall+time.Second).Seconds()), most)
	_, c := serve(t, func(o *Options) { o.Rate, o.Patience.Stall, o.Patience.Tries = limit, stall, 1 })
	require.NoError(t, put(t, c, "k", Bytes(make([]byte, most+more)), true))
}

func TestKeysThatChangedAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(id string) {
		require.NoError(t, os.WriteFile(file, []byte("[lab]\naws_access_key_id = "+id+"\naws_secret_access_key = x\n"), 0o600))
	}
	write("OLD")
	s, c := serve(t, func(o *Options) { o.Credentials, o.Profile = file, "lab" })
	s.Set("a", []byte("x"), s.Now())
	_, _, err := c.Get(t.Context(), "a", 10)
	require.ErrorIs(t, err, ErrKeys)
	write(objectserver.AccessKey)
	_, _, err = c.Get(t.Context(), "a", 10)
	require.NoError(t, err)
}

func TestEndpoints(t *testing.T) {
	for _, good := range []string{"https://s3.example.org", "http://127.0.0.1:9000", "https://host/"} {
		require.NoError(t, CheckEndpoint(good), good)
	}
	for _, bad := range []string{"", "host", "host:9000", "ftp://host", "https://", "https://h/path", "https://h?q=1", "https://h#f", "http://me:pass@host", "https://%zz"} {
		err := CheckEndpoint(bad)
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "pass@")
	}
}

func TestRateIsHonoured(t *testing.T) {
	limit := rate.NewLimiter(1, 2<<20) // bytes, of which next to none come back during the test
	_, c := serve(t, func(o *Options) { o.Rate = limit })
	var sent atomic.Int64
	b := Bytes(make([]byte, 1<<20))
	b.Sent = func(n int64) { sent.Add(n) }
	require.NoError(t, put(t, c, "k", b, true))
	require.EqualValues(t, 1<<20, sent.Load())
	require.Less(t, limit.Tokens(), float64(1<<20+1<<19), "what was sent was taken from the limit")
}
