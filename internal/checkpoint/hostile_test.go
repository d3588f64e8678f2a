package checkpoint

import (
	"bytes"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// record is one of a checkpoint that is made for a test.
type record struct {
	name string
	data []byte
}

func zipOf(records []record) []byte {
	var l zipfile.Layout
	var out []byte
	for _, r := range records {
		out = append(out, l.Add(zipfile.Header{Name: r.name, Size: int64(len(r.data)), CRC32: crc32.ChecksumIEEE(r.data)})...)
		out = append(out, r.data...)
	}
	return append(out, l.End()...)
}

// torchRecords are the records of a checkpoint with that value and one storage, "0", of 16 bytes.
func torchRecords(t testing.TB, value any) []record {
	t.Helper()
	data, err := pickle.Encode(value)
	require.NoError(t, err)
	return []record{{"a/data.pkl", data}, {"a/byteorder", []byte("little")}, {"a/data/0", []byte("0123456789abcdef")}, {"a/version", []byte("3\n")}}
}

func openRecords(records []record) (*Checkpoint, error) {
	data := zipOf(records)
	return Open(bytes.NewReader(data), int64(len(data)))
}

func tuple(items ...any) *pickle.Tuple { return &pickle.Tuple{Items: items} }

func ints(n ...int64) *pickle.Tuple {
	t := &pickle.Tuple{}
	for _, x := range n {
		t.Items = append(t.Items, x)
	}
	return t
}

func call(module, name string, args ...any) *pickle.Object {
	return &pickle.Object{Class: &pickle.Global{Module: module, Name: name}, Args: args}
}

// storageOf refers to a storage of that class.
func storageOf(class, key string, elements int64) *pickle.PersistentID {
	module := "torch"
	if class == "UntypedStorage" {
		module = "torch.storage"
	}
	return &pickle.PersistentID{ID: tuple("storage", &pickle.Global{Module: module, Name: class}, key, "cpu", elements)}
}

// floats is the storage that torchRecords has, as four float32.
func floats() *pickle.PersistentID { return storageOf("FloatStorage", "0", 4) }

func tensorOf(id any, offset int64, shape, stride any) *pickle.Object {
	return call("torch._utils", "_rebuild_tensor_v2", id, offset, shape, stride, false, call("collections", "OrderedDict"))
}

func plainTensor() *pickle.Object { return tensorOf(floats(), 0, ints(4), ints(1)) }

// torch.empty(3, 0, 2) has no element, whatever its other dimensions and strides say.
func TestEmptyTensorsReachNowhere(t *testing.T) {
	for _, shape := range [][]int64{{0}, {0, 4}, {3, 0, 2}, {5, 0}} {
		strides := ints(shape...)
		c, err := openRecords(torchRecords(t, pickle.NewDict("w", tensorOf(floats(), 4, ints(shape...), strides))))
		require.NoError(t, err)
		d, err := c.StateDict("")
		require.NoError(t, err)
		require.Equal(t, shape, d.Tensors()[0].Shape)
		require.Zero(t, d.Tensors()[0].Bytes)
	}
}

func TestTensorsThatTorchWouldSeeOtherwiseAreRefused(t *testing.T) {
	changed := plainTensor()
	changed.Built, changed.State = true, tuple(floats(), int64(0), ints(2), ints(1))
	filled := plainTensor()
	filled.Items = pickle.NewDict("a", nil)
	grown := call("collections", "OrderedDict", &pickle.List{Items: []any{tuple("hidden", plainTensor())}})
	grown.Items = pickle.NewDict("w", plainTensor())
	wrapped := plainTensor()
	for range 20 {
		wrapped = call("torch._utils", "_rebuild_parameter", wrapped, true, nil)
	}
	v3 := func(args ...any) any {
		return call("torch._utils", "_rebuild_tensor_v3", append([]any{storageOf("UntypedStorage", "0", 16), int64(0), ints(4), ints(1), false, nil}, args...)...)
	}
	dict := func(v any) any { return pickle.NewDict("w", v) }
	for _, tc := range []struct {
		name   string
		value  any
		reason string
	}{
		{"view beyond the storage", dict(tensorOf(floats(), 0, ints(5), ints(1))), "reaches beyond the 4 elements"},
		{"offset beyond the storage", dict(tensorOf(floats(), 4, ints(), ints())), "reaches beyond"},
		{"stride beyond the storage", dict(tensorOf(floats(), 0, ints(2, 2), ints(3, 1))), "reaches beyond"},
		{"extent that overflows", dict(tensorOf(floats(), 1, ints(1<<40, 1<<15), ints(1<<40, 1<<40))), "reaches beyond"},
		{"too many elements", dict(tensorOf(floats(), 0, ints(1<<40, 1<<40), ints(0, 0))), "too many elements"},
		{"negative offset", dict(tensorOf(floats(), -1, ints(1), ints(1))), "offset"},
		{"negative dimension", dict(tensorOf(floats(), 0, ints(-1), ints(1))), "dimension"},
		{"strides missing", dict(tensorOf(floats(), 0, ints(2, 2), ints(1))), "2 dimensions and 1 strides"},
		{"65 dimensions", dict(tensorOf(floats(), 0, ints(make([]int64, 65)...), ints(make([]int64, 65)...))), "shape or stride"},
		{"shape that can change", dict(tensorOf(floats(), 0, &pickle.List{Items: []any{int64(4)}}, ints(1))), "shape or stride is a list"},
		{"no storage", dict(tensorOf(nil, 0, ints(1), ints(1))), "whose storage is None"},
		{"few arguments", dict(call("torch._utils", "_rebuild_tensor_v2", floats())), "1 arguments"},
		{"state set later", dict(changed), "changes the tensor"},
		{"items set later", dict(filled), "changes the tensor"},
		{"hidden items of an OrderedDict", grown, "not a state_dict"},
		{"wrapped in itself", dict(wrapped), "wrapped in each other"},
		{"empty parameter", dict(call("torch._utils", "_rebuild_parameter")), "parameter without data"},
		{"no dtype", dict(v3()), "without the dtype"},
		{"foreign dtype", dict(v3(&pickle.Global{Module: "os", Name: "float32"})), "without the dtype"},
		{"v3 beyond the storage", dict(v3(&pickle.Global{Module: "torch", Name: "float64"})), "reaches beyond"},
		{"subclass without data", dict(call("torch._tensor", "_rebuild_from_type_v2", nil)), "subclass without data"},
		{"subclass of a list", dict(call("torch._tensor", "_rebuild_from_type_v2", nil, nil, &pickle.List{}, nil)), "are a list"},
		{"sparse of a bad tensor", dict(call("torch._utils", "_rebuild_sparse_tensor", nil, tuple(tensorOf(floats(), 9, ints(1), ints(1))))), "reaches beyond"},
		{"unknown kind of a bad tensor", dict(call("torch._utils", "_rebuild_new_tensor", tensorOf(floats(), 9, ints(1), ints(1)))), "reaches beyond"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := openRecords(torchRecords(t, tc.value))
			require.NoError(t, err)
			_, err = c.StateDict("")
			require.ErrorContains(t, err, tc.reason)
			var b *Broken
			require.ErrorAs(t, err, &b)
		})
	}
}

