package main

import (
	"encoding/pem"
	"io"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

// objectStore starts a store for a script, in $STORE, with credentials in the environment. The bucket is "bundles". With
// an argument it speaks TLS, and its certificate is in that file.
func objectStore(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("objectstore cannot be negated")
	}
	var s *objectserver.Server
	if len(args) == 0 {
		s = objectserver.New()
	} else {
		s = objectserver.NewTLS()
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), block, 0o644))
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.Defer(s.Close)
	running.put(ts.Getenv("WORK"), s)
	ts.Setenv("STORE", s.URL)
	ts.Setenv("AWS_ACCESS_KEY_ID", objectserver.AccessKey)
	ts.Setenv("AWS_SECRET_ACCESS_KEY", objectserver.SecretKey)
	ts.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// storeIs changes the store, or looks at it:
//
//	storeis ages 48h            all that is in it is older
//	storeis deletes SUFFIX      the objects whose keys end so are gone
//	storeis damages SUFFIX      they have other bytes of the same size
//	storeis without conditions  it ignores If-None-Match
//	storeis counts              from now on
//	storeis costs N BYTES       so many requests and bytes of objects at most, since it counts
//	storeis has N PREFIX        so many objects, whose keys begin so
//	storeis uploading N         so many uploads were begun and not completed
//	storeis ahead 10m           its clock is
//	storeis TROUBLE             one of objectserver.Troubles is with every request from now on
//	storeis well                the trouble is over
func storeIs(ts *testscript.TestScript, neg bool, args []string) {
	s := running.get(ts.Getenv("WORK"))
	if neg || s == nil || len(args) < 1 {
		ts.Fatalf("usage: storeis WHAT..., after objectstore")
	}
	number := func(i int) int {
		n, err := strconv.Atoi(args[i])
		ts.Check(err)
		return n
	}
	switch args[0] {
	case "ages":
		by, err := time.ParseDuration(args[1])
		ts.Check(err)
		s.Age(by)
	case "deletes", "damages":
		found := false
		for _, key := range s.Keys("") {
			if strings.HasSuffix(key, args[1]) {
				found = true
				var data []byte
				if args[0] == "damages" {
					data = make([]byte, len(s.Object(key)))
				}
				s.Set(key, data, time.Now())
			}
		}
		if !found {
			ts.Fatalf("no object ends in %q", args[1])
		}
	case "without":
		s.IgnoreConditions()
	case "costs":
		n, sent := running.counted(ts.Getenv("WORK"))
		requests, bytes := s.Count()-n, s.Sent()-sent
		if requests > number(1) || bytes > int64(number(2)) {
			ts.Fatalf("it took %d requests and %d bytes", requests, bytes)
		}
	case "counts":
		running.mark(ts.Getenv("WORK"))
	case "has":
		if keys := s.Keys(args[2]); len(keys) != number(1) {
			ts.Fatalf("%d objects: %s", len(keys), strings.Join(keys, "\n"))
		}
	case "uploading":
		if keys := s.Uploads(); len(keys) != number(1) {
			ts.Fatalf("%d uploads: %s", len(keys), strings.Join(keys, "\n"))
		}
	case "ahead":
		by, err := time.ParseDuration(args[1])
		ts.Check(err)
		s.SetClock(by)
	case "well":
		s.Suffer(objectserver.None)
	default:
		trouble := objectserver.Trouble(strings.Join(args, " "))
		if !slices.Contains(objectserver.Troubles, trouble) {
			ts.Fatalf("unknown %q", trouble)
		}
		s.Suffer(trouble)
	}
}

// running are the stores of the scripts, which run in parallel, by their folders.
var running = &runningStores{stores: map[string]*scriptStore{}}

type runningStores struct {
	mu     sync.Mutex
	stores map[string]*scriptStore
}

type scriptStore struct {
	*objectserver.Server
	requests int
	sent     int64
}

func (r *runningStores) put(folder string, s *objectserver.Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stores[folder] = &scriptStore{Server: s}
}

func (r *runningStores) get(folder string) *objectserver.Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.stores[folder]; s != nil {
		return s.Server
	}
	return nil
}

func (r *runningStores) mark(folder string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stores[folder]
	s.requests, s.sent = s.Count(), s.Sent()
}

func (r *runningStores) counted(folder string) (requests int, sent int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stores[folder].requests, r.stores[folder].sent
}
