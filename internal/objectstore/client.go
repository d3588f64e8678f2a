package objectstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/time/rate"
)

// Options say which bucket of which store, and how to reach it.
type Options struct {
	Endpoint  string // URL, http or https; nothing but a host and a port
	Bucket    string
	Region    string
	PathStyle bool   // the bucket is the first part of the path, not of the host name
	CAFile    string // PEM; certificates trusted beside those of the system; "" for none
	// Credentials is a file as the AWS tools have it, in place of the usual chain; "" for that. Profile is the
	// section in it, or in the files of the chain; "" for the usual one.
	Credentials, Profile string
	Rate                 *rate.Limiter // of the bytes that are sent; nil for no limit
	Patience             Patience
}

// Patience says how often what may be repeated is tried, and how long to wait in between: a random time up to
// First, which doubles up to Longest. The zero value is for production.
type Patience struct {
	Tries          int
	First, Longest time.Duration
	Stall          time.Duration // without a byte moving, after which a call is given up
}

// Client makes calls. It may be used by any number of goroutines.
type Client struct {
	core     minio.Core
	bucket   string
	keys     *keys
	limit    *rate.Limiter
	patience Patience
	observer *observer
}

// Open makes a client, without a call to the store.
func Open(o Options) (*Client, error) {
	at, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(o.CAFile)
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupDNS
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	k, observer := newKeys(o, transport), newObserver(transport)
	core, err := minio.NewCore(at.Host, &minio.Options{Creds: k.credentials, Secure: at.Scheme == "https", Transport: observer,
		Region: o.Region, BucketLookup: lookup, MaxRetries: 1, TrailingHeaders: false})
	if err != nil {
		return nil, fmt.Errorf("open store at %q: %w", o.Endpoint, err)
	}
	core.SetAppInfo("bundlewatch", "1")
	p := o.Patience
	p.Tries, p.First, p.Longest, p.Stall = cmp.Or(p.Tries, 6), cmp.Or(p.First, 250*time.Millisecond), cmp.Or(p.Longest, 20*time.Second), cmp.Or(p.Stall, 2*time.Minute)
	return &Client{core: *core, bucket: o.Bucket, keys: k, limit: o.Rate, patience: p, observer: observer}, nil
}

// Close gives up idle connections.
func (c *Client) Close() { c.observer.CloseIdleConnections() }

// Bucket returns the name of the bucket.
func (c *Client) Bucket() string { return c.bucket }

// CheckEndpoint tells what is wrong with an endpoint, nil for nothing.
func CheckEndpoint(text string) error {
	_, err := parseEndpoint(text)
	return err
}

func parseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("the endpoint is no URL")
	case u.User != nil:
		return nil, errors.New("the endpoint has credentials in it, which belong elsewhere")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("the endpoint %q is not http:// or https:// with a host, and a port if need be", text)
	}
	return u, nil
}

func newTransport(caFile string) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: 10 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   256,  // as many as calls at once, or each of the others is a connection of its own
		DisableCompression:    true, // bytes as they are stored
	}
	if caFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificates %q: there is none in it; PEM is expected", caFile)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

// Again calls do until it succeeds, fails for good, or was tried often enough. What do does must be the same
// when it is done twice.
func (c *Client) Again(ctx context.Context, do func() error) error {
	wait := c.patience.First
	for try := 1; ; try++ {
		err := do()
		if errors.Is(err, ErrKeys) && try == 1 && c.keys.renew() {
			continue // they may have been changed since they were read
		}
		if err == nil || try >= c.patience.Tries || !IsTransient(err) || errors.Is(err, ErrStalled) && try >= stalledTries {
			return err
		}
		if waitErr := sleep(ctx, rand.N(wait)+1); waitErr != nil {
			return errors.Join(waitErr, err)
		}
		wait = min(2*wait, c.patience.Longest)
	}
}

// stalledTries is how often what stalls is tried: each costs a long wait.
const stalledTries = 2

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Pause waits before another try of what may not be repeated blindly; try is the number of the last one.
func (c *Client) Pause(ctx context.Context, try int) error {
	return sleep(ctx, rand.N(min(c.patience.First<<min(try, 16), c.patience.Longest))+1)
}

// The library waits after the last try, too, of which there is one. The waiting is done here.
func init() { minio.DefaultRetryUnit = time.Nanosecond }
