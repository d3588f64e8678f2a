package bucket

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/objectstore"
)

// Options say how a bucket is used.
type Options struct {
	Prefix   string // folder in the bucket; "" for its top
	PartSize int64  // bytes of a part of a large file; grows where there would be more than 10,000
	Parallel int    // files or parts that are sent at once, at least 1
	// Claims makes a name of each archive, for a store that does not keep a second name from replacing the first.
	// Conflicts are then detected, not prevented.
	Claims bool
	Host   string // that names are made by
	// Uploads is a directory that remembers uploads which were begun, so that another process goes on with them; ""
	// to begin anew each time.
	Uploads string
}

// What a part is at least, as stores have it, and at most in number.
const (
	MinPartSize     = 5 << 20
	DefaultPartSize = 64 << 20
	maxParts        = 10_000
)

// What the age of data means. All ages are by the clock of the store.
const (
	// freshFor is how old data may be when it gets its name. What is older is sent again first.
	freshFor = 7 * 24 * time.Hour
	// garbageAfter is how old data without a name must be to be removed. The gap is what makes that safe.
	garbageAfter = 14 * 24 * time.Hour
	// mourning is how long a tomb stands before the name and the data go.
	mourning = 24 * time.Hour
	// rememberFor is how long a tomb stands.
	rememberFor = 90 * 24 * time.Hour
)

// slot waits until a body may be sent. release ends that.
func (b *Bucket) slot(ctx context.Context) (release func(), err error) {
	select {
	case b.slots <- struct{}{}:
		return func() { <-b.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Bucket is where bundles are published to.
type Bucket struct {
	objects  *objectstore.Client
	prefix   string
	partSize int64
	parallel int
	claiming bool
	host     string
	uploads  uploads
	slots    chan struct{} // taken by each body that is being sent
	// md5s tells that the store attests no SHA-256, and was seen to give MD5s as ETags: they are sent and compared in
	// its place.
	md5s bool
	// sent is told how many bytes were read to be sent since the last call, from any goroutine. It may be nil.
	sent func(int64)
}

// Close gives up connections that are idle. The bucket may be used further.
func (b *Bucket) Close() { b.objects.Close() }

// New returns a bucket. It makes no request.
func New(objects *objectstore.Client, o Options) *Bucket {
	prefix := strings.Trim(o.Prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	return &Bucket{objects: objects, prefix: prefix, partSize: cmp.Or(o.PartSize, DefaultPartSize), parallel: max(1, o.Parallel), claiming: o.Claims,
		host: o.Host, uploads: uploads{o.Uploads}, slots: make(chan struct{}, max(1, o.Parallel))}
}
