package checkpoint

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// expectedArray is what the library of a format says of a tensor (testdata/make_formats.py).
type expectedArray struct {
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
	Bytes int64   `json:"bytes"`
}

// formatOf is the format that a file of testdata is named after.
var formatOf = map[string]Format{"safetensors": SafeTensors, "npz": NPZ, "npy": NPY, "gguf": GGUF, "h5": HDF5, "keras": Keras, "pkl": Pickle, "zip": Zip}

func expectedFormats(t testing.TB) map[string]map[string]expectedArray {
	t.Helper()
	var expected map[string]map[string]expectedArray
	require.NoError(t, json.Unmarshal(testdata(t, "expected_formats.json"), &expected))
	require.Greater(t, len(expected), 25)
	return expected
}

func TestFormatsAsTheirLibrariesWroteThem(t *testing.T) {
	for file, want := range expectedFormats(t) {
		t.Run(file, func(t *testing.T) {
			data := testdata(t, file)
			c := openBytes(t, data)
			require.Equal(t, formatOf[file[strings.LastIndexByte(file, '.')+1:]], c.Format)
			require.False(t, c.IsTorch())
			require.EqualValues(t, len(data), c.Size)
			require.NotEmpty(t, c.Describe())
			require.NotEmpty(t, c.Whole())
			require.Equal(t, c.Records() == nil, c.NoCRC, "only zips have checksums")
			require.NoError(t, c.CheckRecords())
			requireListing(t, c, want)

			_, err := c.StateDict("")
			require.ErrorContains(t, err, "has no state_dict")
			whole, err := c.Verbatim()
			require.NoError(t, err)
			require.Equal(t, data, flatten(t, whole))
			require.Equal(t, crc32.ChecksumIEEE(data), whole.CRC32)
		})
	}
}

func requireListing(t *testing.T, c *Checkpoint, want map[string]expectedArray) {
	t.Helper()
	tensors, err := c.AllTensors()
	require.NoError(t, err)
	require.NotNil(t, tensors)
	got := map[string]expectedArray{}
	for _, tensor := range tensors {
		got[tensor.Name] = expectedArray{tensor.DType, append([]int64{}, tensor.Shape...), tensor.Bytes}
	}
	require.Equal(t, want, got)
}

// A byte less, a byte more and a cut in half are seen in every format that says how long it is.
func TestDamagedFilesAreRefused(t *testing.T) {
	for file := range expectedFormats(t) {
		if file == "plain0.pkl" {
			continue // protocol 0 has no header: what is left of a cut file is unknown
		}
		data := testdata(t, file)
		for name, damaged := range map[string][]byte{
			"last byte missing": data[:len(data)-1],
			"cut in half":       data[:len(data)/2],
			"first 7 bytes":     data[:7],
			"all zeros":         make([]byte, len(data)),
			"zeros behind":      append(bytes.Clone(data), make([]byte, 64)...),
			"bytes behind":      append(bytes.Clone(data), "more"...),
		} {
			t.Run(file+"/"+name, func(t *testing.T) {
				c, err := open(damaged)
				require.Error(t, err, "taken for %v", c)
				var b *Broken
				require.ErrorAs(t, err, &b)
			})
		}
	}
}

func TestZeroFilledBodies(t *testing.T) {
	for _, file := range []string{"plain.npz", "compressed.npz", "model.keras", "deflated.keras", "sb3.zip", "superblock0.h5", "superblock3.h5", "plain5.pkl"} {
		data := testdata(t, file)
		requireBroken(t, zeroed(data, 96%len(data)/2), "")
	}
	for file, body := range map[string]int{"plain.safetensors": 118, "plain.gguf": 300, "fortran.npy": 48} {
		data := testdata(t, file)
		c := openBytes(t, zeroed(data, len(data)-body))
		require.Contains(t, c.Whole(), "no checksums", "what cannot be told is said")
	}
}

