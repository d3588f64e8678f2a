package daemon

import (
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/time/rate"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
)

// uploadsName is where the artifact directory remembers uploads that were begun, by store.
const uploadsName = ".uploads"

// storeTarget is a store of the config as a destination of bundles.
func storeTarget(c *config.Config, s config.Store) target {
	dir := ""
	if c.Artifacts.Dir != "" {
		dir = filepath.Join(c.Artifacts.Dir, uploadsName, s.Name)
	}
	address := fmt.Sprintf("%s at %s", "s3://"+path.Join(s.Bucket, s.Prefix), s.Endpoint)
	t := target{name: s.Name, spec: s, watches: s.Watches, parallel: s.Parallel, prunes: s.Prune, open: func() backlog.Destination {
		return bucket.NewDestination(s.Name, address, func() (*bucket.Bucket, error) { return OpenStore(s, dir) })
	}}
	if s.Sweep {
		t.sweeper = newSweeper(s)
	}
	return t
}

// OpenStore opens a store of the config, without a request to it. uploads is the directory that remembers uploads, ""
// for none.
func OpenStore(s config.Store, uploads string) (*bucket.Bucket, error) {
	const burst = 256 << 10
	var limit *rate.Limiter
	if s.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(s.Rate), burst)
	}
	objects, err := objectstore.Open(objectstore.Options{Endpoint: s.Endpoint, Bucket: s.Bucket, Region: s.Region, PathStyle: s.PathStyle, CAFile: s.CAFile,
		Credentials: s.Credentials, Profile: s.Profile, Rate: limit, Patience: objectstore.Patience{Stall: s.Stall}})
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", s.Name, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", s.Name, err)
	}
	return bucket.New(objects, bucket.Options{Prefix: s.Prefix, PartSize: s.PartSize, Parallel: s.Parallel, Claims: s.Conditional == config.ConditionalNone,
		Host: host, Uploads: uploads}), nil
}