func TestStoragesThatDoNotFitAreRefused(t *testing.T) {
	id := func(items ...any) any { return &pickle.PersistentID{ID: tuple(items...)} }
	float := &pickle.Global{Module: "torch", Name: "FloatStorage"}
	for _, tc := range []struct {
		name   string
		value  any
		reason string
	}{
		{"record missing", tensorOf(storageOf("FloatStorage", "1", 4), 0, ints(4), ints(1)), `record "a/data/1": it is missing`},
		{"other size", storageOf("FloatStorage", "0", 5), "it has 16 bytes, but the pickle says 20"},
		{"size that overflows", storageOf("DoubleStorage", "0", 1<<61+2), "but the pickle says"},
		{"two types", tuple(floats(), storageOf("IntStorage", "0", 4)), `as 4 elements of "float32" and as 4 of "int32"`},
		{"foreign type", id("storage", &pickle.Global{Module: "evil", Name: "FloatStorage"}, "0", "cpu", int64(4)), "foreign type"},
		{"unknown type", storageOf("EvilStorage", "0", 4), "unknown type"},
		{"sixth item", id("storage", float, "0", "cpu", int64(4), nil), "no storage"},
		{"no storage", id("module", float, "0", "cpu", int64(4)), "no storage"},
		{"text", &pickle.PersistentID{ID: "0"}, "a str outside of it"},
		{"key is an int", id("storage", float, int64(0), "cpu", int64(4)), "is described by"},
		{"negative size", storageOf("FloatStorage", "0", -4), "is described by"},
		{"long key", storageOf("FloatStorage", strings.Repeat("0", 300), 4), "is described by"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openRecords(torchRecords(t, pickle.NewDict("w", tc.value)))
			require.ErrorContains(t, err, tc.reason)
		})
	}
}

