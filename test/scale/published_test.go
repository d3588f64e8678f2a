package scale

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/program"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// publishedLimit bounds what the daemon needs at its start for each bundle whose sources are still there.
const publishedLimit = 3 << 10

// What was published before costs the daemon little memory.
func TestStartBesidePublishedBundles(t *testing.T) {
	dir := bench(t, "a")
	few, many := 300, 3000
	publish(t, dir, 0, few)
	before := peakAtStart(t, dir)
	publish(t, dir, few, many)
	after := peakAtStart(t, dir)
	each := (after - before) / int64(many-few)
	t.Logf("peak of resident memory: %d KiB beside %d bundles, %d KiB beside %d: %d bytes for each", before>>10, few, after>>10, many, each)
	require.Less(t, each, int64(publishedLimit))
}

// publish makes runs with a checkpoint each, and bundles of them.
func publish(t *testing.T, dir string, from, to int) {
	t.Helper()
	content, err := torchfile.Checkpoint{State: []torchfile.Tensor{torchfile.Random("w", 64, 1)}}.Bytes()
	require.NoError(t, err)
	for i := from; i < to; i++ {
		run := filepath.Join(dir, "runs", fmt.Sprint("run", i))
		require.NoError(t, os.MkdirAll(run, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(run, "a-1.ckpt"), content, 0o644))
	}
	pack := program.RunSilently(t, "once", "--config", filepath.Join(dir, "bundlewatch.toml"))
	require.Zero(t, pack.Code, pack.Stderr)
}

// peakAtStart starts the daemon, and returns its peak of resident memory when it has listed the root.
func peakAtStart(t *testing.T, dir string) int64 {
	t.Helper()
	address := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	require.NoError(t, err)
	defer socket.Close()
	daemon := exec.Command(program.Path(), "run", "--config", filepath.Join(dir, "bundlewatch.toml"))
	daemon.Env = append(os.Environ(), "NOTIFY_SOCKET="+address)
	require.NoError(t, daemon.Start())
	require.NoError(t, socket.SetReadDeadline(time.Now().Add(10*time.Minute)))
	for message := make([]byte, 4096); ; {
		n, err := socket.Read(message)
		require.NoError(t, err)
		if strings.Contains(string(message[:n]), "READY=1") {
			break
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", daemon.Process.Pid))
	require.NoError(t, err)
	peak := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, peak)
	kib, err := strconv.ParseInt(string(peak[1]), 10, 64)
	require.NoError(t, err)
	require.NoError(t, daemon.Process.Signal(syscall.SIGTERM))
	require.NoError(t, daemon.Wait())
	require.NoError(t, os.Remove(address))
	return kib << 10
}
