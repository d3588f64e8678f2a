package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// The pickles are written by testdata/make_pickles.py.
func TestPlainOfRealPickles(t *testing.T) {
	tests := []struct {
		file  string
		want  string
		notes []string
	}{
		{"attributedict", `{'lr': 0.1, 'inner': {'a': [1, 2]}}`, nil},
		{"namespace", `{'lr': 0.1, 'layers': [1, 2], 'optim': {'lr': 0.001, 'betas': [0.9, 0.999]}}`, []string{
			`: an instance of "argparse.Namespace" flattened to plain values`,
			`optim: an instance of "app.Optim" flattened to plain values`,
		}},
		{"omegaconf", `{'a': 1, 'b': [1, 'x', {'c': None}], 'p': '${a}', 'q': '???', 'f': 1.5, '7': True}`, nil},
		{"classes", `{'color': 'red', 'slotted': {'width': 8, 'depth': 2}, 'both': {'name': 'both', 'width': 8, 'depth': 2}, ` +
			`'pair': [1, 2], 'path': '/data/run 1/x.npz', 'relative': 'a/b', 'ordered': {'z': 1, 'a': 2}, 'default': {'k': [1]}, ` +
			`'set': [3], 'frozen': ['x'], 'activation': 'torch.nn.modules.activation.ReLU', '5': 'five', '(1, 'a')': 'tuple', 'True': 'yes'}`,
			[]string{
				`color: an instance of "app.Color" flattened to plain values`,
				`slotted: an instance of "app.Slotted" flattened to plain values`,
				`both: an instance of "app.Both" flattened to plain values`,
				`pair: an instance of "app.Pair" flattened to plain values`,
				`bytes: bytes left out of the params`,
				`activation: "torch.nn.modules.activation.ReLU" kept as its name`,
			}},
		{"numpy", `{'f8': 1.5, 'f4': 0.5, 'f2': -2.25, 'i8': -7, 'u8': 18446744073709551615, 'i1': -1, 'b1': True, ` +
			`'big': 258, 'str': 'né', 'dtype': 'f4', 'type': 'numpy.float32'}`, []string{
			`c8: a numpy scalar that is neither a number nor a string left out of the params`,
			`array: an array left out of the params`,
		}},
		{"torch", `{'dtype': 'torch.float32', 'device': 'cuda:1', 'cpu': 'cpu', 'size': [2, 3], 'list': [1, None, 3]}`, []string{
			`mask: a tensor left out of the params`,
			`list.1: a tensor left out of the params`,
			`parameter: a tensor left out of the params`,
		}},
		{"ring", `{'name': 'ring'}`, []string{`self: a value that holds itself left out of the params`}},
	}
	for _, test := range tests {
		for _, protocol := range []string{"p2", "p4"} {
			t.Run(test.file+"."+protocol, func(t *testing.T) {
				data, err := os.ReadFile(filepath.Join("testdata", test.file+"."+protocol+".pkl"))
				require.NoError(t, err)
				decoded, err := pickle.Decode(data)
				require.NoError(t, err)
				plain, notes := Plain(decoded.Value)
				require.Equal(t, test.want, literal(plain))
				requirePlain(t, plain, false, 0)
				var texts []string
				for _, n := range notes {
					texts = append(texts, n.Key+": "+n.Text)
				}
				require.Equal(t, test.notes, texts)
			})
		}
	}
}

func global(dotted string) *pickle.Global {
	dot := strings.LastIndexByte(dotted, '.')
	return &pickle.Global{Module: dotted[:dot], Name: dotted[dot+1:]}
}

func list(items ...any) *pickle.List   { return &pickle.List{Items: items} }
func tuple(items ...any) *pickle.Tuple { return &pickle.Tuple{Items: items} }

func call(class string, args ...any) *pickle.Object {
	return &pickle.Object{Class: global(class), Args: args}
}

func tensor() *pickle.Object {
	return call("torch._utils._rebuild_tensor_v2", &pickle.PersistentID{ID: tuple("storage")}, int64(0))
}

