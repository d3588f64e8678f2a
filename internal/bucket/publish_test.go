package bucket

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

// sizes are those of parts with which the archive goes in one request, and in several.
var sizes = map[string]int64{"one request": 1 << 20, "parts": testPart}

func TestPublish(t *testing.T) {
	for name, size := range sizes {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			h := newHost(t, s, "a", 1, size)
			p, err := h.publish(t)
			require.NoError(t, err)
			require.Equal(t, Published{Host: "a", Fresh: true, Attested: true, Sent: 4}, p)
			requireWhole(t, s)
			require.Len(t, s.Keys(""), 5)
			require.Empty(t, s.Uploads())
			left, err := os.ReadDir(h.uploads)
			require.NoError(t, err)
			require.Empty(t, left)
			name := s.Object("lab/names/" + place + ".json")
			require.Less(t, len(name), maxDoc)

			p, err = h.publish(t)
			require.NoError(t, err)
			require.Equal(t, Published{Host: "a", Attested: true}, p, "once more is nothing new")
		})
	}
}

// The name is the last object, and all is there when it appears.
func TestNameComesLast(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	s.Before = func(_ int, r *http.Request) {
		if r.Method == http.MethodPut && r.URL.Path == "/"+objectserver.Bucket+"/lab/names/"+place+".json" {
			require.Len(t, s.Keys("lab/data/"), 4)
		}
	}
	_, err := h.publish(t)
	require.NoError(t, err)
}

// At each call in turn each fault happens. Whatever the host is told, what it says is true: published means that it
// is there and whole; and the next attempt publishes.
func TestEachFaultAtEachCall(t *testing.T) {
	for name, size := range sizes {
		for _, v := range []struct{ unnamed, attests, md5s bool }{{false, true, false}, {true, true, false}, {true, false, false}, {true, false, true}} {
			eachFaultAtEachCall(t, name, size, v.unnamed, v.attests, v.md5s)
		}
	}
}

func eachFaultAtEachCall(t *testing.T, name string, size int64, unnamed, attests, md5s bool) {
	s := serve(t)
	s.NoAttestation = !attests
	h := newHost(t, s, "a", 1, size)
	h.unnamed, h.md5s = unnamed, md5s
	_, err := h.publish(t)
	require.NoError(t, err)
	calls := s.Count()
	require.Greater(t, calls, 6)
	t.Logf("%s: %d faults at each of %d calls", name, len(objectserver.Faults), calls)
	for _, f := range objectserver.Faults {
		t.Run(fmt.Sprintf("%s, unnamed=%v, attests=%v, md5s=%v, %s", name, unnamed, attests, md5s, f), func(t *testing.T) {
			for n := 1; n <= calls; n++ {
				faulty := serve(t)
				faulty.NoAttestation = !attests
				again := &host{Bucket: New(dial(t, faulty), Options{Prefix: "lab", PartSize: size, Parallel: 1, Host: "a", Uploads: t.TempDir()}), dir: h.dir, unnamed: unnamed}
				again.md5s = md5s
				faulty.FailAt(n, f)
				_, err := again.publish(t)
				if err == nil {
					require.Len(t, faulty.Keys("lab/names/"), 1, "call %d", n)
				}
				requireWhole(t, faulty)
				_, err = again.publish(t)
				require.NoError(t, err, "call %d", n)
				requireWhole(t, faulty)
				require.Len(t, faulty.Keys("lab/names/"), 1)
			}
		})
	}
}

