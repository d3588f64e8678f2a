package page

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// A hundred thousand bundles of one run are shown page by page, and hardly anything of them is kept.
func TestManyBundles(t *testing.T) {
	if os.Getenv("BUNDLEWATCH_SLOW") == "" {
		t.Skip("makes a hundred thousand bundles: set BUNDLEWATCH_SLOW")
	}
	dir := inMemory(t)
	model := publish(t, dir, "w", "run/0", noon, nil)
	for i := 1; i < 100_000; i++ {
		path := filepath.Join(dir, "w", "run", strconv.Itoa(i))
		require.NoError(t, os.Mkdir(path, 0o755))
		for _, name := range []string{bundle.ManifestName, bundle.SumsName} {
			require.NoError(t, os.Link(filepath.Join(model, name), filepath.Join(path, name)))
		}
		if i%30_000 == 0 { // as many names as a file can have on ext4
			model = publish(t, dir, "w", "run/"+strconv.Itoa(i)+"x", noon, nil)
		}
	}
	site := newSite(t, dir, &status.Snapshot{Ready: true})
	before := heap()
	require.Contains(t, body(t, site, "/bundles?in=w/run&page=1000"), "49\u202f951 to 50\u202f000 of 100\u202f003")
	body(t, site, "/")
	require.Eventually(t, func() bool { return strings.Contains(get(site, "/").Body.String(), "100\u202f003 bundles") }, 5*time.Minute, time.Second)
	kept := heap() - before
	t.Logf("%d KiB are kept", kept>>10)
	require.Less(t, kept, int64(8<<20))
}

// inMemory is a directory on a file system in memory, where there is one: so many directories take minutes on a disk.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "bundlewatch-page")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
