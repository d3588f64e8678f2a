package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// seen is what torch sees of a tensor (testdata/make.py). The digest is of the elements in the order of
// their indexes; sparse tensors have none.
type seen struct {
	DType  string  `json:"dtype"`
	Shape  []int64 `json:"shape"`
	SHA256 string  `json:"sha256"`
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return data
}

// selections are the keys under which the state_dict is, in the files whose top level is not enough.
var selections = map[string]string{"nested": "net.model.ema"}

func TestTensorsAsTorchSavedThem(t *testing.T) {
	var expected map[string]map[string]seen
	require.NoError(t, json.Unmarshal(testdata(t, "expected.json"), &expected))
	require.Greater(t, len(expected), 30)
	for file, tensors := range expected {
		t.Run(file, func(t *testing.T) {
			kind, _, _ := strings.Cut(file, ".")
			c := openBytes(t, testdata(t, file))
			s, err := c.StateDict(selections[kind])
			if kind == "int_keys" {
				require.ErrorContains(t, err, "a key that is an int, not a str")
				return
			}
			require.NoError(t, err)
			require.Equal(t, kind == "nocrc", c.NoCRC)
			require.NoError(t, c.CheckRecords())
			require.Empty(t, ForeignIn(s.Value))
			requireSeen(t, s, tensors)
			requireSeen(t, requireRoundTrip(t, c, s), tensors)
		})
	}
}

// requireSeen holds the tensors of a state_dict against what torch sees, element by element. Meta tensors
// have no elements, and torch lists them not at all.
func requireSeen(t *testing.T, s *StateDict, expected map[string]seen) {
	t.Helper()
	listed := 0
	for _, tensor := range s.Tensors() {
		if tensor.Kind == "meta" {
			continue
		}
		listed++
		want, ok := expected[tensor.Name]
		require.True(t, ok, "torch sees no tensor %q", tensor.Name)
		require.Equal(t, want.DType, tensor.DType, tensor.Name)
		require.Equal(t, want.Shape, append([]int64{}, tensor.Shape...), tensor.Name)
	}
	require.Equal(t, len(expected), listed)
}

// elements gathers the elements of a dense tensor in the order of its indexes.
func elements(t *testing.T, c *Checkpoint, tensor Tensor) []byte {
	t.Helper()
	raw, err := c.torch.readBlob(tensor.Storage, 1<<20)
	require.NoError(t, err)
	size := itemSizes[tensor.DType]
	require.NotZero(t, size)
	out := []byte{}
	index := make([]int64, len(tensor.Shape))
	for range numel(tensor.Shape) {
		at := tensor.offset
		for i, x := range index {
			at += x * tensor.stride[i]
		}
		out = append(out, raw[at*size:(at+1)*size]...)
		for i := len(index) - 1; i >= 0; i-- {
			if index[i]++; index[i] < tensor.Shape[i] {
				break
			}
			index[i] = 0
		}
	}
	return out
}

func TestElementsAreTorchs(t *testing.T) {
	var expected map[string]map[string]seen
	require.NoError(t, json.Unmarshal(testdata(t, "expected.json"), &expected))
	compared := 0
	for file, tensors := range expected {
		c := openBytes(t, testdata(t, file))
		kind, _, _ := strings.Cut(file, ".")
		s, err := c.StateDict(selections[kind])
		if err != nil {
			continue // said by the test above
		}
		for _, tensor := range s.Tensors() {
			if want := tensors[tensor.Name].SHA256; want != "" {
				sum := sha256.Sum256(elements(t, c, tensor))
				require.Equal(t, want, hex.EncodeToString(sum[:]), "%s: %s", file, tensor.Name)
				compared++
			}
		}
	}
	require.Greater(t, compared, 80)
}