// The faults that any store has now and then do not even make an attempt fail.
func TestTransientFaultsAreOvercomeAtOnce(t *testing.T) {
	for name, size := range sizes {
		s := serve(t)
		h := newHost(t, s, "a", 1, size)
		_, err := h.publish(t)
		require.NoError(t, err)
		calls := s.Count()
		for _, f := range []objectserver.Fault{objectserver.LoseAnswer, objectserver.Reset, objectserver.CutBody, objectserver.Say500, objectserver.DoneBut500, objectserver.Say503} {
			for n := 1; n <= calls; n++ {
				faulty := serve(t)
				again := &host{Bucket: New(dial(t, faulty), Options{Prefix: "lab", PartSize: size, Parallel: 1, Host: "a"}), dir: h.dir}
				faulty.FailAt(n, f)
				p, err := again.publish(t)
				if isBegin(faulty, n) {
					continue // an upload that may have been begun is left to the next attempt
				}
				require.NoError(t, err, "%s: %s at call %d", name, f, n)
				require.True(t, p.Fresh, "%s: %s at call %d: the name is ours, whatever the answer was", name, f, n)
			}
		}
	}
}

func isBegin(s *objectserver.Server, n int) bool {
	r := s.Requests()[n-1]
	return r.Method == http.MethodPost && r.Query == "uploads="
}

// Two hosts, one stopped at each of its calls while the other does all of its own.
func TestTwoHostsInterleaved(t *testing.T) {
	for name, size := range sizes {
		for _, v := range []struct{ same, unnamed bool }{{true, false}, {false, false}, {true, true}, {false, true}} {
			same := v.same
			t.Run(fmt.Sprintf("%s, same=%v, unnamed=%v", name, same, v.unnamed), func(t *testing.T) {
				seed := float32(1)
				if !same {
					seed = 2
				}
				first, second := pack(t, 1, "a", size), pack(t, seed, "b", size)
				calls := 1
				for n := 1; n <= calls; n++ {
					s := serve(t)
					a, b := hostOf(t, s, "a", first, size), hostOf(t, s, "b", second, size)
					a.unnamed, b.unnamed = v.unnamed, v.unnamed
					var resultB Published
					var errB error
					ran := false
					s.Before = func(count int, _ *http.Request) {
						if count == n && !ran {
							ran = true
							resultB, errB = b.publish(t)
						}
					}
					resultA, errA := a.publish(t)
					require.True(t, ran)
					if n == 1 {
						calls = countOf(t, first, size, v.unnamed)
					}
					requireTrue(t, s, a, b, same, resultA, resultB, errA, errB)
				}
				t.Logf("interleaved at each of %d calls", calls)
			})
		}
	}
}

func hostOf(t *testing.T, s *objectserver.Server, name, dir string, size int64) *host {
	return &host{name: name, dir: dir, Bucket: New(dial(t, s), Options{Prefix: "lab", PartSize: size, Parallel: 1, Host: name, Uploads: t.TempDir()})}
}

// countOf returns how many calls it takes to publish alone.
func countOf(t *testing.T, dir string, size int64, unnamed bool) int {
	s := serve(t)
	h := hostOf(t, s, "x", dir, size)
	h.unnamed = unnamed
	_, err := h.publish(t)
	require.NoError(t, err)
	return s.Count()
}

// requireTrue holds what two hosts report against the store.
func requireTrue(t *testing.T, s *objectserver.Server, a, b *host, same bool, resultA, resultB Published, errA, errB error) {
	t.Helper()
	requireWhole(t, s)
	names, err := a.names(t.Context(), place)
	require.NoError(t, err)
	require.Len(t, names, 1)
	if same {
		require.NoError(t, errA)
		require.NoError(t, errB)
		require.NotEqual(t, resultA.Fresh, resultB.Fresh, "one of them made the name")
		require.Equal(t, names[0].Host, resultA.Host)
		require.Equal(t, names[0].Host, resultB.Host)
		return
	}
	var conflict *Conflict
	winner, loser := errA, errB
	if names[0].Host == "b" {
		winner, loser = errB, errA
	}
	require.NoError(t, winner)
	require.ErrorAs(t, loser, &conflict)
	require.Equal(t, names[0].Archive, conflict.Theirs)
	require.NotEqual(t, conflict.Ours, conflict.Theirs)
	require.ErrorContains(t, loser, conflict.Ours)
	require.ErrorContains(t, loser, conflict.Theirs)
}

