package page

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func TestPlacesLeadNowhereElse(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	publish(t, dir, "w", "k", noon, nil)
	publish(t, other, "w", "secret", noon, nil)
	require.NoError(t, os.Symlink(filepath.Join(other, "w"), filepath.Join(dir, "w", "link")))
	require.NoError(t, os.Symlink(other, filepath.Join(dir, "top")))
	publish(t, filepath.Join(dir, ".staging"), "w", "x", noon, nil)
	site := newSite(t, dir, busy("x"))
	body(t, site, "/bundle?at=w/k")
	for _, place := range []string{"", "w", "..", "../" + filepath.Base(other) + "/w/secret", "w/../../" + filepath.Base(other) + "/w/secret", other + "/w/secret",
		"w/link/secret", "top/w/secret", ".staging/w/x", "w/k/", "/w/k", "w//k", "w/./k", "w/k/../k", `w\k`, "w/k\x00", "w/\xff", "%2e%2e/w", "w/k/bundle_manifest.json"} {
		w := get(site, "/bundle?at="+escaped(place))
		require.Equal(t, 404, w.Code, place)
		require.NotContains(t, w.Body.String(), "Evidence", place)
		if place != "" && place != "w" {
			require.Equal(t, 404, get(site, "/bundles?in="+escaped(place)).Code, place)
		}
	}
	require.NotContains(t, body(t, site, "/bundles"), ".staging")
	require.NotContains(t, body(t, site, "/bundles"), "top")
	require.NotContains(t, body(t, site, "/bundles?in=w"), "w%2flink")
}

func TestListsHavePages(t *testing.T) {
	dir := t.TempDir()
	for i := range 120 {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "w", fmt.Sprintf("run_%d", i)), 0o755))
	}
	publish(t, dir, "w", "run_120", noon, nil)
	site := newSite(t, dir, busy("x"))
	first := body(t, site, "/bundles?in=w")
	require.Contains(t, first, "1 to 50 of 121")
	require.Contains(t, first, `<a href="bundle?at=w%2frun_120"><bdi>run_120</bdi></a>`)
	require.Contains(t, first, `href="bundles?in=w%2frun_71"`)
	require.NotContains(t, first, "run_70")
	require.Contains(t, first, `href="bundles?in=w&amp;page=2"`)
	last := body(t, site, "/bundles?in=w&page=3")
	require.Contains(t, last, "101 to 121 of 121")
	require.NotContains(t, last, `rel="next"`)
	for _, page := range []string{"0", "-1", "x", "", "99999999999999999999"} {
		require.Contains(t, body(t, site, "/bundles?in=w&page="+page), " of 121", page)
	}
	found := body(t, site, "/bundles?in=w&q=RUN_11")
	require.Contains(t, found, "run_119")
	require.NotContains(t, found, "run_120")
	require.Contains(t, body(t, site, "/bundles?in=w&q=nope"), "No name contains that")
}

func TestBundlePage(t *testing.T) {
	dir := t.TempDir()
	path := publish(t, dir, "w", "run/7", noon.Add(-time.Hour), func(m *bundle.Manifest) {
		m.Params = json.RawMessage(`{"N": 64, "model": {"depth": 3, "sizes": [1,2,3], "none": null, "empty": {}}, "nan": "NaN"}`)
		m.ParamsSource = "config files"
		m.Notes = []string{"a note"}
		m.Config = []bundle.Digest{{Name: "bundlewatch/config/a.json", Bytes: 12}}
		m.Provenance = bundle.Provenance{Published: noon.Add(-time.Hour), Host: "box", Root: "/data", GitCommit: "abc123"}
		m.Members[0].Source = &bundle.Source{Path: "/data/run/7.ckpt", Size: 99, ModTime: noon.Add(-2 * time.Hour)}
		m.Members[0].Evidence = &bundle.Evidence{Quiet: "1.2s", Closed: "yes: a read lease was granted", Whole: "every record", Unchanged: "size and times"}
		m.Members[0].Metrics = bundle.Metrics{"val_loss": 0.25}
		m.Members[0].Tensors = checkpoint.ListTensors([]checkpoint.Tensor{{Name: "a", DType: "float32", Shape: []int64{2, 3}, Bytes: 24, Storage: "0"},
			{Name: "b", DType: "float32", Shape: nil, Bytes: 4, Storage: "0", Kind: "parameter"}})
	})
	text := body(t, newSite(t, dir, busy("x")), "/bundle?at=w/run/7")
	for _, want := range []string{">present<", "1 h ago", "/data/run/7.ckpt", "val_loss", "0.25", "1.2s", "a read lease was granted", "every record", "2 × 3", "scalar", "parameter",
		"shares its storage", "model.depth", "[1, 2, 3]", "model.empty", "NaN", "a note", "bundlewatch/config/a.json", "git_commit", "abc123", "box",
		"load_bundle(&#34;" + path + "&#34;)", "bundlewatch verify " + path, `href="bundles?in=w%2frun"`} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "http-equiv")
}

