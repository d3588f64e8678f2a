package bundle

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/provenance"
)

//go:generate go test -run TestManifestPage -update .

var update = flag.Bool("update", false, "write docs/manifest.md")

// docs/manifest.md is made of the doc tags of the manifest's types.
func TestManifestPage(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "manifest.md")
	page := manifestPage(t)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(page), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, page, string(got), "docs/manifest.md is stale: go generate ./internal/bundle")
}

const manifestIntro = `<!-- Made from internal/bundle/manifest.go by ` + "`go generate ./internal/bundle`" + `; edit there. -->

# The bundle's manifest

` + "`bundle_manifest.json`" + ` lies beside the archive and says what is in it, where it came from, and why it was thought
complete. It is UTF-8 JSON, one object. This page describes schema version %d. New fields may appear without a new version;
a field that changes its meaning or goes away raises it.

The archive itself holds ` + "`bundlewatch/manifest.json`" + `: the fields of this page that do not differ between hosts, times and
places of the same sources (` + "`schema_version`, `watch`, `key`, `members` without source, tensors and evidence, `params_source`,\n`config`, `notes`" + `). ` + "`bundlewatch verify`" + ` holds the two against each other and against the content.
`

func manifestPage(t *testing.T) string {
	var b strings.Builder
	fmt.Fprintf(&b, manifestIntro, Schema)
	for _, section := range []struct {
		title string
		value any
	}{
		{"The object", Manifest{}}, {"`archive`, `config[]`", Digest{}}, {"`archive_parts`", Parts{}}, {"`members[]`", Member{}}, {"`members[].source`", Source{}}, {"`members[].source.files[]`", SourceFile{}},
		{"`members[].evidence`", Evidence{}}, {"`provenance`", Provenance{}},
		{"`provenance.git[]`", provenance.Repository{}}, {"`provenance.gpus[]`", provenance.GPU{}}, {"`provenance.writers[]`", provenance.Writer{}},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| field | type | meaning |\n|---|---|---|\n", section.title)
		writeFields(t, &b, reflect.TypeOf(section.value))
	}
	fmt.Fprintf(&b, "\nNames of the environment that are recorded, and no others: `%s`.\n", strings.Join(provenance.Allowed, "`, `"))
	tensor := reflect.TypeFor[checkpoint.Tensor]()
	b.WriteString("\n## `members[].tensors[]`\n\n| field | meaning |\n|---|---|\n")
	for _, row := range [][2]string{
		{"name", "path of the tensor in the entry, with slashes between the keys of nested dicts"},
		{"dtype", "torch's name, such as `float32`; `?` when the file does not say"},
		{"shape", "dimensions"},
		{"bytes", "number of elements times the size of one; 0 when unknown"},
		{"storage", "key of the storage that it is a view of; tied tensors share one"},
		{"kind", "`parameter`, `quantized`, `sparse`, …; absent for a plain dense tensor"},
	} {
		require.True(t, hasField(tensor, row[0]), row[0])
		fmt.Fprintf(&b, "| `%s` | %s |\n", row[0], row[1])
	}
	return b.String()
}

func hasField(typ reflect.Type, name string) bool {
	for i := range typ.NumField() {
		if n, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ","); n == name {
			return true
		}
	}
	return false
}

func writeFields(t *testing.T, b *strings.Builder, typ reflect.Type) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			writeFields(t, b, f.Type)
			continue
		}
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		require.NotEmpty(t, f.Tag.Get("doc"), "%s.%s has no doc tag", typ.Name(), f.Name)
		kind := kindOf(f.Type)
		if strings.Contains(options, "omitempty") {
			kind += ", optional"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, kind, f.Tag.Get("doc"))
	}
}

func kindOf(typ reflect.Type) string {
	switch {
	case typ.String() == "time.Time":
		return "RFC 3339 time"
	case typ == reflect.TypeFor[checkpoint.TensorList]():
		return "array of object"
	case typ.String() == "json.RawMessage":
		return "object"
	}
	switch typ.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Slice:
		return "array of " + kindOf(typ.Elem())
	case reflect.Map:
		return "object of " + kindOf(typ.Elem())
	case reflect.Struct, reflect.Pointer:
		return "object"
	}
	return "number"
}
