package store

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
	"github.com/bundlewatch/bundlewatch/test/internal/program"
)

// openGarage starts a Garage of one node, which $BUNDLEWATCH_GARAGE names, and opens a bucket in it. Without it the
// test is skipped.
func openGarage(t *testing.T) *bucket.Bucket {
	t.Helper()
	garage := os.Getenv("BUNDLEWATCH_GARAGE")
	if garage == "" {
		t.Skip("Garage is not there: cargo install garage, and name it in $BUNDLEWATCH_GARAGE")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "garage.toml")
	rpc, api := freeAddress(t), freeAddress(t)
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `metadata_dir = %q
data_dir = %q
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = %q
rpc_public_addr = %q
rpc_secret = %q

[s3_api]
s3_region = "garage"
api_bind_addr = %q
`, filepath.Join(dir, "meta"), filepath.Join(dir, "data"), rpc, rpc, strings.Repeat("5e", 32), api), 0o600))
	key, secret := "GK"+strings.Repeat("a1", 12), strings.Repeat("b2", 32)
	cmd := exec.Command(garage, "-c", config, "server", "--single-node", "--default-bucket")
	cmd.Env = append(os.Environ(), "GARAGE_DEFAULT_ACCESS_KEY="+key, "GARAGE_DEFAULT_SECRET_KEY="+secret, "GARAGE_DEFAULT_BUCKET="+bucketName)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	keys := filepath.Join(dir, "keys")
	require.NoError(t, os.WriteFile(keys, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key, secret), 0o600))
	objects, err := objectstore.Open(objectstore.Options{Endpoint: "http://" + api, Bucket: bucketName, Region: "garage", PathStyle: true, Credentials: keys})
	require.NoError(t, err)
	t.Cleanup(objects.Close)
	program.Eventually(t, "Garage answers", func() bool {
		return objects.List(t.Context(), "", "", true, func(objectstore.Object) error { return nil }) == nil
	})
	return bucket.New(objects, bucket.Options{Prefix: prefix})
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