func TestRecordsThatAreNotTorchsAreRefused(t *testing.T) {
	with := func(name, data string) func([]record) []record {
		return func(all []record) []record {
			for i := range all {
				if all[i].name == name {
					all[i].data = []byte(data)
					return all
				}
			}
			return append(all, record{name, []byte(data)})
		}
	}
	without := func(name string) func([]record) []record {
		return func(all []record) []record {
			return slices.DeleteFunc(all, func(r record) bool { return r.name == name })
		}
	}
	for _, tc := range []struct {
		name   string
		change func([]record) []record
		reason string
	}{
		{"no version", without("a/version"), `record "a/version": it is missing`},
		{"version 11", with("a/version", "11\n"), `says "11\n"`},
		{"version of words", with("a/version", "\x1b[31m"), `says "\x1b[31m"`},
		{"other version where torch looks first", with("a/.data/version", "99"), "99"},
		{"no pickle", without("a/data.pkl"), "has no <name>/data.pkl"},
		{"record outside", with("b/data/1", "x"), `outside of "a/"`},
		{"record at the top", with("version", "3\n"), "outside of"},
		{"two checkpoints", with("b/data.pkl", "N."), "outside of"},
		{"case", with("a/DATA.pkl", "N."), "ignores case"},
		{"byte order", with("a/byteorder", "middle"), `says "middle"`},
		{"bytes after the pickle", with("a/data.pkl", "}.x"), "1 bytes follow"},
		{"TorchScript", with("a/constants.pkl", "N."), "TorchScript"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openRecords(tc.change(torchRecords(t, pickle.NewDict("w", plainTensor()))))
			require.ErrorContains(t, err, tc.reason)
			var b *Broken
			require.ErrorAs(t, err, &b)
		})
	}
}

func TestBigEndianTravelsAsSuch(t *testing.T) {
	records := torchRecords(t, pickle.NewDict("w", plainTensor()))
	records[1].data = []byte("big")
	c, err := openRecords(records)
	require.NoError(t, err)
	s, err := c.StateDict("")
	require.NoError(t, err)
	p, err := c.Extract(s)
	require.NoError(t, err)
	require.Equal(t, "big", openBytes(t, flatten(t, p)).torch.byteOrder)
}

func TestNamesThatSpellSomethingAllowed(t *testing.T) {
	for name, want := range map[pickle.Import]string{
		{Module: "torch._utils", Name: "_rebuild_tensor_v2"}: "",
		{Module: "torch", Name: "_utils._rebuild_tensor_v2"}: "torch._utils._rebuild_tensor_v2",
		{Module: "__builtin__", Name: "set"}:                 "",
		{Module: "__builtin__", Name: "eval"}:                "__builtin__.eval",
	} {
		require.Equal(t, want, Names(Foreign([]pickle.Import{name})))
	}
	require.Equal(t, "builtins.frozenset", Names(ForeignIn(pickle.NewDict("s", &pickle.Set{Frozen: true}))))
}

