package store

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// radosgw is the gateway of Ceph, on a cluster of one monitor and one OSD in memory. It ignores the condition of
// completions. The gateway alone is killed.
var radosgw = software{"Ceph RGW", "BUNDLEWATCH_RADOSGW", status.ClassB, startCeph, func(program, _, dir string) *exec.Cmd {
	return exec.Command(program, "-c", filepath.Join(dir, "ceph.conf"), "-n", "client.rgw", "-f")
}}

const cephConfig = `[global]
fsid = %[1]s
mon_host = v1:%[2]s
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
mon_allow_pool_size_one = true
osd_objectstore = memstore
osd_crush_chooseleaf_type = 0
osd_crush_update_on_start = false
osd_class_update_on_start = false
mon_data = %[3]s/mon
osd_data = %[3]s/osd
run_dir = %[3]s
log_file = %[3]s/$name.log
admin_socket = %[3]s/$name.asok

[client.rgw]
rgw_frontends = beast endpoint=%[4]s
`

// startCeph starts the cluster, and makes the user.
func startCeph(s *server) {
	require.NoError(s.t, os.MkdirAll(filepath.Join(s.dir, "mon"), 0o755))
	require.NoError(s.t, os.MkdirAll(filepath.Join(s.dir, "osd"), 0o755))
	config, monmap, monitor := filepath.Join(s.dir, "ceph.conf"), filepath.Join(s.dir, "monmap"), freeAddress(s.t)
	const cluster, osd = "5d8c2c0e-7a5f-4c55-9a3e-2f0d3c1b6a01", "5d8c2c0e-7a5f-4c55-9a3e-2f0d3c1b6a02"
	require.NoError(s.t, os.WriteFile(config, fmt.Appendf(nil, cephConfig, cluster, monitor, s.dir, s.address), 0o644))
	run := func(name string, args ...string) {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		require.NoError(s.t, err, "%s: %s", name, out)
	}
	start := func(name string, args ...string) {
		cmd := exec.Command(name, append(args, "-c", config, "-f")...)
		require.NoError(s.t, cmd.Start())
		s.t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", "[v1:"+monitor+"]", monmap)
	run("ceph-mon", "-c", config, "-i", "a", "--mkfs", "--no-mon-config", "--monmap", monmap)
	start("ceph-mon", "-i", "a")
	run("ceph", "-c", config, "osd", "new", osd)
	run("ceph-osd", "-c", config, "-i", "0", "--mkfs", "--osd-uuid", osd)
	// Not by the OSD itself, which ends when it asks before it knows of which cluster it is.
	run("ceph", "-c", config, "osd", "crush", "add", "osd.0", "1", "root=default", "host=here")
	start("ceph-osd", "-i", "0")
	run("radosgw-admin", "-c", config, "user", "create", "--uid=bundlewatch", "--display-name=bundlewatch", "--access-key="+accessKey, "--secret-key="+secretKey)
}