// Each call of one host in turn with a fault, while another has published in the middle.
func TestFaultsWithAnotherHostInBetween(t *testing.T) {
	first, second := pack(t, 1, "a", testPart), pack(t, 2, "b", testPart)
	calls := countOf(t, first, testPart, false)
	for n := 1; n <= calls; n++ {
		for _, f := range []objectserver.Fault{objectserver.LoseAnswer, objectserver.Say412, objectserver.Say409} {
			s := serve(t)
			a, b := hostOf(t, s, "a", first, testPart), hostOf(t, s, "b", second, testPart)
			var errB error
			ran := false
			s.Before = func(count int, _ *http.Request) {
				if count == n && !ran {
					ran = true
					_, errB = b.publish(t)
				}
			}
			s.FailAt(n, f)
			_, errA := a.publish(t)
			requireWhole(t, s)
			names, err := a.names(t.Context(), place)
			require.NoError(t, err)
			require.Len(t, names, 1)
			if names[0].Host == "b" {
				require.NoError(t, errB)
				require.Error(t, errA)
			}
			if errA == nil {
				require.Equal(t, "a", names[0].Host)
			}
		}
	}
}

func TestConflictUploadsNothing(t *testing.T) {
	s := serve(t)
	a, b := newHost(t, s, "a", 1, testPart), newHost(t, s, "b", 2, testPart)
	_, err := a.publish(t)
	require.NoError(t, err)
	before := s.Keys("")
	_, err = b.publish(t)
	var conflict *Conflict
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, before, s.Keys(""))
}

// The upload of a process that died is gone on with, but for the parts whose checksum is not ours: a store has been
// seen to tell the right size of a part that it had half of.
func TestResume(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	s.Deny = func(r *http.Request) bool { return r.URL.Query().Get("partNumber") >= "3" }
	_, err := h.publish(t)
	require.ErrorIs(t, err, objectstore.ErrDenied)
	require.Len(t, s.Uploads(), 1)
	s.Deny = nil
	s.DamagePart(s.Uploads()[0], 2)
	before := len(s.Requests())
	p, err := h.publish(t)
	require.NoError(t, err)
	require.True(t, p.Attested)
	requireWhole(t, s)
	require.Empty(t, s.Uploads())
	var parts []string
	for _, r := range s.Requests()[before:] {
		require.NotEqual(t, "uploads=", r.Query, "no upload is begun")
		if r.Method == http.MethodPut && r.Query != "" {
			parts = append(parts, r.Query[:len("partNumber=N")])
		}
	}
	require.Equal(t, []string{"partNumber=2", "partNumber=3"}, parts)
}

// An upload that the store forgot, or swept, is begun anew.
func TestForgottenUpload(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	l, err := OpenLocal(h.dir, place)
	require.NoError(t, err)
	defer l.Close()
	key := h.dataKey(place, l.files[0].path)
	require.NoError(t, uploads{h.uploads}.put(key, "upload-that-is-gone"))
	_, err = h.Publish(t.Context(), l)
	require.NoError(t, err)
	requireWhole(t, s)
}

func TestLocalDamageIsNotUploaded(t *testing.T) {
	for name, size := range sizes {
		for _, given := range []int64{0, size} {
			t.Run(fmt.Sprintf("%s, digests of %d", name, given), func(t *testing.T) {
				s := serve(t)
				h := hostOf(t, s, "a", pack(t, 1, "a", given), size)
				flip(t, filepath.Join(h.dir, bundle.ArchiveName))
				_, err := h.publish(t)
				require.ErrorIs(t, err, ErrDamaged)
				require.Empty(t, s.Keys("lab/names/"))
				for _, key := range s.Keys("") {
					require.NotEqual(t, bundle.ArchiveName, filepath.Base(key))
				}
			})
		}
	}
}

func flip(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, data, 0o444))
}