// A changed byte of a tensor is found when the bytes are read, where there is a CRC.
func TestChangedBytesOfZips(t *testing.T) {
	for _, file := range []string{"plain.npz", "compressed.npz", "deflated.keras", "model.keras", "sb3.zip"} {
		data := testdata(t, file)
		for _, e := range openBytes(t, data).Records() {
			at := e.Data + e.Packed - 1
			data[at] ^= 1
			c, err := open(data)
			if err == nil {
				err = c.CheckRecords()
			}
			require.True(t, IsCorrupt(err), "%s: %s: %v", file, e.Name, err)
			if c != nil && e.Method == zipfile.Deflated {
				_, err = c.Verbatim()
				require.True(t, IsCorrupt(err), "%s: %s: %v", file, e.Name, err)
			}
			data[at] ^= 1
		}
	}
}

// safeTensorsOf makes a file of a header and a body of zeros.
func safeTensorsOf(header string, body int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), make([]byte, body)...)
}

func TestSafeTensorsThatLieAreRefused(t *testing.T) {
	f32 := func(name, shape string, begin, end string) string {
		return `"` + name + `":{"dtype":"F32","shape":` + shape + `,"data_offsets":[` + begin + `,` + end + `]}`
	}
	for _, tc := range []struct {
		name   string
		header string
		body   int
		reason string
	}{
		{"gap", "{" + f32("a", "[1]", "0", "4") + "," + f32("b", "[1]", "8", "12") + "}", 12, "4 bytes of the body before"},
		{"gap at the start", "{" + f32("a", "[1]", "4", "8") + "}", 8, "belong to nothing"},
		{"overlap", "{" + f32("a", "[2]", "0", "8") + "," + f32("b", "[1]", "4", "8") + "}", 8, "overlaps another"},
		{"short body", "{" + f32("a", "[2]", "0", "8") + "}", 7, "1 of 8 bytes"},
		{"long body", "{" + f32("a", "[2]", "0", "8") + "}", 9, "1 bytes follow"},
		{"shape of other size", "{" + f32("a", "[3]", "0", "8") + "}", 8, "needs 12 bytes"},
		{"end before begin", "{" + f32("a", "[0]", "8", "0") + "}", 8, "from 8 to 0"},
		{"shape that overflows", "{" + f32("a", "[4294967296,4294967296,4294967296]", "0", "8") + "}", 8, "needs"},
		{"negative dimension", "{" + f32("a", "[-1]", "0", "8") + "}", 8, "counts"},
		{"fraction", "{" + f32("a", "[1.5]", "0", "8") + "}", 8, "counts"},
		{"offset beyond int64", "{" + f32("a", "[1]", "0", "99999999999999999999") + "}", 8, "counts"},
		{"three offsets", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}`, 4, "at most 2"},
		{"one offset", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}`, 4, "pair of data_offsets"},
		{"no dtype", `{"a":{"shape":[1],"data_offsets":[0,4]}}`, 4, "unknown dtype"},
		{"unknown dtype", `{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}`, 4, `unknown dtype "F33"`},
		{"half a byte", `{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}`, 1, "no size in bytes"},
		{"unknown key", `{"a":{"dtype":"F32","x":1}}`, 0, `"x" is unknown`},
		{"key twice", `{"a":{"dtype":"F32","dtype":"F32"}}`, 0, "there twice"},
		{"name twice", "{" + f32("a", "[1]", "0", "4") + "," + f32("a", "[1]", "4", "8") + "}", 8, `"a" twice`},
		{"name twice, once escaped", "{" + f32("a", "[1]", "0", "4") + "," + f32(`\u0061`, "[1]", "4", "8") + "}", 8, `"a" twice`},
		{"metadata of a number", `{"__metadata__":{"a":1}}`, 0, "a string should be"},
		{"metadata of a list", `{"__metadata__":[]}`, 0, "should be"},
		{"not closed", `{`, 0, "no such JSON"},
		{"two objects", `{}{}`, 0, "something follows"},
		{"no UTF-8", "{\"\xff\":1}", 0, "no UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireBroken(t, safeTensorsOf(tc.header, tc.body), tc.reason) })
	}
	requireBroken(t, append(binary.LittleEndian.AppendUint64(nil, 1000), "{}"...), "only 2 follow")
	requireBroken(t, append(binary.LittleEndian.AppendUint64(nil, maxSafeTensorsHeader+1), "{}"...), "more than the 100000000")
	c := openBytes(t, safeTensorsOf(`{}     `, 0))
	require.Equal(t, SafeTensors, c.Format)
}