func TestPlainOfObjects(t *testing.T) {
	instance := func(class string, state any) *pickle.Object {
		return &pickle.Object{Class: global(class), New: true, Built: true, State: state}
	}
	protocol0 := &pickle.Object{
		Class: global("copy_reg._reconstructor"), Args: []any{global("app.Old"), global("__builtin__.object"), nil},
		Built: true, State: pickle.NewDict("a", int64(1)),
	}
	pydantic := pickle.NewDict("__dict__", pickle.NewDict("lr", 0.1), "__pydantic_fields_set__", &pickle.Set{}, "__pydantic_private__", nil)
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"an instance of protocol 0", protocol0, `{'a': 1}`},
		{"a pydantic model", instance("app.Model", pydantic), `{'lr': 0.1}`},
		{"slots only", instance("app.S", tuple(nil, pickle.NewDict("w", int64(1)))), `{'w': 1}`},
		{"an own state", instance("app.S", list(int64(1), 2.0)), `[1, 2.0]`},
		{"nothing known", &pickle.Object{Class: global("app.Empty"), New: true}, `{}`},
		{"a list subclass", &pickle.Object{Class: global("app.L"), New: true, Appended: []any{int64(1)}}, `[1]`},
		{"a class that is no import", &pickle.Object{Class: int64(3), Args: []any{int64(4)}}, `4`},
		{"an enum member by name", call("builtins.getattr", global("app.Color"), "RED"), `'app.Color.RED'`},
		{"a set of protocol 2", call("__builtin__.set", list(int64(1))), `[1]`},
		{"a Windows path", call("pathlib.WindowsPath", `C:\`, "a", "b"), `'C:\a\b'`},
		{"the empty path", call("pathlib.PosixPath"), `'.'`},
		{"the root", call("pathlib.PosixPath", "/"), `'/'`},
		{"a path of Python 3.13", call("pathlib._local.PosixPath", "/", "x"), `'/x'`},
		{"bytes of protocol 2", pickle.NewDict("b", call("_codecs.encode", "ÿ", "latin1")), `{}`},
		{"a key that is an instance", pickle.NewDict(call("app.Color", "red"), int64(1)), `{'red': 1}`},
		{"a key that is a list", pickle.NewDict(list(), int64(1)), `{}`},
		{"a persistent id", pickle.NewDict("p", &pickle.PersistentID{ID: "x"}), `{}`},
		{"a broken numpy scalar", list(call("numpy.core.multiarray.scalar", call("numpy.dtype", "f"), pickle.Bytes("1"))), `[None]`},
		{"a short numpy scalar", list(call("numpy.core.multiarray.scalar", call("numpy.dtype", "f8"), pickle.Bytes("1"))), `[None]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plain, _ := Plain(test.value)
			require.Equal(t, test.want, literal(plain))
		})
	}
}

func TestPlainBoundsSharing(t *testing.T) {
	shared := list("x")
	for range 100 {
		shared = list(shared, shared, shared)
	}
	_, notes := Plain(pickle.NewDict("bomb", shared))
	require.Contains(t, notes[0].Text, "more than 1048576 values")
}

func TestPlainBoundsDepth(t *testing.T) {
	deep := list()
	for range 10_000 {
		deep = list(deep)
	}
	plain, notes := Plain(deep)
	requirePlain(t, plain, false, 0)
	require.Len(t, notes, 1)
	require.Contains(t, notes[0].Text, "nested more than 200 levels deep")
}

func TestPlainBoundsNotes(t *testing.T) {
	var classes []any
	for i := range 1000 {
		classes = append(classes, call(fmt.Sprintf("app.C%d", i)))
	}
	_, notes := Plain(list(classes...))
	require.Len(t, notes, maxNotes+1)
	require.Equal(t, "800 more notes are not listed", notes[maxNotes].Text)
}

func FuzzPlain(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.pkl")
	require.NoError(f, err)
	for _, seed := range seeds {
		data, err := os.ReadFile(seed)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		decoded, err := pickle.Decode(data)
		if err != nil {
			return
		}
		plain, _ := Plain(decoded.Value)
		requirePlain(t, plain, false, 0)
	})
}