// Something else under a key of data, or half of it, is replaced before the name is made.
func TestWrongDataIsReplaced(t *testing.T) {
	for name, size := range sizes {
		for _, junk := range []string{"short", "same size"} {
			s := serve(t)
			h := newHost(t, s, "a", 1, size)
			l, err := OpenLocal(h.dir, place)
			require.NoError(t, err)
			data := []byte("half")
			if junk == "same size" {
				data = make([]byte, l.files[0].size)
			}
			s.Set(h.dataKey(place, l.files[0].path), data, time.Now())
			l.Close()
			_, err = h.publish(t)
			require.NoError(t, err, name)
			requireWhole(t, s)
		}
	}
}

// Data that is so old that a sweep may be about to take it is sent again before it gets its name.
func TestOldDataIsSentAgain(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	_, err := h.publish(t)
	require.NoError(t, err)
	s.Set("lab/names/"+place+".json", nil, time.Time{})
	s.Age(8 * 24 * time.Hour)
	p, err := h.publish(t)
	require.NoError(t, err)
	require.Equal(t, 4, p.Sent)
	s.Age(8 * 24 * time.Hour)
	p, err = h.publish(t)
	require.NoError(t, err)
	require.Zero(t, p.Sent, "what has a name may be as old as it likes")
}

// Data that is swept or deleted beside the name is sent again, and if nobody here has it that is said.
func TestNameWithoutDataIsNotBelieved(t *testing.T) {
	s := serve(t)
	a := newHost(t, s, "a", 1, testPart)
	b := newHost(t, s, "b", 1, testPart)
	_, err := a.publish(t)
	require.NoError(t, err)
	for _, key := range s.Keys("lab/data/") {
		if filepath.Base(key) == bundle.ArchiveName {
			s.Set(key, nil, time.Time{})
		}
	}
	p, err := b.publish(t)
	require.NoError(t, err)
	require.Equal(t, Published{Host: "a", Attested: true, Sent: 1}, p)
	requireWhole(t, s)
	for _, key := range s.Keys("lab/data/") {
		if filepath.Base(key) == bundle.TreeName {
			s.Set(key, nil, time.Time{})
		}
	}
	_, err = b.publish(t)
	require.ErrorContains(t, err, "only that host has it")
	_, err = a.publish(t)
	require.NoError(t, err)
	requireWhole(t, s)
}

// Hosts with other sizes of parts do not fight over the archive.
func TestHostsWithOtherPartSizes(t *testing.T) {
	s := serve(t)
	first, second := pack(t, 1, "a", 0), pack(t, 1, "b", 0)
	_, err := hostOf(t, s, "a", first, testPart).publish(t)
	require.NoError(t, err)
	p, err := hostOf(t, s, "b", second, 1<<20).publish(t)
	require.NoError(t, err)
	requireWhole(t, s)
	require.False(t, p.Fresh)
}

func TestStoreThatAttestsNothing(t *testing.T) {
	s := serve(t)
	s.NoAttestation, s.IgnoreCompleteConditions = true, true
	p, err := newHost(t, s, "a", 1, testPart).publish(t)
	require.NoError(t, err)
	require.False(t, p.Attested)
	requireWhole(t, s)
}

// Where ETags are MD5s they are the proof: sent with each body, and compared with what the store has.
func TestMD5sAreTheProof(t *testing.T) {
	for name, size := range sizes {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.NoAttestation = true
			h := newHost(t, s, "a", 1, size)
			h.md5s = true
			p, err := h.publish(t)
			require.NoError(t, err)
			require.True(t, p.Attested)
			requireWhole(t, s)
			for _, r := range s.Requests() {
				if r.Method == http.MethodPut && strings.HasPrefix(r.Key, "lab/data/") {
					require.NotEmpty(t, r.Header.Get("Content-Md5"), r.Key)
				}
			}
			archive := h.dataKey(place, archiveOf(t, h)+"/"+bundle.ArchiveName)
			held, err := h.Holds(t.Context(), place, archiveOf(t, h))
			require.NoError(t, err)
			require.True(t, held)
			names, err := h.names(t.Context(), place)
			require.NoError(t, err)
			reader := New(dial(t, s), Options{Prefix: "lab"})
			for _, f := range names[0].Files {
				ok, attested, err := reader.stands(t.Context(), place, f)
				require.NoError(t, err)
				require.True(t, ok && attested, f.Path)
			}

			// Other bytes of the same size are found out, and replaced.
			s.Set(archive, make([]byte, len(s.Object(archive))), time.Now())
			if size > testPart {
				held, err = h.Holds(t.Context(), place, archiveOf(t, h))
				require.NoError(t, err)
				require.False(t, held)
			}
			p, err = h.publish(t)
			require.NoError(t, err)
			require.Equal(t, 1, p.Sent)
			require.True(t, p.Attested)
			requireWhole(t, s)
		})
	}
}

