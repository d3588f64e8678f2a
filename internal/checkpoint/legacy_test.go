package checkpoint

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

func TestLegacyFilesAsTorchSavedThem(t *testing.T) {
	var expected map[string]map[string]seen
	require.NoError(t, json.Unmarshal(testdata(t, "expected_legacy.json"), &expected))
	require.Len(t, expected, 11)
	for file, tensors := range expected {
		t.Run(file, func(t *testing.T) {
			data := testdata(t, file)
			c := openBytes(t, data)
			require.Equal(t, TorchLegacy, c.Format)
			require.True(t, c.IsTorch())
			require.True(t, c.NoCRC)
			require.Contains(t, c.Whole(), "no checksums")
			s, err := c.StateDict("")
			require.NoError(t, err)
			require.False(t, c.Travels(s), "a legacy file is extracted, not carried")
			requireSeen(t, s, tensors)
			require.Empty(t, ForeignIn(s.Value))
			extracted := requireRoundTrip(t, c, s)
			requireSeen(t, extracted, tensors)
			for _, tensor := range s.Tensors() {
				sum := sha256.Sum256(elements(t, c, tensor))
				require.Equal(t, tensors[tensor.Name].SHA256, hex.EncodeToString(sum[:]), tensor.Name)
			}
			whole, err := c.Verbatim()
			require.NoError(t, err)
			require.Equal(t, data, flatten(t, whole))
			require.NoError(t, c.CheckRecords())
		})
	}
}

func TestLegacySharingIsKept(t *testing.T) {
	for _, file := range []string{"legacy_bare.torch2.15.pt", "legacy_bare.torch1.13.pt", "legacy_tar.pt"} {
		c := openBytes(t, testdata(t, file))
		s, err := c.StateDict("")
		require.NoError(t, err)
		storage := map[string]string{}
		for _, tensor := range requireRoundTrip(t, c, s).Tensors() {
			storage[tensor.Name] = tensor.Storage
		}
		for _, name := range []string{"tied_b", "transposed", "tail"} {
			require.Equal(t, storage["tied_a"], storage[name], "%s: %s", file, name)
		}
		require.NotEqual(t, storage["tied_a"], storage["w"])
	}
}

// Legacy files of the other programs that the shared fixtures come from open, too.
func TestLegacyFilesOfLightning(t *testing.T) {
	dir := filepath.Join(sharedFixtures(t), "formats")
	for file, path := range map[string]string{"legacy.pth": "", "lightning_legacy.ckpt": "state_dict"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		c := openBytes(t, data)
		s, err := c.StateDict("")
		require.NoError(t, err)
		require.Equal(t, path, s.Path)
		require.NotEmpty(t, s.Tensors())
		requireRoundTrip(t, c, s)
	}
}

func open(data []byte) (*Checkpoint, error) { return Open(bytes.NewReader(data), int64(len(data))) }

// requireBroken makes sure that a file is refused for a reason that is the file's.
func requireBroken(t *testing.T, data []byte, reason string) {
	t.Helper()
	_, err := open(data)
	require.ErrorContains(t, err, reason)
	var b *Broken
	require.ErrorAs(t, err, &b)
}

// zeroed returns data with zeros from an offset on.
func zeroed(data []byte, from int) []byte {
	out := bytes.Clone(data)
	clear(out[from:])
	return out
}

func TestDamagedLegacyFilesAreRefused(t *testing.T) {
	whole := testdata(t, "legacy_lightning.torch2.15.pt")
	replace := func(old, with string) []byte {
		require.Contains(t, string(whole), old)
		return []byte(strings.Replace(string(whole), old, with, 1))
	}
	for _, tc := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"last byte missing", whole[:len(whole)-1], "cut off"},
		{"only the magic number", whole[:16], "version of a legacy torch file"},
		{"half of the pickle", whole[:300], "the object in a legacy torch file"},
		{"half of the storages", whole[:len(whole)-150], "cut off"},
		{"storages zeroed", zeroed(whole, len(whole)-300), "storage"},
		{"zeros behind", append(bytes.Clone(whole), make([]byte, 8)...), "8 bytes follow the last storage"},
		{"other version", replace("M\xe9\x03.", "M\xea\x03."), "instead of 1001"},
		{"big-endian", replace("\x88X\x0a\x00\x00\x00type_sizes", "\x89X\x0a\x00\x00\x00type_sizes"), "big-endian"},
		{"storage of too many elements", replace("\x32\x00\x00\x00\x00\x00\x00\x00", "\x32\x00\x00\x00\x00\x00\x00\x7f"), "storage"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireBroken(t, tc.data, tc.reason) })
	}
}