// npyOf makes an .npy file of a header, and a body of zeros.
func npyOf(header string, body int) []byte {
	out := append([]byte("\x93NUMPY\x01\x00"), binary.LittleEndian.AppendUint16(nil, uint16(len(header)))...)
	return append(append(out, header...), make([]byte, body)...)
}

func TestArraysThatLieAreRefused(t *testing.T) {
	shaped := func(shape string) string { return "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }" }
	typed := func(descr string) string { return "{'descr': " + descr + ", 'fortran_order': False, 'shape': (1,), }" }
	for _, tc := range []struct {
		name   string
		header string
		body   int
		reason string
	}{
		{"one element too few", shaped("(3,)"), 8, "only 8 do"},
		{"a byte behind", shaped("(2,)"), 9, "cut off inside of its npy header"},
		{"other bytes behind", shaped("(2,)"), 30, "no numpy array where one should begin"},
		{"shape that overflows", shaped("(72057594037927936, 72057594037927936)"), 8, "too many elements"},
		{"size that overflows", "{'descr': '<U2000000000', 'fortran_order': False, 'shape': (72057594037927936,), }", 8, "too many elements"},
		{"shape of a list", shaped("[2]"), 8, "is a list"},
		{"shape of text", shaped("('2',)"), 8, "dimension"},
		{"shape of a number", shaped("2"), 8, "an int"},
		{"no type", "{'fortran_order': False, 'shape': (1,), }", 4, "instead of descr"},
		{"unknown type", typed("'<x4'"), 4, `"<x4"`},
		{"type without size", typed("'<f'"), 4, `"<f"`},
		{"type of a number", typed("4"), 4, "is an int"},
		{"field of a number", typed("[4]"), 4, "a field"},
		{"fields that overflow", typed("[('a', '<U2000000000', (4000000000, 4000000000))]"), 4, "an element"},
		{"nested types", typed(strings.Repeat("[('a', ", 100) + "'<f4'" + strings.Repeat(")]", 100)), 4, "nested too deep"},
		{"no literal", "import os", 4, "no value"},
		{"call", typed("f(1)"), 4, "no value"},
		{"key twice", "{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}", 4, "twice"},
		{"two values", shaped("(1,)") + "1", 4, "something follows"},
		{"no comma", shaped("(1 2)"), 4, "no comma"},
		{"string that does not end", "{'descr", 4, "does not end"},
		{"not closed", "{'descr': '<f4'", 4, "no comma"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireBroken(t, npyOf(tc.header, tc.body), tc.reason) })
	}
	requireBroken(t, []byte("\x93NUMPY\x04\x00aaaaaaaa"), "version 4.0")
	requireBroken(t, []byte("\x93NUMPY\x02\x00\xff\xff\xff\xffaaaa"), "is said to have")
	c := openBytes(t, npyOf("{'descr': '<i8', 'fortran_order': False, 'shape': (2L,), }", 16))
	require.Equal(t, []int64{2}, c.tensors[0].Shape)
}

func TestArraysOfObjectsTellTheirImports(t *testing.T) {
	for _, file := range []string{"objects.npy", "objects.npz"} {
		require.Contains(t, Names(Foreign(openBytes(t, testdata(t, file)).Imports)), "multiarray._reconstruct", file)
	}
	header := "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
	c, err := open(append(npyOf(header, 0), "cos\nsystem\n(S'x'\ntR\xff"...))
	require.ErrorContains(t, err, `imports "os.system"`)
	require.Equal(t, "os.system", Names(Foreign(c.Imports)))
}