// requireRoundTrip extracts a state_dict, reads it again and returns it: equal tensors, equal storage
// bytes, only the storages that are referred to, aligned records, and the same bytes each time.
func requireRoundTrip(t *testing.T, c *Checkpoint, s *StateDict) *StateDict {
	t.Helper()
	p, err := c.Extract(s)
	require.NoError(t, err)
	out := flatten(t, p)
	p2, err := c.Extract(s)
	require.NoError(t, err)
	require.Equal(t, out, flatten(t, p2), "equal input gives equal bytes")
	require.Equal(t, p.Fingerprint(), p2.Fingerprint())

	again := openBytes(t, out)
	require.NoError(t, again.CheckRecords())
	require.False(t, again.NoCRC)
	require.Equal(t, 2, again.Protocol)
	s2, err := again.StateDict("")
	require.NoError(t, err)
	require.Equal(t, s.Tensors(), s2.Tensors())
	require.Equal(t, s.Extra, s2.Extra)
	require.Equal(t, s.Sentinel, s2.Sentinel)

	storages, err := c.torch.storagesOf(s.Value)
	require.NoError(t, err)
	travelled := 0
	for _, e := range again.Records() {
		require.Zero(t, e.Data%64, e.Name)
		if strings.HasPrefix(e.Name, "archive/data/") {
			travelled++
		}
	}
	require.Equal(t, len(storages), travelled, "only storages that are referred to travel")
	for _, place := range storages {
		requireSameStorage(t, c, again, c.torch.key(int(place)))
	}
	return s2
}

func requireSameStorage(t *testing.T, a, b *Checkpoint, name string) {
	t.Helper()
	x, err := a.torch.readBlob(name, 1<<20)
	require.NoError(t, err)
	y, err := b.torch.readBlob(name, 1<<20)
	require.NoError(t, err)
	require.Equal(t, x, y, name)
}

func TestSharingOfTorchIsKept(t *testing.T) {
	for _, version := range []string{"1.13", "2.15"} {
		c := openBytes(t, testdata(t, "views.torch"+version+".pt"))
		s, err := c.StateDict("")
		require.NoError(t, err)
		s = requireRoundTrip(t, c, s)
		storage := map[string]string{}
		for _, tensor := range s.Tensors() {
			storage[tensor.Name] = tensor.Storage
		}
		for _, name := range []string{"tied_b", "transposed", "tail", "expanded"} {
			require.Equal(t, storage["tied_a"], storage[name], name)
		}
		require.NotEqual(t, storage["tied_a"], storage["scalar"])
	}
}

func TestKindsOfTensors(t *testing.T) {
	for file, want := range map[string]map[string]string{
		"parameters.torch1.13.pt": {"w": "parameter", "b": "parameter"},
		"parameters.torch2.15.pt": {"w": "parameter", "b": "parameter"},
		"quantized.torch1.13.pt":  {"q": "quantized", "c": "quantized"},
		"quantized.torch2.15.pt":  {"q": "quantized", "c": "quantized"},
		"sparse.torch1.13.pt":     {"s": "sparse", "dense": ""},
		"sparse.torch2.15.pt":     {"s": "sparse", "dense": ""},
		"meta.torch2.15.pt":       {"m": "meta", "w": ""},
		"v3.torch2.15.pt":         {"f8": "", "u16": "", "u64": ""},
	} {
		s, err := openBytes(t, testdata(t, file)).StateDict("")
		require.NoError(t, err)
		got := map[string]string{}
		for _, tensor := range s.Tensors() {
			got[tensor.Name] = tensor.Kind
		}
		require.Equal(t, want, got, file)
	}
}

func TestMetadataOfAStateDictTravels(t *testing.T) {
	c := openBytes(t, testdata(t, "lightning.torch2.15.pt"))
	s, err := c.StateDict("")
	require.NoError(t, err)
	require.Equal(t, "state_dict", s.Path)
	require.False(t, c.Travels(s))
	require.Contains(t, c.Dropped(s), "optimizer_states")
	p, err := c.Extract(s)
	require.NoError(t, err)
	again := openBytes(t, flatten(t, p))
	state := again.Root.(*pickle.Object).State.(*pickle.Dict)
	metadata, ok := state.Get("_metadata")
	require.True(t, ok)
	require.Equal(t, []string{"", "0", "1"}, keysOf(t, mapping(metadata)))
}

func keysOf(t *testing.T, d *pickle.Dict) []string {
	t.Helper()
	var keys []string
	for k := range d.All() {
		keys = append(keys, k.(string))
	}
	return keys
}

func TestSelections(t *testing.T) {
	c := openBytes(t, testdata(t, "nested.torch2.15.pt"))
	s, err := c.StateDict("net.model.ema")
	require.NoError(t, err)
	require.Len(t, s.Tensors(), 1)
	for selection, reason := range map[string]string{
		"":                  "no state_dict: the top level holds \"net\" (a dict)",
		"net.model":         `there is no "model"`,
		"net.model.ema.w":   "it is an instance of",
		"x":                 `there is no "x"; the checkpoint holds "net" (a dict)`,
		"net.model.ema.w.x": `"x" lies in an instance of`,
	} {
		_, err := c.StateDict(selection)
		require.ErrorContains(t, err, reason, "select = %q", selection)
	}
}

