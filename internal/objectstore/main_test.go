package objectstore

import (
	"io"
	"log"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a patience for tests.
var quick = Patience{Tries: 3, First: time.Millisecond, Longest: 2 * time.Millisecond, Stall: time.Minute}

// serve starts a server and a client of it. What is given changes the options.
func serve(t *testing.T, change ...func(*Options)) (*objectserver.Server, *Client) {
	t.Helper()
	s := objectserver.New()
	t.Cleanup(s.Close)
	return s, dial(t, s.URL, change...)
}

func dial(t *testing.T, url string, change ...func(*Options)) *Client {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", objectserver.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", objectserver.SecretKey)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	o := Options{Endpoint: url, Bucket: objectserver.Bucket, Region: objectserver.Region, PathStyle: true, Patience: quick}
	for _, c := range change {
		c(&o)
	}
	c, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// quiet takes what a test server says of clients that leave.
var quiet = log.New(io.Discard, "", 0)

func put(t *testing.T, c *Client, key string, b Body, fresh bool) error {
	_, err := c.Put(t.Context(), key, b, fresh)
	return err
}
