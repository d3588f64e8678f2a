package status

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/status.md names every field of the JSON object and every state.
func TestStatusPageIsComplete(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "status.md"))
	require.NoError(t, err)
	seen := make(map[reflect.Type]bool)
	var visit func(reflect.Type)
	visit = func(kind reflect.Type) {
		switch kind.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			visit(kind.Elem())
		case reflect.Struct:
			if seen[kind] || kind.PkgPath() == "time" {
				return
			}
			seen[kind] = true
			for i := range kind.NumField() {
				name, options, ok := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
				if !kind.Field(i).IsExported() {
					continue
				}
				require.NotEmpty(t, name, kind.Field(i).Name)
				require.Contains(t, string(page), "`"+name+"`", "docs/status.md does not have it")
				if ok && options == "omitempty" {
					require.Contains(t, string(page), "`"+name+"`?", "docs/status.md does not say that it can be missing")
				}
				visit(kind.Field(i).Type)
			}
		}
	}
	visit(reflect.TypeFor[Snapshot]())
	require.Len(t, seen, 27)
	for _, state := range States {
		require.Contains(t, string(page), "| `"+string(state)+"` |")
	}
}