func TestManyTensorsArePaged(t *testing.T) {
	dir := t.TempDir()
	names := make([]string, 10_000)
	for i := range names {
		names[i] = "layer." + strconv.Itoa(i)
	}
	publish(t, dir, "w", "big", noon, nil, names...)
	site := newSite(t, dir, busy("x"))
	text := body(t, site, "/bundle?at=w/big")
	require.Less(t, len(text), 100<<10)
	require.Contains(t, text, "1 to 100 of 10\u202f000")
	require.Contains(t, text, `href="bundle?at=w%2Fbig&amp;role=m&amp;page=100#tensors"`)
	for _, page := range []string{"100", "101", "9999999"} {
		text = body(t, site, "/bundle?at=w/big&page="+page)
		require.Contains(t, text, "layer.9900")
		require.Contains(t, text, "9\u202f901 to 10\u202f000 of")
	}
	text = body(t, site, "/bundle?at=w/big&q=R.999")
	require.Contains(t, text, "<bdi>layer.9990</bdi>")
	require.NotContains(t, text, "<bdi>layer.1</bdi>")
}

func TestDamagedAndPrunedBundles(t *testing.T) {
	dir := t.TempDir()
	broken := publish(t, dir, "w", "broken", noon, nil)
	require.NoError(t, os.WriteFile(filepath.Join(broken, bundle.ManifestName), []byte("{"), 0o644))
	half := publish(t, dir, "w", "half", noon, nil)
	require.NoError(t, os.Remove(filepath.Join(half, bundle.ArchiveName)))
	pruned := publish(t, dir, "w", "pruned", noon, nil)
	m, err := bundle.ReadManifest(filepath.Join(pruned, bundle.ManifestName))
	require.NoError(t, err)
	stone, err := json.Marshal(bundle.Tombstone{Schema: bundle.Schema, Pruned: noon, Reason: "keep_last", Archive: m.Archive})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(pruned, bundle.TombstoneName), stone, 0o644))
	require.NoError(t, os.Remove(filepath.Join(pruned, bundle.ArchiveName)))
	site := newSite(t, dir, busy("x"))
	require.Contains(t, body(t, site, "/bundle?at=w/broken"), "The manifest cannot be shown")
	require.Contains(t, body(t, site, "/bundle?at=w/half"), ">damaged<")
	text := body(t, site, "/bundle?at=w/pruned")
	require.Contains(t, text, "The archive was removed by retention")
	require.NotContains(t, text, "load_bundle")
	list := body(t, site, "/bundles?in=w")
	require.Equal(t, 2, strings.Count(list, ">damaged<"))
	require.Contains(t, list, "keep_last")
}

// A file system that hangs costs a few readers, and the page goes on without it.
func TestArtifactDirectoryThatHangs(t *testing.T) {
	dir := t.TempDir()
	path := publish(t, dir, "w", "k", noon, nil)
	site := newSite(t, dir, &status.Snapshot{Ready: true})
	for range maxReaders {
		site.readers <- struct{}{} // as one that does not come back
	}
	w := get(site, "/bundle?at=w/k")
	require.Equal(t, 503, w.Code)
	require.Contains(t, w.Body.String(), "try again")
	body(t, site, "/")
	<-site.readers
	<-site.readers
	body(t, site, "/bundle?at=w/k")

	// A pipe in the place of a file is no reason to wait.
	require.NoError(t, os.Remove(filepath.Join(path, bundle.ManifestName)))
	require.NoError(t, unix.Mkfifo(filepath.Join(path, bundle.ManifestName), 0o600))
	require.Contains(t, body(t, site, "/bundle?at=w/k"), "no regular file")
}