func archiveOf(t *testing.T, h *host) string {
	m, err := bundle.ReadManifest(filepath.Join(h.dir, bundle.ManifestName))
	require.NoError(t, err)
	return m.Archive.SHA256
}

// An upload in such a store is gone on with by the MD5s of its parts.
func TestResumeByMD5s(t *testing.T) {
	s := serve(t)
	s.NoAttestation = true
	h := newHost(t, s, "a", 1, testPart)
	h.md5s = true
	s.Deny = func(r *http.Request) bool { return r.URL.Query().Get("partNumber") >= "3" }
	_, err := h.publish(t)
	require.ErrorIs(t, err, objectstore.ErrDenied)
	s.Deny = nil
	s.DamagePart(s.Uploads()[0], 2)
	before := len(s.Requests())
	p, err := h.publish(t)
	require.NoError(t, err)
	require.True(t, p.Attested)
	requireWhole(t, s)
	var parts []string
	for _, r := range s.Requests()[before:] {
		if r.Method == http.MethodPut && strings.Contains(r.Query, "partNumber=") {
			parts = append(parts, r.Query[:len("partNumber=N")])
		}
	}
	require.Equal(t, []string{"partNumber=2", "partNumber=3"}, parts)
}

// A damaged local file does not go there by its MD5.
func TestLocalDamageIsFoundBeforeMD5s(t *testing.T) {
	s := serve(t)
	s.NoAttestation = true
	h := hostOf(t, s, "a", pack(t, 1, "a", testPart), testPart)
	h.md5s = true
	flip(t, filepath.Join(h.dir, bundle.ArchiveName))
	_, err := h.publish(t)
	require.ErrorIs(t, err, ErrDamaged)
	require.Empty(t, s.Keys("lab/names/"))
}

// A file that is cut off while it is sent is damage of the bundle, not a fault of the store.
func TestLocalFileThatEndsEarly(t *testing.T) {
	for _, part := range []int64{0, testPart} {
		s := serve(t)
		h := newHost(t, s, "a", 1, part)
		archive := filepath.Join(h.dir, bundle.ArchiveName)
		info, err := os.Stat(archive)
		require.NoError(t, err)
		s.Before = func(n int, _ *http.Request) {
			if n == 1 { // the bundle was opened
				require.NoError(t, os.Truncate(archive, info.Size()/2))
			}
		}
		_, err = h.publish(t)
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorIs(t, err, backlog.ErrDamaged)
		require.Empty(t, s.Keys("lab/names/"))
	}
}

// A destination that finds such a store sends MD5s from then on.
func TestDestinationTrustsTheProbe(t *testing.T) {
	s := serve(t)
	s.NoAttestation = true
	d := destination(t, s, "a")
	b := local(t, pack(t, 1, "a", testPart))
	has, err := d.Has(t.Context(), b)
	require.NoError(t, err)
	require.False(t, has)
	require.NoError(t, d.Send(t.Context(), b, func(int64) {}))
	require.Contains(t, string(s.Object("lab/names/"+place+".json")), `"md5": `)
	require.Contains(t, d.Probed().Lacks[0], "MD5s are sent")
}