// ggufOf makes a file of one tensor with that shape, type and offset, and a body.
func ggufOf(version uint32, shape []uint64, kind uint32, offset uint64, body int, metadata ...string) []byte {
	le := binary.LittleEndian
	out := le.AppendUint32([]byte("GGUF"), version)
	out = le.AppendUint64(le.AppendUint64(out, 1), uint64(len(metadata)))
	for _, m := range metadata {
		out = append(out, m...)
	}
	out = append(le.AppendUint64(out, 1), 'w')
	out = le.AppendUint32(out, uint32(len(shape)))
	for _, n := range shape {
		out = le.AppendUint64(out, n)
	}
	out = le.AppendUint64(le.AppendUint32(out, kind), offset)
	out = append(out, make([]byte, (32-len(out)%32)%32)...)
	return append(out, make([]byte, body)...)
}

// ggufKey is a key of metadata with a value of that type.
func ggufKey(key string, kind uint32, value string) string {
	out := append(binary.LittleEndian.AppendUint64(nil, uint64(len(key))), key...)
	return string(binary.LittleEndian.AppendUint32(out, kind)) + value
}

func TestGGUFThatLiesIsRefused(t *testing.T) {
	count := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	for _, tc := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"version 1", ggufOf(1, []uint64{8}, 0, 0, 32), "version 1"},
		{"version 4", ggufOf(4, []uint64{8}, 0, 0, 32), "version 4"},
		{"body too short", ggufOf(3, []uint64{8}, 0, 0, 31), "cut off"},
		{"body too long", ggufOf(3, []uint64{8}, 0, 0, 33), "1 bytes follow"},
		{"half of the padding", ggufOf(3, []uint64{7}, 0, 0, 30), "cut off"},
		{"offset", ggufOf(3, []uint64{8}, 0, 32, 64), "begins at byte 32"},
		{"unknown type", ggufOf(3, []uint64{8}, 99, 0, 32), "unknown type"},
		{"half a block", ggufOf(3, []uint64{16, 2}, 8, 0, 64), "no whole blocks of Q8_0"},
		{"shape that overflows", ggufOf(3, []uint64{1 << 40, 1 << 40}, 0, 0, 32), "more than fits"},
		{"dimension beyond int64", ggufOf(3, []uint64{math.MaxUint64}, 0, 0, 32), "impossible number"},
		{"65 dimensions", ggufOf(3, make([]uint64, 65), 0, 0, 0), "65 dimensions"},
		{"key twice", ggufOf(3, []uint64{8}, 0, 0, 32, ggufKey("a", 7, "\x01"), ggufKey("a", 7, "\x01")), `"a" twice`},
		{"alignment 0", ggufOf(3, []uint64{8}, 0, 0, 32, ggufKey("general.alignment", 4, "\x00\x00\x00\x00")), "no power of two"},
		{"alignment of text", ggufOf(3, []uint64{8}, 0, 0, 32, ggufKey("general.alignment", 8, count(0))), "is of type 8"},
		{"value of an unknown type", ggufOf(3, []uint64{8}, 0, 0, 32, ggufKey("a", 13, "")), "unknown type 13"},
		{"string longer than the file", ggufOf(3, []uint64{8}, 0, 0, 32, ggufKey("a", 8, count(1<<62))), "more than fit"},
		{"array longer than the file", ggufOf(3, []uint64{8}, 0, 0, 32, ggufKey("a", 9, "\x0a\x00\x00\x00"+count(1<<61))), "more than fit"},
		{"nested arrays", ggufOf(3, []uint64{8}, 0, 0, 32, ggufKey("a", 9, strings.Repeat("\x09\x00\x00\x00"+count(1), 20))), "unknown type 9"},
		{"too many tensors", append([]byte("GGUF\x03\x00\x00\x00"), strings.Repeat("\xff", 16)...), "more than fit"},
		{"only the magic", []byte("GGUF"), "cut off inside of its GGUF header"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireBroken(t, tc.data, tc.reason) })
	}
	for _, body := range []int{28, 32} { // with the last padding, and without
		require.Equal(t, GGUF, openBytes(t, ggufOf(2, []uint64{7}, 0, 0, body)).Format)
	}
	require.Contains(t, openBytes(t, testdata(t, "plain.gguf")).Describe(), `"llama"`)
}

