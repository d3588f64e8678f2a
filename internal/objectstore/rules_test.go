package objectstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

// Each test is for one rule about what goes over the wire. The server refuses any body whose hash is not the signed one.

func last(s *objectserver.Server) objectserver.Request {
	all := s.Requests()
	return all[len(all)-1]
}

func TestEveryBodyCarriesItsSignedHash(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s, c := serve(t)
		if secure {
			s, c = serveTLS(t)
		}
		data := bytes.Repeat([]byte("weights "), 1<<17)
		sum := sha256.Sum256(data)
		require.NoError(t, put(t, c, "a", Bytes(data), false))
		requireSigned(t, last(s), sum)
		id, err := c.Begin(t.Context(), "b")
		require.NoError(t, err)
		require.Equal(t, "SHA256", last(s).Header.Get("X-Amz-Checksum-Algorithm"))
		part, err := c.PutPart(t.Context(), "b", id, 1, Bytes(data))
		require.NoError(t, err)
		requireSigned(t, last(s), sum)
		require.NoError(t, c.Complete(t.Context(), "b", id, []Part{part}, true))
		hash := last(s).Header.Get("X-Amz-Content-Sha256")
		require.Len(t, hash, 64, "the list of parts is signed as well")
	}
}

func requireSigned(t *testing.T, r objectserver.Request, sum [32]byte) {
	t.Helper()
	require.Equal(t, hex.EncodeToString(sum[:]), r.Header.Get("X-Amz-Content-Sha256"))
	require.Equal(t, base64.StdEncoding.EncodeToString(sum[:]), r.Header.Get("X-Amz-Checksum-Sha256"))
	require.Empty(t, r.Header.Get("X-Amz-Trailer"), "trailers fail over plain HTTP")
	require.Empty(t, r.Header.Get("X-Amz-Decoded-Content-Length"), "a streaming signature replaces the hash")
	require.Contains(t, r.Header.Get("Authorization"), "x-amz-checksum-sha256")
}

func serveTLS(t *testing.T) (*objectserver.Server, *Client) {
	s := objectserver.New()
	s.Server.Close()
	s.Server = httptest.NewTLSServer(s.Config.Handler)
	t.Cleanup(s.Close)
	return s, dial(t, s.URL, func(o *Options) { o.CAFile = caFile(t, s) })
}

func TestWrongHashIsRefusedAndNothingIsKept(t *testing.T) {
	s, c := serve(t)
	b := Bytes([]byte("the bytes"))
	b.SHA256[0] ^= 1
	require.ErrorIs(t, put(t, c, "a", b, false), ErrHash)
	id, err := c.Begin(t.Context(), "a")
	require.NoError(t, err)
	_, err = c.PutPart(t.Context(), "a", id, 1, b)
	require.ErrorIs(t, err, ErrHash)
	require.Empty(t, s.Keys(""))
}

func TestConditionIsOnPutAndOnCompletion(t *testing.T) {
	s, c := serve(t)
	require.NoError(t, put(t, c, "a", Bytes([]byte("one")), true))
	require.Equal(t, "*", last(s).Header.Get("If-None-Match"))
	require.ErrorIs(t, put(t, c, "a", Bytes([]byte("two")), true), ErrExists)
	id, err := c.Begin(t.Context(), "a")
	require.NoError(t, err)
	part, err := c.PutPart(t.Context(), "a", id, 1, Bytes([]byte("three")))
	require.NoError(t, err)
	require.ErrorIs(t, c.Complete(t.Context(), "a", id, []Part{part}, true), ErrExists)
	require.Equal(t, "one", string(s.Object("a")))
	require.NoError(t, put(t, c, "a", Bytes([]byte("four")), false))
	require.Empty(t, last(s).Header.Get("If-None-Match"))
}

// What may have been done is never done again by the library.
func TestConditionalWritesAreTriedOnce(t *testing.T) {
	for _, f := range objectserver.Faults {
		s, c := serve(t)
		s.FailAt(1, f)
		require.Error(t, put(t, c, "a", Bytes([]byte("one")), true), f)
		require.Equal(t, 1, s.Count(), f)
	}
	for _, f := range objectserver.Faults {
		s, c := serve(t)
		id, err := c.Begin(t.Context(), "a")
		require.NoError(t, err)
		part, err := c.PutPart(t.Context(), "a", id, 1, Bytes([]byte("one")))
		require.NoError(t, err)
		s.FailAt(1, f)
		require.Error(t, c.Complete(t.Context(), "a", id, []Part{part}, true), f)
		require.Equal(t, 3, s.Count(), f)
	}
}