// The way down for a store without conditions: other bytes under one place are found by both hosts.
func TestClaims(t *testing.T) {
	s := serve(t)
	s.IgnorePutConditions, s.IgnoreCompleteConditions = true, true
	claiming := func(name, dir string) *host {
		return &host{dir: dir, Bucket: New(dial(t, s), Options{Prefix: "lab", PartSize: testPart, Claims: true, Host: name})}
	}
	one, two := pack(t, 1, "a", 0), pack(t, 2, "b", 0)
	a, b, c := claiming("a", one), claiming("b", two), claiming("c", one)
	var ran atomic.Bool
	s.Before = func(_ int, r *http.Request) {
		if r.Method == http.MethodPut && filepath.Ext(r.URL.Path) == ".json" && filepath.Base(r.URL.Path) != bundle.ManifestName && ran.CompareAndSwap(false, true) {
			_, err := b.publish(t)
			require.NoError(t, err, "it saw nobody")
		}
	}
	var conflict *Conflict
	_, err := a.publish(t)
	require.ErrorAs(t, err, &conflict)
	_, err = b.publish(t)
	require.ErrorAs(t, err, &conflict)
	_, err = c.publish(t)
	require.ErrorAs(t, err, &conflict)
	names, err := a.names(t.Context(), place)
	require.NoError(t, err)
	require.Len(t, names, 2, "no silent winner")
}

// What a small bundle takes: the look for a tomb, its files, the name, the last look for a tomb. The store attests files
// and name in its answers; where it does not, the name is read and each file is looked at.
func TestRequestsOfASmallBundle(t *testing.T) {
	for attests, want := range map[bool]string{
		true:  "HEAD tombs, PUT data, PUT data, PUT data, PUT data, PUT names, HEAD tombs",
		false: "HEAD tombs, PUT data, PUT data, PUT data, PUT data, PUT names, GET names, HEAD data, HEAD data, HEAD data, HEAD data, HEAD tombs",
	} {
		s := serve(t)
		s.NoAttestation = !attests
		h := newHost(t, s, "a", 1, 1<<20)
		h.unnamed = true
		p, err := h.publish(t)
		require.NoError(t, err)
		require.Equal(t, attests, p.Attested)
		var asked []string
		for _, r := range s.Requests() {
			asked = append(asked, r.Method+" "+strings.Split(r.Key, "/")[1])
		}
		require.Equal(t, want, strings.Join(asked, ", "))
	}
}

func TestTombKeepsABundleAway(t *testing.T) {
	s := serve(t)
	h := newHost(t, s, "a", 1, testPart)
	_, err := h.publish(t)
	require.NoError(t, err)
	require.NoError(t, h.Bury(t.Context(), place, "", "test"))
	_, err = h.publish(t)
	var pruned *Pruned
	require.ErrorAs(t, err, &pruned)
	require.Equal(t, "test", pruned.Tomb.Reason)
}

// A tomb that appears at any call of a publication leaves no name that this publication made after it.
func TestTombAppearsInBetween(t *testing.T) {
	for name, size := range sizes {
		for _, unnamed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, unnamed=%v", name, unnamed), func(t *testing.T) { tombAppearsInBetween(t, size, unnamed) })
		}
	}
}

func tombAppearsInBetween(t *testing.T, size int64, unnamed bool) {
	dir := pack(t, 1, "a", size)
	calls := countOf(t, dir, size, unnamed)
	for n := 1; n <= calls; n++ {
		s := serve(t)
		h := hostOf(t, s, "a", dir, size)
		h.unnamed = unnamed
		grave := New(dial(t, s), Options{Prefix: "lab", Host: "b"})
		ran := false
		s.Before = func(count int, _ *http.Request) {
			if count == n && !ran {
				ran = true
				require.NoError(t, grave.Bury(t.Context(), place, "", "test"))
			}
		}
		_, err := h.publish(t)
		if err == nil {
			require.Equal(t, calls, n, "only a tomb that came after the last look is not seen")
			continue
		}
		var pruned *Pruned
		require.True(t, errors.As(err, &pruned), "call %d: %v", n, err)
		require.Empty(t, s.Keys("lab/names/"), "call %d", n)
	}
}
