package checkpoint

import (
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// runs tells whether calling what an import names would run a program or code that the pickle brings along, or open the
// way to it: it starts programs, evaluates text, loads other pickles or libraries, reaches attributes by their names,
// changes files or uses the network. It is a list of what is known to be bad, so no file is safe for not being on it;
// it serves where the allow-list would refuse too much (see docs/safety.md). The names are those that picklescan and
// fickling list, and CPython's of the same kind, but for what real checkpoints call.
func runs(g *pickle.Global) bool {
	if strings.Contains(g.Name, ".") {
		return runsAttribute(g)
	}
	return !harmless[g.String()] && (runningName(g.Module, g.Name) || runningModule(g.Module))
}

// runsAttribute judges a dotted name, which is looked up attribute by attribute: each may be a module.
func runsAttribute(g *pickle.Global) bool {
	parts := append([]string{g.Module}, strings.Split(g.Name, ".")...)
	for i, part := range parts[1:] {
		if strings.HasPrefix(part, "__") || runs(&pickle.Global{Module: parts[i], Name: part}) {
			return true
		}
	}
	return runningName(g.Module, g.Name)
}

func runningName(module, name string) bool { return slices.Contains(runningNames[module], name) }

// runningModule tells whether a module, or the package that it is in, does nothing else.
func runningModule(module string) bool {
	for {
		if runningModules[module] {
			return true
		}
		end := strings.LastIndexByte(module, '.')
		if end < 0 {
			return false
		}
		module = module[:end]
	}
}

var runningModules = setOf(
	"os", "posix", "nt", "posixpath.os", "subprocess", "_posixsubprocess", "_winapi", "pty", "popen2", "sys", "shutil", "commands",
	"runpy", "importlib", "_frozen_importlib", "_frozen_importlib_external", "imp", "_imp", "zipimport", "pkgutil", "modulefinder",
	"pickle", "_pickle", "cPickle", "marshal", "shelve", "codeop", "bdb", "pdb", "cProfile", "profile", "timeit", "trace", "pydoc",
	"doctest", "test.support", "distutils", "setuptools", "pip", "ensurepip", "venv", "idlelib", "lib2to3", "_pyrepl",
	"_osx_support", "_aix_support", "ctypes", "_ctypes", "cffi", "webbrowser", "antigravity", "socket", "_socket", "socketserver", "ssl",
	"http", "httplib", "urllib", "urllib2", "ftplib", "smtplib", "imaplib", "poplib", "nntplib", "telnetlib", "xmlrpc", "requests",
	"aiohttp", "asyncio", "_thread",
	"torch.hub", "torch._dynamo", "torch._inductor", "torch.jit.unsupported_tensor_ops", "torch.utils.bottleneck", "torch.utils.collect_env",
	"torch.utils.cpp_extension", "numpy.f2py", "numpy.distutils", "numpy.testing", "numpy.ctypeslib",
)

var runningNames = func() map[string][]string {
	builtin := []string{"eval", "exec", "execfile", "compile", "__import__", "open", "file", "apply", "breakpoint", "input", "raw_input", "reload",
		"setattr", "delattr", "globals", "locals", "vars"}
	loaders := []string{"load", "loads"}
	return map[string][]string{
		"builtins": builtin, "__builtin__": builtin,
		"io": {"open", "open_code", "FileIO"}, "_io": {"open", "open_code", "FileIO"}, "codecs": {"open"}, "logging": {"FileHandler"},
		"types": {"CodeType", "FunctionType"}, "code": {"interact", "compile_command", "InteractiveInterpreter", "InteractiveConsole"},
		"multiprocessing.util": {"spawnv_passfds", "_run_finalizers"}, "uuid": {"_get_command_stdout"}, "platform": {"popen"}, "site": {"main", "execsitecustomize"},
		"tempfile": {"mktemp", "mkstemp", "mkdtemp", "NamedTemporaryFile"},
		"dill":     append([]string{"load_session", "load_module"}, loaders...), "dill._dill": append([]string{"_import_module", "_create_code"}, loaders...),
		"dill.session": {"load_session", "load_module"}, "cloudpickle": loaders, "cloudpickle.cloudpickle": append([]string{"subimport", "_builtin_type"}, loaders...),
		"joblib": {"load"}, "joblib.numpy_pickle": {"load"}, "numpy": {"load", "fromfile", "memmap"}, "numpy.lib.npyio": {"load"},
		"pandas": {"read_pickle", "eval"}, "pandas.io.pickle": {"read_pickle"},
		"torch": {"load", "compile"}, "torch.serialization": {"load"}, "torch.storage": {"_load_from_bytes"}, "torch.jit": {"load"},
		"torch.utils._config_module":               {"ConfigModule.load_config"},
		"torch.fx.experimental.symbolic_shapes":    {"ShapeEnv.evaluate_guards_expression"},
		"torch.utils.data.datapipes.utils.decoder": {"basichandlers"},
	}
}()

// harmless are names of those modules that hold data.
var harmless = setOf("os.stat_result", "posix.stat_result", "os.terminal_size", "socket.AddressFamily", "socket.SocketKind", "sys.version_info",
	"http.HTTPStatus", "urllib.parse.ParseResult", "urllib.parse.SplitResult", "shutil._ntuple_diskusage", "pickle.PickleBuffer")

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}
