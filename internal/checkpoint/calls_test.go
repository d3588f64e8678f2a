package checkpoint

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// raw is a pickle of protocol 2 around opcodes that leave one value.
func raw(opcodes string) []byte { return []byte("\x80\x02" + opcodes + ".") }

// weights is a key and a state_dict with one tensor.
const (
	weights    = "X\x0a\x00\x00\x00state_dict" + "}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs"
	systemCall = "cposix\nsystem\nX\x01\x00\x00\x00x\x85R"
)

func key(name string) string { return "X" + string(rune(len(name))) + "\x00\x00\x00" + name }

func TestCallsOutsideOfTheStateDict(t *testing.T) {
	entry := func(name, value string) string { return "}(" + weights + key(name) + value + "u" }
	for _, tc := range []struct{ name, pickle, want string }{
		{"nothing", "}(" + weights + "u", ""},
		{"called", entry("x", systemCall), `its entry "x" calls "posix.system", imported at byte 156 of the pickle`},
		{"called in a list", entry("x", "]("+systemCall+"e"), `its entry "x" calls "posix.system"`},
		{"INST", entry("x", "(S'a'\nios\nsystem\n"), `calls "os.system"`},
		{"OBJ", entry("x", "(cos\nsystem\nS'a'\no"), `calls "os.system"`},
		{"NEWOBJ", entry("x", "csubprocess\nPopen\nS'a'\n\x85\x81"), `calls "subprocess.Popen"`},
		{"never called", entry("x", "cposix\nsystem\n"), ""},
		{"given to another", entry("x", "cfunctools\npartial\ncposix\nsystem\n\x85R"), `calls "posix.system"`},
		{"given in a container", entry("x", "capp\nC\n](cposix\nsystem\ne\x85R"), `calls "posix.system"`},
		{"in a state", entry("x", "capp\nC\n)R}"+key("__setstate__")+"cposix\nsystem\nsb"), `calls "posix.system"`},
		{"as a key", "}(" + weights + systemCall + "Nu", `its entry "an instance of \"posix.system\"" calls "posix.system"`},
		{"popped before", systemCall + "0}(" + weights + "u", `a value that the pickle makes and throws away calls "posix.system"`},
		{"popped with a mark", "(" + systemCall + "1}(" + weights + "u", `throws away calls "posix.system"`},
		{"under a key that comes again", "}(" + weights + key("x") + systemCall + key("x") + "Nu", `throws away calls "posix.system"`},
		{"as the class around", systemCall + "(" + weights + "u", `around "state_dict" calls "posix.system"`},
		{"in the state around", "ccollections\nOrderedDict\n)R(" + weights + "u" + systemCall + "b", `around "state_dict" calls "posix.system"`},
		{"an enum's constant", entry("x", "cbuiltins\ngetattr\ncapp\nColour\n"+key("RED")+"\x86R"), ""},
		{"an attribute of a module", entry("x", "cbuiltins\ngetattr\ncapp\nos\n"+key("system")+"\x86R"), `calls "builtins.getattr"`},
		{"an attribute of a result", entry("x", "cbuiltins\ngetattr\ncapp\nf\n)R"+key("g")+"\x86R"), `calls "builtins.getattr"`},
		{"a hidden attribute", entry("x", "cbuiltins\ngetattr\ncapp\nC\n"+key("__globals__")+"\x86R"), `calls "builtins.getattr"`},
		{"a getter", entry("x", "coperator\nattrgetter\n"+key("a")+"\x85R"), ""},
		{"a getter called", entry("x", "coperator\nattrgetter\n"+key("a")+"\x85Rcapp\nC\n\x85R"), `calls "operator.attrgetter"`},
		{"unknown classes", entry("x", "capp\nThing\n)\x81}b"), ""},
		{"hyper_parameters", entry("hyper_parameters", systemCall), ""},
		{"callbacks", entry("callbacks", systemCall), ""},
		{"in capitals", entry("MixedPrecision", systemCall), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := openRecords([]record{{"a/data.pkl", raw(tc.pickle)}, {"a/data/0", []byte("0123456789abcdef")}, {"a/version", []byte("3\n")}})
			require.NoError(t, err)
			s, err := c.StateDict("state_dict")
			require.NoError(t, err)
			calls := c.CallsOutside(s)
			if tc.want == "" {
				require.Empty(t, calls)
				return
			}
			require.NotEmpty(t, calls)
			require.Contains(t, calls[0].String(), tc.want)
		})
	}
}

