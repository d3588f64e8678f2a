package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/bundlewatch/bundlewatch/"

// layers are the packages from the outermost to the innermost. A package imports packages of the layers
// below its own, and of its own layer only those in siblings. A package that is not here has no layer yet.
var layers = [][]string{
	{"cmd/bundlewatch"},
	{"internal/daemon"},
	{"internal/bucket", "internal/registry"},
	{"internal/retention", "internal/backlog", "internal/page"},
	{"internal/shelf"},
	{"internal/layout", "internal/watch", "internal/pair", "internal/snapshot", "internal/bundle", "internal/store", "internal/status", "internal/tidy",
		"internal/notify"},
	{"internal/checkpoint", "internal/pickle", "internal/config", "internal/pattern", "internal/zipfile", "internal/score", "internal/archivefile",
		"internal/pagecache", "internal/tree", "internal/lease", "internal/signature", "internal/manual", "internal/provenance", "internal/twinsum",
		"internal/objectstore"},
	{"internal/names"},
}

var siblings = map[string][]string{
	"internal/checkpoint": {"internal/pickle", "internal/zipfile"},
	"internal/config":     {"internal/pattern"},
}

// banned are imports that no package has outside of its tests: a checkpoint is never run, nothing is sent
// anywhere that the config does not name, and the binary carries no test code.
var banned = []string{"os/exec", "net/http", "plugin", "testing", "github.com/stretchr/testify", "go.uber.org/goleak"}

// excepted are packages that have what is banned elsewhere.
var excepted = map[string][]string{
	"internal/registry":    {"net/http"},            // registries that the config or the command line names
	"internal/status":      {"net/http"},            // metrics and health on a listener that is off by default, and the status socket
	"internal/tidy":        {"os/exec"},             // the git of the host, which knows which strays are tracked
	"internal/notify":      {"net/http", "os/exec"}, // the webhooks and commands that [[notify]] names; none without it
	"internal/page":        {"net/http"},            // answers on that listener
	"internal/objectstore": {"net/http"},            // the stores of the config, and nobody else
}

func layerOf(pkg string) int {
	return slices.IndexFunc(layers, func(layer []string) bool { return slices.Contains(layer, pkg) })
}

// violation says what is wrong with an import, "" when nothing is.
func violation(pkg, imported string) string {
	for _, b := range banned {
		if slices.Contains(excepted[pkg], imported) {
			break
		}
		if imported == b || strings.HasPrefix(imported, b+"/") {
			return "is for tests only, or for nobody"
		}
	}
	to, ours := strings.CutPrefix(imported, module)
	switch {
	case !ours:
		return ""
	case layerOf(to) < 0:
		return "is in no layer: add it to layers"
	case layerOf(to) > layerOf(pkg), slices.Contains(siblings[pkg], to):
		return ""
	default:
		return "is not in a layer below: move what is shared further down"
	}
}

func TestLayers(t *testing.T) {
	seen := map[string]bool{}
	require.NoError(t, filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && isForeign(entry.Name()) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel("..", filepath.Dir(file))
		require.NoError(t, err)
		pkg := filepath.ToSlash(rel)
		if layerOf(pkg) < 0 && !strings.HasPrefix(pkg+"/", "internal/") && !strings.HasPrefix(pkg, "cmd/") {
			return nil // tools beside the program
		}
		seen[pkg] = true
		checkFile(t, pkg, file)
		return nil
	}))
	for pkg := range seen {
		require.GreaterOrEqual(t, layerOf(pkg), 0, "package %s is in no layer: add it to layers", pkg)
	}
	require.Contains(t, seen, "internal/pickle", "the walk did not reach the packages")
}

// isForeign tells directories that the go command does not look into.
func isForeign(name string) bool {
	return name == "testdata" || name == "vendor" || (name != ".." && strings.HasPrefix(name, ".")) || strings.HasPrefix(name, "_")
}

func checkFile(t *testing.T, pkg, file string) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	require.NoError(t, err)
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		if why := violation(pkg, imported); why != "" {
			t.Errorf("%s: %q %s", path.Join(pkg, filepath.Base(file)), imported, why)
		}
	}
}

func TestViolation(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		allowed       bool
	}{
		{"cmd/bundlewatch", module + "internal/daemon", true},
		{"cmd/bundlewatch", module + "internal/bundle", true},
		{"internal/daemon", module + "internal/watch", true},
		{"internal/daemon", module + "cmd/bundlewatch", false},
		{"internal/bundle", module + "internal/watch", false},
		{"internal/bundle", module + "internal/daemon", false},
		{"internal/bundle", module + "internal/pickle", true},
		{"internal/config", module + "internal/pattern", true},
		{"internal/config", module + "internal/zipfile", false},
		{"internal/pickle", module + "internal/checkpoint", false},
		{"internal/pickle", module + "internal/new", false},
		{"internal/pickle", "encoding/binary", true},
		{"internal/store", "os/exec", false},
		{"internal/tidy", "os/exec", true},
		{"internal/tidy", "net/http", false},
		{"internal/tidy", module + "internal/watch", false},
		{"internal/tidy", module + "internal/tree", true},
		{"internal/watch", "net/http", false},
		{"internal/daemon", "net/http", false},
		{"cmd/bundlewatch", "net/http", false},
		{"internal/status", "net/http", true},
		{"internal/notify", "net/http", true},
		{"internal/notify", "os/exec", true},
		{"internal/notify", module + "internal/status", false},
		{"internal/status", "net/http/pprof", false},
		{"internal/status", "os/exec", false},
		{"internal/status", module + "internal/watch", false},
		{"internal/daemon", module + "internal/status", true},
		{"internal/watch", "net/http/pprof", false},
		{"internal/watch", "github.com/stretchr/testify/require", false},
	} {
		require.Equal(t, c.allowed, violation(c.pkg, c.imported) == "", "%s imports %s", c.pkg, c.imported)
	}
}