// What costs two bytes in the pickle must not cost much more in a listing.
func TestListingIsNoBomb(t *testing.T) {
	open := func(v any) *Checkpoint {
		c, err := openRecords(torchRecords(t, v))
		require.NoError(t, err)
		return c
	}
	many := open(&pickle.List{Items: slices.Repeat([]any{plainTensor()}, 100)})
	tensors, err := many.AllTensors()
	require.NoError(t, err)
	require.Len(t, tensors, 100)

	shared := plainTensor()
	_, err = open(&pickle.List{Items: slices.Repeat([]any{shared}, maxTensors+1)}).AllTensors()
	require.ErrorContains(t, err, "more than 524288 tensors")

	laughs := &pickle.List{Items: []any{shared}}
	for range 100 {
		laughs = &pickle.List{Items: []any{laughs, laughs, laughs}}
	}
	tensors, err = open(laughs).AllTensors()
	require.NoError(t, err)
	require.Len(t, tensors, 1, "a shared container is listed once")

	long := strings.Repeat("k", 1<<16)
	nested := pickle.NewDict(long, shared)
	for range 400 {
		nested = pickle.NewDict(long, nested, "w", shared)
	}
	data, err := pickle.Encode(nested)
	require.NoError(t, err)
	_, err = open(nested).AllTensors()
	require.ErrorContains(t, err, "bytes of names", "%d bytes of pickle", len(data))

	var sizes any = ints(1)
	for range 900 {
		sizes = call("torch", "Size", sizes)
	}
	_, err = open(pickle.NewDict("w", tensorOf(floats(), 0, sizes, ints(1)))).StateDict("")
	require.ErrorContains(t, err, "shape or stride is an instance")
}

func FuzzOpen(f *testing.F) {
	for _, file := range []string{"bare.torch1.13.pt", "views.torch2.15.pt", "quantized.torch2.15.pt", "sparse.torch1.13.pt", "v3.torch2.15.pt",
		"meta.torch2.15.pt", "protocol5.torch2.15.pt", "nocrc.torch2.15.pt", "sentinel.torch2.15.pt", "torchscript.torch2.15.pt"} {
		data := testdata(f, file)
		f.Add([]byte(nil), data)
		if c, err := Open(bytes.NewReader(data), int64(len(data))); err == nil {
			z, err := indexTorchZip(c.source, c.directory)
			require.NoError(f, err)
			raw, err := z.readRecord("data.pkl", 1<<20)
			require.NoError(f, err)
			f.Add(raw, []byte(nil))
		}
	}
	f.Add(torchRecords(f, pickle.NewDict("w", plainTensor()))[0].data, []byte(nil))
	f.Fuzz(func(t *testing.T, data, file []byte) {
		if len(data) > 0 { // a pickle in a zip that is whole
			file = zipOf([]record{{"a/data.pkl", data}, {"a/data/0", []byte("0123456789abcdef")}, {"a/data/1", []byte("01234567")}, {"a/version", []byte("3\n")}})
		}
		c, err := Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		_ = c.Describe()
		_, _ = c.AllTensors()
		_, _ = c.CIStatistics()
		s, err := c.StateDict("")
		if err != nil {
			return
		}
		p, err := c.Extract(s)
		if err != nil {
			return
		}
		again := openBytes(t, flatten(t, p))
		s2, err := again.StateDict("")
		if s.Path != "" && err != nil {
			return // a state_dict without tensors, or with a "state_dict" of its own
		}
		require.NoError(t, err)
		if s2.Path == "" {
			require.Equal(t, s.Tensors(), s2.Tensors())
		}
	})
}