func TestSentinel(t *testing.T) {
	for _, version := range []string{"1.13", "2.15"} {
		c := openBytes(t, testdata(t, "sentinel.torch"+version+".pt"))
		s, err := c.StateDict("")
		require.NoError(t, err)
		require.Equal(t, "autoencoder", s.Sentinel)
		require.Empty(t, s.Tensors())
		require.True(t, c.Travels(s))
	}
}

func TestProtocolsThatTravelAsTheyAre(t *testing.T) {
	for protocol, travels := range map[string]bool{"2": true, "3": true, "4": false, "5": false} {
		c := openBytes(t, testdata(t, "protocol"+protocol+".torch2.15.pt"))
		s, err := c.StateDict("")
		require.NoError(t, err)
		require.Equal(t, travels, c.Travels(s), "protocol %s", protocol)
	}
}

func TestFilesOfTorchThatAreRefused(t *testing.T) {
	for file, reason := range map[string]string{
		"torchscript.torch1.13.pt": "TorchScript",
		"torchscript.torch2.15.pt": "TorchScript",
		"skip_data.torch2.15.pt":   "reserved but never written (torch.serialization.skip_data)",
	} {
		data := testdata(t, file)
		_, err := Open(strings.NewReader(string(data)), int64(len(data)))
		require.ErrorContains(t, err, reason, file)
		var b *Broken
		require.ErrorAs(t, err, &b)
	}
}

func TestAFlippedByteOfAStorageIsFound(t *testing.T) {
	data := testdata(t, "bare.torch2.15.pt")
	for _, e := range openBytes(t, data).Records() {
		if !strings.Contains(e.Name, "/data/") || e.Method != zipfile.Stored {
			continue
		}
		data[e.Data] ^= 1
		c := openBytes(t, data)
		err := c.CheckRecords()
		require.True(t, IsCorrupt(err), "%s: %v", e.Name, err)
		require.ErrorContains(t, err, e.Name)
		data[e.Data] ^= 1
	}
}

// A state_dict of protocol 3 that holds bytes uses an opcode that weights_only does not know: it is written
// anew, so that it loads.
func TestUnreadableOpcodesAreWrittenAnew(t *testing.T) {
	for _, tc := range []struct {
		name, pickle string
		travels      bool
	}{
		{"plain", "\x80\x02}X\x09\x00\x00\x00_sentinelX\x01\x00\x00\x00as.", true},
		{"bytes of protocol 3", "\x80\x03}X\x01\x00\x00\x00aC\x01bs.", false},
		{"text int", "\x80\x02}X\x01\x00\x00\x00aI1\ns.", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l zipfile.Layout
			var file []byte
			for name, data := range map[string]string{"x/data.pkl": tc.pickle, "x/version": "3\n"} {
				file = append(file, l.Add(zipfile.Header{Name: name, Size: int64(len(data)), CRC32: crc32.ChecksumIEEE([]byte(data))})...)
				file = append(file, data...)
			}
			c := openBytes(t, append(file, l.End()...))
			require.Equal(t, tc.travels, c.Travels(&StateDict{Value: c.Root}))
			p, err := c.Extract(&StateDict{Value: c.Root})
			require.NoError(t, err)
			again := openBytes(t, flatten(t, p))
			require.True(t, again.Travels(&StateDict{Value: again.Root}))
		})
	}
}

// A record that torch never reads does not travel: the state_dict is written anew without it.
func TestRecordsThatTorchNeverReadsStayBehind(t *testing.T) {
	for _, extra := range []string{"x/extra/data.pkl", "x/.data/serialization_id"} {
		var l zipfile.Layout
		var file []byte
		for _, r := range [][2]string{{"x/data.pkl", "\x80\x02}."}, {"x/version", "3\n"}, {extra, "cos\nsystem\n."}} {
			file = append(file, l.Add(zipfile.Header{Name: r[0], Size: int64(len(r[1])), CRC32: crc32.ChecksumIEEE([]byte(r[1]))})...)
			file = append(file, r[1]...)
		}
		c := openBytes(t, append(file, l.End()...))
		require.Equal(t, extra == "x/.data/serialization_id", c.Travels(&StateDict{Value: c.Root}))
	}
}
