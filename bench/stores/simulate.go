package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

// Prices of AWS in dollars for a thousand requests, as of 2026.
const (
	priceWrite = 0.005  // PUT, POST, LIST
	priceRead  = 0.0004 // GET, HEAD
)

// simulation runs the program's own code against a store in memory.
type simulation struct {
	hosts, each, names int
	limit              int // requests in a second, above which the store says 503
}

func (s *simulation) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bundlewatch-simulate.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bundleDir, err := makeBundle(dir)
	if err != nil {
		return err
	}
	fmt.Printf("| what | requests | writes | reads | dollars |\n|---|---:|---:|---:|---:|\n")
	for _, parts := range []int{0, 16, 160, 1600} {
		if err := s.one(ctx, dir, bundleDir, parts); err != nil {
			return err
		}
	}
	if err := s.list(ctx, dir); err != nil {
		return err
	}
	return s.crowd(ctx, dir, bundleDir)
}

// client opens the bucket of a server.
func client(dir string, server *objectserver.Server) (*objectstore.Client, error) {
	keys := filepath.Join(dir, "keys")
	text := fmt.Sprintf("[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n", objectserver.AccessKey, objectserver.SecretKey)
	if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return objectstore.Open(objectstore.Options{Endpoint: server.URL, Bucket: objectserver.Bucket, Region: objectserver.Region, PathStyle: true, Credentials: keys})
}

// bill counts requests by price.
func bill(requests []objectserver.Request) (writes, reads int, dollars float64) {
	for _, r := range requests {
		switch r.Method {
		case http.MethodPut, http.MethodPost:
			writes++
		case http.MethodGet, http.MethodHead:
			if r.Key == "" {
				writes++ // a listing costs as much
			} else {
				reads++
			}
		}
	}
	return writes, reads, float64(writes)/1000*priceWrite + float64(reads)/1000*priceRead
}

// one publishes a bundle whose archive goes in so many parts. The parts are small here: their number is what costs.
func (s *simulation) one(ctx context.Context, dir, bundleDir string, parts int) error {
	server := objectserver.New()
	defer server.Close()
	c, err := client(dir, server)
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := bucket.OpenLocal(bundleDir, "w/r/1")
	if err != nil {
		return err
	}
	defer l.Close()
	size, what := int64(1<<30), "a bundle up to 4 MiB"
	if parts > 0 {
		size, what = (archiveSize(bundleDir)+int64(parts)-1)/int64(parts), fmt.Sprintf("a bundle of %d parts (%d GiB)", parts, parts/16)
	}
	if _, err := bucket.New(c, bucket.Options{PartSize: size, Parallel: 4, Host: "h"}).Publish(ctx, l); err != nil {
		return err
	}
	writes, reads, dollars := bill(server.Requests())
	fmt.Printf("| publish %s | %d | %d | %d | %.6f |\n", what, writes+reads, writes, reads, dollars)
	return nil
}

// list lists names that the store makes up.
func (s *simulation) list(ctx context.Context, dir string) error {
	server := objectserver.New()
	defer server.Close()
	server.Answer = s.answerListing
	c, err := client(dir, server)
	if err != nil {
		return err
	}
	defer c.Close()
	n, begun := 0, time.Now()
	if err := c.List(ctx, "names/", "", true, func(objectstore.Object) error { n++; return nil }); err != nil {
		return err
	}
	writes, reads, dollars := bill(server.Requests())
	fmt.Printf("| list %d names (%.1f s here) | %d | %d | %d | %.6f |\n", n, time.Since(begun).Seconds(), writes+reads, writes, reads, dollars)
	return nil
}

func (s *simulation) answerListing(w http.ResponseWriter, r *http.Request) {
	begin := 0
	_, _ = fmt.Sscanf(r.URL.Query().Get("continuation-token"), "%d", &begin)
	end := min(begin+1000, s.names)
	fmt.Fprintf(w, "<ListBucketResult><IsTruncated>%v</IsTruncated><NextContinuationToken>%d</NextContinuationToken>", end < s.names, end)
	for i := begin; i < end; i++ {
		fmt.Fprintf(w, "<Contents><Key>names/w/run-%04d/%06d.json</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><Size>900</Size></Contents>", i/1000, i)
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

// crowd lets all hosts publish at the same time, as after a maintenance of the store.
func (s *simulation) crowd(ctx context.Context, dir, bundleDir string) error {
	server := objectserver.New()
	defer server.Close()
	var second, taken, busy atomic.Int64
	inner := server.Config.Handler
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if now := time.Now().Unix(); second.Swap(now) != now {
			taken.Store(0)
		}
		if taken.Add(1) > int64(s.limit) {
			busy.Add(1)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "<Error><Code>SlowDown</Code></Error>")
			return
		}
		inner.ServeHTTP(w, r)
	})
	c, err := client(dir, server)
	if err != nil {
		return err
	}
	defer c.Close()
	var mu sync.Mutex
	var took []float64
	var failed int
	var group sync.WaitGroup
	begun := time.Now()
	for h := range s.hosts {
		group.Go(func() {
			b := bucket.New(c, bucket.Options{Parallel: 4, Host: fmt.Sprint("host", h)})
			for i := range s.each {
				l, err := bucket.OpenLocal(bundleDir, fmt.Sprintf("w/run-%d/%d", h, i))
				if err == nil {
					_, err = b.Publish(ctx, l)
					l.Close()
				}
				mu.Lock()
				if err != nil {
					failed++
				} else {
					took = append(took, time.Since(begun).Seconds())
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	sort.Float64s(took)
	writes, reads, dollars := bill(server.Requests())
	fmt.Printf("| %d hosts x %d bundles at once | %d | %d | %d | %.6f |\n\n", s.hosts, s.each, writes+reads, writes, reads, dollars)
	fmt.Printf("All %d bundles of the crowd had their names after %.1f s, half of them after %.1f s; the store, which takes %d requests in a second, said 503 to %d, and %d attempts gave up for their backlog to try again.\n",
		len(took), took[len(took)-1], took[len(took)/2], s.limit, busy.Load(), failed)
	if names := len(server.Keys("names/")); names != len(took) {
		return fmt.Errorf("there are %d names for %d bundles that were reported", names, len(took))
	}
	return nil
}