// legacyOf makes a legacy file of a value and of what follows it.
func legacyOf(t testing.TB, value any, rest ...[]byte) []byte {
	t.Helper()
	out := append([]byte("\x80\x02"), legacyMagic...)
	out = append(out, ".\x80\x02M\xe9\x03."...)
	for _, v := range []any{pickle.NewDict("little_endian", true), value} {
		data, err := pickle.Encode(v)
		require.NoError(t, err)
		out = append(out, data...)
	}
	return append(out, bytes.Join(rest, nil)...)
}

// legacyStorage refers to a storage of floats as legacy files do.
func legacyStorage(key string, elements int64, view any) *pickle.PersistentID {
	return &pickle.PersistentID{ID: tuple("storage", &pickle.Global{Module: "torch", Name: "FloatStorage"}, key, "cpu", elements, view)}
}

func legacyKeys(t testing.TB, keys ...any) []byte {
	t.Helper()
	data, err := pickle.Encode(&pickle.List{Items: keys})
	require.NoError(t, err)
	return data
}

const twoFloats = "\x02\x00\x00\x00\x00\x00\x00\x00abcdefgh"

func TestLegacyViewsOfStorages(t *testing.T) {
	v := func(key string, offset, elements int64) *pickle.PersistentID {
		return legacyStorage("1", 2, tuple(key, offset, elements))
	}
	value := pickle.NewDict("all", tensorOf(v("2", 0, 2), 0, ints(2), ints(1)), "second", tensorOf(v("3", 1, 1), 0, ints(1), ints(1)))
	c := openBytes(t, legacyOf(t, value, legacyKeys(t, "1"), []byte(twoFloats)))
	s, err := c.StateDict("")
	require.NoError(t, err)
	requireRoundTrip(t, c, s)
	require.Equal(t, "efgh", string(elements(t, c, s.Tensors()[1])))

	requireBroken(t, legacyOf(t, pickle.NewDict("w", tensorOf(v("2", 1, 2), 0, ints(2), ints(1))), legacyKeys(t, "1"), []byte(twoFloats)),
		"a view of 2 elements at 1 of one that has 2")
	requireBroken(t, legacyOf(t, pickle.NewDict("a", v("2", 0, 2), "b", v("2", 0, 1)), legacyKeys(t, "1"), []byte(twoFloats)), "two ways")
	bomb := &pickle.List{}
	for i := range 500 {
		bomb.Items = append(bomb.Items, v("v"+string(rune('a'+i%26))+strings.Repeat("x", i/26), 0, 128))
	}
	requireBroken(t, legacyOf(t, bomb, legacyKeys(t, "1"), []byte("\x80\x00\x00\x00\x00\x00\x00\x00"), make([]byte, 512)), "more than the file")
}

func TestLegacyStoragesThatDoNotFitAreRefused(t *testing.T) {
	one := pickle.NewDict("w", tensorOf(legacyStorage("1", 2, nil), 0, ints(2), ints(1)))
	for _, tc := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"listed twice", legacyOf(t, one, legacyKeys(t, "1", "1"), []byte(twoFloats+twoFloats)), "or twice"},
		{"not referred to", legacyOf(t, one, legacyKeys(t, "2"), []byte(twoFloats)), "does not refer to"},
		{"not listed", legacyOf(t, one, legacyKeys(t)), "it is missing"},
		{"other size", legacyOf(t, one, legacyKeys(t, "1"), []byte("\x01\x00\x00\x00\x00\x00\x00\x00abcd")), "has 4 bytes, but the pickle says 8"},
		{"size that overflows", legacyOf(t, one, legacyKeys(t, "1"), []byte("\x00\x00\x00\x00\x00\x00\x00\x40")), "more than the file has bytes"},
		{"negative size", legacyOf(t, one, legacyKeys(t, "1"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff")), "more than the file has bytes"},
		{"no list", legacyOf(t, one, []byte("N.")), "is None"},
		{"key is a number", legacyOf(t, one, legacyKeys(t, int64(1)), []byte(twoFloats)), "is an int"},
		{"reference as in a zip", legacyOf(t, pickle.NewDict("w", floats()), legacyKeys(t)), "no storage of a legacy torch file"},
		{"reference to text", legacyOf(t, &pickle.PersistentID{ID: "x"}, legacyKeys(t)), "a str outside of it"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireBroken(t, tc.data, tc.reason) })
	}
}

// A file that breaks off after a call still tells what the call would import.
func TestImportsOfABrokenLegacyFile(t *testing.T) {
	data := legacyOf(t, nil)
	data = append(data[:len(data)-4], "\x80\x02cposix\nsystem\nX\x02"...)
	c, err := open(data)
	require.ErrorContains(t, err, "posix.system")
	require.Equal(t, "posix.system", Names(Foreign(c.Imports)))
}