func TestHDF5ThatIsNotClosedIsRefused(t *testing.T) {
	change := func(file string, at int, b byte) []byte {
		data := testdata(t, file)
		data[at] = b
		return data
	}
	resummed := func(at int, b byte) []byte {
		data := change("superblock3.h5", at, b)
		binary.LittleEndian.PutUint32(data[44:], lookup3(data[:44]))
		return data
	}
	for _, tc := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"checksum", change("superblock3.h5", 11, 1), "it is corrupt"},
		{"open for writing", resummed(11, 1), "open for writing"},
		{"open for writing with readers", resummed(11, 5), "open for writing"},
		{"open for writing, version 0", change("superblock0.h5", 20, 1), "open for writing"},
		{"end before the end", change("superblock0.h5", 41, 1), "still being written"},
		{"base", change("superblock0.h5", 24, 1), "begins at byte 1"},
		{"root elsewhere", resummed(36, 0x31), "no object header"},
		{"root beyond", resummed(40, 0x7f), "said to be at byte"},
		{"addresses of 3 bytes", change("superblock0.h5", 13, 3), "addresses of 3 bytes"},
		{"version 4", change("superblock0.h5", 8, 4), "version 4"},
		{"superblock alone", testdata(t, "superblock0.h5")[:96], "cut off"},
		{"half a superblock", testdata(t, "superblock2.h5")[:30], "cut off inside of its superblock"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireBroken(t, tc.data, tc.reason) })
	}
	for version, file := range map[byte]string{0: "superblock0.h5", 2: "superblock2.h5", 3: "superblock3.h5"} {
		require.Equal(t, version, testdata(t, file)[8], file)
	}
}

func TestKerasFilesInPartAreRefused(t *testing.T) {
	weights := testdata(t, "model.weights.h5")
	whole := []record{{"metadata.json", []byte("{}")}, {"config.json", []byte("{}")}, {kerasWeights, weights}}
	c, err := openRecords(whole)
	require.NoError(t, err)
	require.Equal(t, Keras, c.Format)
	for _, tc := range []struct {
		name    string
		records []record
		reason  string
	}{
		{"no weights", whole[:2], `record "model.weights.h5": it is missing`},
		{"no config", []record{whole[0], whole[2]}, `record "config.json": it is missing`},
		{"no metadata", whole[1:], `record "metadata.json": it is missing`},
		{"config is no JSON", []record{whole[0], {"config.json", []byte("{")}, whole[2]}, "it is no JSON"},
		{"weights cut", []record{whole[0], whole[1], {kerasWeights, weights[:5000]}}, `record "model.weights.h5": the HDF5 file is cut off`},
		{"no HDF5", []record{whole[0], whole[1], {kerasWeights, []byte("no HDF5 at all")}}, "no HDF5 superblock"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openRecords(tc.records)
			require.ErrorContains(t, err, tc.reason)
		})
	}
}

func TestPicklesAreNeverUnknown(t *testing.T) {
	for _, tc := range []struct {
		name, data string
		format     Format
		reason     string
	}{
		{"protocol 0", "(dp0\nI1\nI2\ns.", Pickle, ""},
		{"call", "cos\nsystem\n(S'x'\ntR.", Pickle, ""},
		{"call, bytes behind", "cos\nsystem\n(S'x'\ntR.\x00\x01", "", "2 bytes follow the end of the pickle"},
		{"call, then broken", "cos\nsystem\n(S'x'\ntR\xff\xff", "", `imports "os.system"`},
		{"protocol, then broken", "\x80\x04\xff", "", "no opcode"},
		{"cut off", "\x80\x04}", "", "without a STOP"},
		{"reference outside", "\x80\x02U\x01aQ.", Pickle, ""},
		{"protocol 0, bytes behind", "(dp0\nI1\nI2\nsI3\nI4\ns.\x00\x00", "", "2 bytes follow"},
		{"text", "N. B. this is text", Unknown, ""},
		{"other text", "class name\nsome thing\n", Unknown, ""},
		{"bytes", "\x01\x02\x03\x04", Unknown, ""},
		{"gzip", "\x1f\x8b\x08\x00\x00", Unknown, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.reason != "" {
				requireBroken(t, []byte(tc.data), tc.reason)
				return
			}
			c := openBytes(t, []byte(tc.data))
			require.Equal(t, tc.format, c.Format)
			tensors, err := c.AllTensors()
			require.NoError(t, err)
			require.Empty(t, tensors)
			require.NotEmpty(t, c.Describe())
		})
	}
	c := openBytes(t, []byte("cos\nsystem\n(S'x'\ntR."))
	require.Equal(t, "os.system", Names(Foreign(c.Imports)))
	require.Contains(t, openBytes(t, []byte("\x01")).Whole(), "weakest evidence")
}