func TestReadsAndPartsAreTriedAgain(t *testing.T) {
	for _, f := range []objectserver.Fault{objectserver.LoseAnswer, objectserver.Reset, objectserver.CutBody, objectserver.Say500, objectserver.Say503} {
		s, c := serve(t)
		s.Set("a", []byte("some bytes"), s.Now())
		s.FailAt(1, f)
		data, _, err := c.Get(t.Context(), "a", 100)
		require.NoError(t, err, f)
		require.Equal(t, "some bytes", string(data))
		id, err := c.Begin(t.Context(), "b")
		require.NoError(t, err)
		s.FailAt(1, f)
		_, err = c.PutPart(t.Context(), "b", id, 1, Bytes([]byte("some bytes")))
		require.NoError(t, err, f)
		s.FailAt(1, f)
		parts, err := c.Parts(t.Context(), "b", id)
		require.NoError(t, err, f)
		require.Len(t, parts, 1)
		s.FailAt(1, f)
		var keys []string
		require.NoError(t, c.List(t.Context(), "", "", true, func(o Object) error { keys = append(keys, o.Key); return nil }), f)
		require.Equal(t, []string{"a"}, keys)
	}
}

func TestCompositeIsWhatTheStoreAttests(t *testing.T) {
	_, c := serve(t)
	id, err := c.Begin(t.Context(), "a")
	require.NoError(t, err)
	var parts []Part
	var sums [][sha256.Size]byte
	for i := range 3 {
		b := Bytes(bytes.Repeat([]byte{byte(i)}, 1000))
		p, err := c.PutPart(t.Context(), "a", id, i+1, b)
		require.NoError(t, err)
		parts, sums = append(parts, p), append(sums, b.SHA256)
	}
	require.NoError(t, c.Complete(t.Context(), "a", id, parts, true))
	o, err := c.Head(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, Composite(sums), o.Checksum)
	require.EqualValues(t, 3000, o.Size)
	require.False(t, o.Date.IsZero())
}

// Without credentials there is no request at all: one without a signature would have no hash.
func TestNoRequestWithoutCredentials(t *testing.T) {
	s, c := serve(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	require.ErrorIs(t, put(t, c, "a", Bytes([]byte("x")), true), ErrNoKeys)
	require.Zero(t, s.Count())
}

func TestRegionIsNeverLookedUp(t *testing.T) {
	s, c := serve(t)
	require.NoError(t, put(t, c, "a", Bytes([]byte("x")), true))
	for _, r := range s.Requests() {
		require.NotContains(t, r.Query, "location")
	}
}

// What a store attests in its answer to a PUT is what it would say later.
func TestPutReturnsWhatTheStoreAttests(t *testing.T) {
	s, c := serve(t)
	b := Bytes([]byte("some bytes"))
	checksum, err := c.Put(t.Context(), "a", b, true)
	require.NoError(t, err)
	require.Equal(t, b.Checksum(), checksum)
	s.NoAttestation = true
	checksum, err = c.Put(t.Context(), "a", b, false)
	require.NoError(t, err)
	require.Empty(t, checksum)
}

// A canceled call ends, also in a listing.
func TestCallsEndWithTheirContext(t *testing.T) {
	s, c := serve(t)
	release := make(chan struct{})
	defer close(release)
	s.Answer = func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}
	for _, do := range []func(ctx context.Context) error{
		func(ctx context.Context) error { _, err := c.Put(ctx, "a", Bytes([]byte("x")), true); return err },
		func(ctx context.Context) error { return c.List(ctx, "", "", true, func(Object) error { return nil }) },
		func(ctx context.Context) error { _, err := c.Head(ctx, "a"); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for s.Count() == 0 {
			}
			cancel()
		}()
		require.ErrorIs(t, do(ctx), context.Canceled)
	}
}