// What is beside the selected weights is looked at on every level.
func TestCallsBesideSelectedWeights(t *testing.T) {
	system := call("os", "system", "x")
	root := pickle.NewDict("model", pickle.NewDict("ema", pickle.NewDict("w", plainTensor()), "other", system), "optimizer", system)
	c, err := openRecords(torchRecords(t, root))
	require.NoError(t, err)
	s, err := c.StateDict("model.ema")
	require.NoError(t, err)
	calls := c.CallsOutside(s)
	require.Len(t, calls, 1)
	require.Equal(t, "its entry \"model.other\"", calls[0].Entry)
}

func TestWhatRuns(t *testing.T) {
	for name, want := range map[[2]string]bool{
		{"os", "system"}: true, {"posix", "popen"}: true, {"subprocess", "Popen"}: true, {"builtins", "eval"}: true, {"__builtin__", "execfile"}: true,
		{"importlib", "import_module"}: true, {"importlib.util", "find_spec"}: true, {"torch.hub", "load"}: true, {"torch", "load"}: true,
		{"logging", "os.system"}: true, {"app", "C.__init__.__globals__"}: true, {"torch.storage", "_load_from_bytes"}: true, {"_pickle", "loads"}: true,
		{"trace", "Trace.run"}: true, {"code", "InteractiveInterpreter.runcode"}: true, {"numpy.testing._private.utils", "runstring"}: true,
		{"code", "Config"}: false, {"osmium", "system"}: false, {"app.os", "system"}: false, {"builtins", "set"}: false, {"builtins", "getattr"}: false, {"os", "stat_result"}: false,
		{"functools", "partial"}: false, {"pathlib", "PosixPath"}: false, {"argparse", "Namespace"}: false, {"torch", "float32"}: false,
		{"numpy.core.multiarray", "scalar"}: false, {"uuid", "UUID"}: false, {"collections", "OrderedDict.fromkeys"}: false, {"test.models", "Net"}: false,
	} {
		require.Equal(t, want, runs(&pickle.Global{Module: name[0], Name: name[1]}), name)
	}
}

// No file that a real library or trainer wrote calls what runs code, not even in the parts that are never judged.
func TestRealFilesRaiseNoAlarm(t *testing.T) {
	read := 0
	for _, root := range []string{"testdata", "../../examples/runs", "../../../shared/fixtures/runs", "../../../shared/fixtures/formats"} {
		if _, err := os.Stat(root); err != nil {
			t.Logf("SKIP: %s is not there", root)
			continue
		}
		require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			c, err := Open(bytes.NewReader(data), int64(len(data)))
			if err != nil || c.Root == nil {
				return nil
			}
			read++
			f := newCallFinder(c.Imports)
			f.look("the whole", c.Root)
			for _, v := range c.discarded {
				f.look("thrown away", v)
			}
			require.Empty(t, f.found, path)
			return nil
		}))
	}
	require.Greater(t, read, 40)
}

// Many calls that are given one large value, and many entries that are one large value, take no more than each once.
func TestCallsOnSharedValues(t *testing.T) {
	var b strings.Builder
	b.WriteString("]q\x00(" + strings.Repeat("]", 100_000) + "e0}(" + weights)
	for i := range 50_000 {
		b.WriteString("J" + string([]byte{byte(i), byte(i >> 8), byte(i >> 16), 0}) + "capp\nC\nh\x00\x85R")
	}
	c, err := openRecords([]record{{"a/data.pkl", raw(b.String() + "u")}, {"a/data/0", []byte("0123456789abcdef")}, {"a/version", []byte("3\n")}})
	require.NoError(t, err)
	s, err := c.StateDict("state_dict")
	require.NoError(t, err)
	require.Empty(t, c.CallsOutside(s))
}