// A pickle that is longer than what is read at first is read whole; what only looks like one is not.
func TestLongPickles(t *testing.T) {
	tooLong := append([]byte("\x80\x02B\x00\x00\x00\x08"), make([]byte, 1<<27)...)
	requireBroken(t, append(tooLong, '.'), "no more than 67108864 bytes of a pickle are read")

	data, err := pickle.Encode(strings.Repeat("x", 3*firstWindow))
	require.NoError(t, err)
	require.Equal(t, Pickle, openBytes(t, data).Format)
	requireBroken(t, data[:2*firstWindow], "left")
}

func TestOtherZips(t *testing.T) {
	c, err := openRecords([]record{{"a.txt", []byte("x")}, {"version/b", []byte("y")}})
	require.NoError(t, err)
	require.Equal(t, Zip, c.Format)
	c, err = openRecords([]record{{"m/archive_format", []byte("pt2")}, {"m/version", []byte("0")}})
	require.NoError(t, err)
	require.Equal(t, Zip, c.Format, "torch.export")
	requireBroken(t, zipOf(nil), "without a file")
	_, err = openRecords([]record{{"a.npy", []byte("x")}})
	require.ErrorContains(t, err, `record "a.npy": the file is cut off inside of its npy header`)
	_, err = openRecords([]record{{"a.npy", npyOf("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 9)}})
	require.ErrorContains(t, err, `record "a.npy": 9 bytes follow its header`)
}

func TestOtherTars(t *testing.T) {
	tarOf := func(headers ...tar.Header) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, h := range headers {
			require.NoError(t, w.WriteHeader(&h))
			_, err := w.Write(make([]byte, h.Size))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		return out.Bytes()
	}
	whole := tarOf(tar.Header{Name: "model_config.yaml", Size: 600}, tar.Header{Name: "model_weights.ckpt", Size: 10})
	c := openBytes(t, whole)
	require.Equal(t, Tar, c.Format)
	requireBroken(t, whole[:len(whole)-512], "end blocks")
	requireBroken(t, whole[:1024], "cut off")
	requireBroken(t, append(whole, make([]byte, 64<<10)...), "end blocks")
	requireBroken(t, tarOf(tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "y"}), "neither a file nor a folder")
	requireBroken(t, tarOf(tar.Header{Name: "../x"}), "leave its folder")
}

func FuzzFormats(f *testing.F) {
	for file := range expectedFormats(f) {
		f.Add(testdata(f, file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := open(data)
		if err != nil {
			return
		}
		require.NotEmpty(t, c.Whole())
		require.NotEmpty(t, c.Describe())
		_, _ = c.AllTensors()
		if err := c.CheckRecords(); err != nil {
			return
		}
		p, err := c.Verbatim()
		require.NoError(t, err)
		require.EqualValues(t, len(data), p.Size)
	})
}

// Python's zipfile finds a zip by its end, whatever is before it.
func TestZipsBehindOtherBytesAreNotUnknown(t *testing.T) {
	zip := zipOf(torchRecords(t, pickle.NewDict("w", plainTensor())))
	requireBroken(t, append([]byte("some text"), zip...), "ends like a zip")
	commented := append(append([]byte("some text"), zip[:len(zip)-2]...), "\x03\x00abc"...)
	requireBroken(t, commented, "ends like a zip")
	require.Equal(t, Unknown, openBytes(t, append(append([]byte("some text"), zip...), "more"...)).Format)
}