// A fault of a page ends neither the daemon nor the reading of others.
func TestFaultsAreAnswered(t *testing.T) {
	site := newSite(t, t.TempDir(), busy("x"))
	for range 2 * maxReaders {
		_, err := reading(site, func(*shelf.Shelf) (int, error) { panic("fault") })
		require.ErrorIs(t, err, errFault)
	}
	require.Empty(t, site.readers)
}

// The words and the Python are those of docs/loading.md.
func TestLoadingIsAsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/loading.md")
	require.NoError(t, err)
	require.Contains(t, string(page), "```python\n"+loadPython+"```")
	words := strings.Join(strings.Fields(string(page)), " ")
	for _, note := range strings.Split(strings.TrimSpace(loadNotes), "\n") {
		require.Contains(t, words, note)
	}
	require.Contains(t, loadPython, strconv.Quote(exampleBundle))
}

func TestPathsAreWrittenSafely(t *testing.T) {
	for _, path := range []string{"/a/b", "/a b/$(touch x)`y`", `/it's "q" \n`, "/new\nline", "/bell\a", "/\u202ertl/שלום", "-x", "/~$HOME"} {
		if out, err := exec.Command("bash", "-c", "printf %s "+shellWord(path)).Output(); err == nil {
			require.Equal(t, path, string(out))
		}
		literal := pythonText(path)
		require.NotContains(t, literal, "\u202e")
		if out, err := exec.Command("python3", "-c", "import sys; sys.stdout.buffer.write("+literal+".encode())").Output(); err == nil {
			require.Equal(t, path, string(out))
		}
	}
}

func TestFlatten(t *testing.T) {
	rows, more := flatten(json.RawMessage(`{"b": 1, "a": {"x": "t", "y": {}}, "l": [{"p": 1}, 2], "n": [1,2]}`), 4)
	require.Equal(t, []row{{"b", "1"}, {"a.x", "t"}, {"a.y", "{}"}, {"l[0].p", "1"}}, rows)
	require.Equal(t, 2, more)
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	rows, _ = flatten(json.RawMessage(deep), 10)
	require.Len(t, rows, 1)
	rows, _ = flatten(json.RawMessage(`"`+strings.Repeat("é", 5000)+`"`), 10)
	require.Less(t, len(rows[0].Value), 500)
	for _, broken := range []string{"", "{", `{"a"`, `{"a":}`, "nope"} {
		flatten(json.RawMessage(broken), 10)
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 s", 250 * time.Millisecond: "0.25 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", time.Hour: "1 h",
		50 * time.Hour: "2 d 2 h", -time.Second: "0 s"} {
		require.Equal(t, want, span(d))
	}
	require.Equal(t, "-1\u202f234", count(-1234))
	require.Equal(t, "999", count(999))
	require.Equal(t, "1.5 KiB", status.Size(1536))
}

func TestPlot(t *testing.T) {
	var records []record
	for i := range 300 {
		records = append(records, record{place: fmt.Sprintf("w/r/%d", i), watch: "w", run: "r", key: fmt.Sprintf("r/%d", i), published: noon.Add(time.Duration(i) * time.Minute), bytes: int64(i)})
	}
	l := draw(noon, records)
	require.Len(t, l.Bars, plotBundles)
	require.True(t, l.More)
	require.Equal(t, "8.0", l.Bars[0].X)
	require.Equal(t, "992.0", l.Bars[plotBundles-1].X)
	require.Equal(t, number(sizeTop), l.Bars[plotBundles-1].Top)
	require.Equal(t, "1 min", l.Typical)
	one := draw(noon, records[:1])
	require.Equal(t, "500.0", one.Bars[0].X)
	require.Empty(t, one.Pace)
	require.Empty(t, one.Typical)
	same := draw(noon, []record{records[0], records[0], records[0]})
	require.NotContains(t, same.Pace, "NaN")
	require.Len(t, lanes(noon, append(records, record{watch: "w", run: "other", place: "w/o", published: noon})), 2)
}
