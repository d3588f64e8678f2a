package snapshot

import (
	"archive/zip"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// literal writes a value as Python would, so that int, float and bool, list and tuple are told apart.
func literal(v any) string {
	switch v := v.(type) {
	case *pickle.List:
		return "[" + literals(v.Items) + "]"
	case *pickle.Tuple:
		return "(" + literals(v.Items) + ",)"
	case *pickle.Dict:
		var pairs []string
		for key, value := range v.All() {
			pairs = append(pairs, literal(key)+": "+literal(value))
		}
		return "{" + strings.Join(pairs, ", ") + "}"
	case *pickle.Object:
		return "<" + v.ClassName() + ">"
	}
	text, ok := scalarRepr(v)
	if !ok {
		return fmt.Sprintf("<%T>", v)
	}
	return text
}

func literals(items []any) string {
	parts := make([]string, len(items))
	for i, item := range items {
		parts[i] = literal(item)
	}
	return strings.Join(parts, ", ")
}

// requirePlain proves that a value is plain, with no more nesting than is allowed.
func requirePlain(t *testing.T, v any, tuples bool, depth int) {
	t.Helper()
	require.LessOrEqual(t, depth, 2*maxDepth+2)
	switch v := v.(type) {
	case nil, bool, int64, *big.Int, float64, string:
	case *pickle.List:
		for _, item := range v.Items {
			requirePlain(t, item, tuples, depth+1)
		}
	case *pickle.Tuple:
		require.True(t, tuples, "a tuple among plain values")
		for _, item := range v.Items {
			requirePlain(t, item, tuples, depth+1)
		}
	case *pickle.Dict:
		for key, value := range v.All() {
			require.IsType(t, "", key)
			requirePlain(t, value, tuples, depth+1)
		}
	default:
		require.Failf(t, "not plain", "%T", v)
	}
}

func noteTexts(notes []Note, kind NoteKind) []string {
	var texts []string
	for _, n := range notes {
		if n.Kind == kind {
			texts = append(texts, strings.TrimSpace(n.Source+" "+n.Key)+": "+n.Text)
		}
	}
	return texts
}

// sharedRuns returns the folder of example runs, or skips the test.
func sharedRuns(t *testing.T) string {
	t.Helper()
	shared := os.Getenv("BUNDLEWATCH_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	runs := filepath.Join(shared, "fixtures", "runs")
	if _, err := os.Stat(runs); err != nil {
		t.Skipf("the example runs are not here; set BUNDLEWATCH_SHARED: %v", err)
	}
	return runs
}

// checkpointPickle decodes data.pkl of a torch zip.
func checkpointPickle(t *testing.T, file string) *pickle.Dict {
	t.Helper()
	archive, err := zip.OpenReader(file)
	require.NoError(t, err)
	defer archive.Close()
	for _, entry := range archive.File {
		if !strings.HasSuffix(entry.Name, "/data.pkl") {
			continue
		}
		f, err := entry.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(f)
		require.NoError(t, err)
		decoded, err := pickle.Decode(data)
		require.NoError(t, err)
		return decoded.Value.(*pickle.Dict)
	}
	require.Fail(t, "no data.pkl in "+file)
	return nil
}

func readFile(t *testing.T, dir, path string) File {
	t.Helper()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	file, err := Read(root, path, path)
	require.NoError(t, err)
	return file
}