func TestDamagedLegacyTarsAreRefused(t *testing.T) {
	whole := testdata(t, "legacy_tar.pt")
	for _, tc := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"last byte missing", whole[:len(whole)-1], "cut off"},
		{"end blocks missing", whole[:4608], "tar"},
		{"cut in half", whole[:3072], "tar"},
		{"zeroed", zeroed(whole, 1024), "without its member"},
		{"storages zeroed", zeroed(whole, bytes.LastIndex(whole, []byte("storages\x00"))+512), "storages"},
		{"bytes behind", append(bytes.Clone(whole), bytes.Repeat([]byte{1}, 512)...), "other bytes follow"},
		{"no member", bytes.Replace(whole, []byte("tensors\x00"), []byte("tensorz\x00"), 1), "tar"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireBroken(t, tc.data, tc.reason) })
	}
}

// legacyTarOf makes a tar as old torch wrote it, of storage 1 (two floats), its view 2 (the second), and tensor 3 of
// the view, with an object that refers to the tensor by that number.
func legacyTarOf(t testing.TB, view, object any, shape int64) []byte {
	t.Helper()
	encode := func(v any) []byte {
		data, err := pickle.Encode(v)
		require.NoError(t, err)
		return data
	}
	le := binary.LittleEndian
	class := &pickle.Global{Module: "torch", Name: "FloatStorage"}
	storages := slices.Concat(encode(int64(1)), encode(tuple(int64(1), "cpu", class)), []byte(twoFloats), encode(&pickle.List{Items: []any{view}}))
	tensors := slices.Concat(encode(int64(1)), encode(tuple(int64(3), int64(2), class)), le.AppendUint64(nil, 1))
	for _, n := range []int64{shape, 1, 0} { // shape, stride, offset
		tensors = le.AppendUint64(tensors, uint64(n))
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range []record{{"sys_info", encode(pickle.NewDict("little_endian", true))}, {"pickle", encode(object)},
		{"storages", storages}, {"tensors", tensors}} {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: m.name, Size: int64(len(m.data)), Mode: 0o644}))
		_, err := w.Write(m.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestLegacyTars(t *testing.T) {
	view := tuple(int64(2), int64(1), int64(1), int64(1))
	ref := func(id any) any { return pickle.NewDict("w", &pickle.PersistentID{ID: id}) }
	nested := call("collections", "OrderedDict")
	nested.Items = pickle.NewDict("w", &pickle.PersistentID{ID: int64(3)})
	for _, object := range []any{ref(int64(3)), ref("3"), nested} {
		c := openBytes(t, legacyTarOf(t, view, object, 1))
		s, err := c.StateDict("")
		require.NoError(t, err)
		requireRoundTrip(t, c, s)
		require.Equal(t, "efgh", string(elements(t, c, s.Tensors()[0])))
	}
	list := openBytes(t, legacyTarOf(t, view, &pickle.List{Items: []any{tuple(ref(int64(3)))}}, 1))
	tensors, err := list.AllTensors()
	require.NoError(t, err)
	require.Equal(t, "0/0/w", tensors[0].Name)

	for _, tc := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"reference to nothing", legacyTarOf(t, view, ref(int64(4)), 1), "no tensor and no storage of the tar"},
		{"reference to text", legacyTarOf(t, view, ref("x"), 1), "no tensor and no storage of the tar"},
		{"view beyond its storage", legacyTarOf(t, tuple(int64(2), int64(1), int64(1), int64(2)), ref(int64(3)), 1), "a view of a storage"},
		{"view of nothing", legacyTarOf(t, tuple(int64(2), int64(7), int64(0), int64(1)), ref(int64(3)), 1), "a view of a storage"},
		{"view of itself", legacyTarOf(t, tuple(int64(1), int64(1), int64(0), int64(1)), ref(int64(3)), 1), "a view of a storage"},
		{"view of text", legacyTarOf(t, "x", ref(int64(3)), 1), "described by a str"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireBroken(t, tc.data, tc.reason) })
	}
	_, err = openBytes(t, legacyTarOf(t, view, ref(int64(3)), 2)).StateDict("")
	require.ErrorContains(t, err, "reaches beyond")
}

func FuzzLegacy(f *testing.F) {
	for _, file := range []string{"legacy_bare.torch1.13.pt", "legacy_lightning.torch2.15.pt", "legacy_protocol4.torch2.15.pt", "legacy_tar.pt"} {
		f.Add(testdata(f, file))
	}
	f.Add(legacyTarOf(f, tuple(int64(2), int64(1), int64(1), int64(1)), pickle.NewDict("w", &pickle.PersistentID{ID: int64(3)}), 1))
	value := pickle.NewDict("w", tensorOf(legacyStorage("1", 2, tuple("2", int64(0), int64(2))), 0, ints(2), ints(1)))
	f.Add(legacyOf(f, value, legacyKeys(f, "1"), []byte(twoFloats)))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := open(data)
		if err != nil {
			return
		}
		require.NotEmpty(t, c.Whole())
		s, err := c.StateDict("")
		if err != nil {
			return
		}
		if p, err := c.Extract(s); err == nil {
			openBytes(t, flatten(t, p))
		}
	})
}
