package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/configuration.md instead of comparing it")

type referenceTable struct {
	Header, Meaning string
	Keys            []referenceKey
}

type referenceKey struct{ Name, Kind, Default, Meaning string }

func reference(doc tableDoc) referenceTable {
	table := referenceTable{Header: doc.header, Meaning: doc.meaning}
	for _, key := range doc.keys {
		initial := "none"
		if key.required {
			initial = "required"
		} else if key.kind == "integer" && key.initial != "" {
			initial = "`" + key.initial + "`"
		} else if key.initial != "" {
			initial = "`" + strconv.Quote(key.initial) + "`"
			if key.kind == "integer" || key.kind == "boolean" {
				initial = "`" + key.initial + "`"
			}
		}
		table.Keys = append(table.Keys, referenceKey{key.name, key.kind, initial, key.meaning})
	}
	return table
}

// referenced are the tables of the page, in its order.
var referenced = []tableDoc{artifactsTable, watchTable, membersTable, snapshotTable, payloadTable, limitsTable, httpTable, statusTable, signTable, retentionTable, bestTable,
	alertsTable, notifyTable, tidyTable, storeTable, pushTable}

func TestReferencePageIsUpToDate(t *testing.T) {
	page := filepath.Join("..", "..", "docs", "configuration.md")
	var tables []referenceTable
	for _, doc := range referenced {
		tables = append(tables, reference(doc))
	}
	text, err := os.ReadFile(filepath.Join("testdata", "configuration.md.tmpl"))
	require.NoError(t, err)
	var want bytes.Buffer
	parsed, err := template.New("page").Parse(string(text))
	require.NoError(t, err)
	require.NoError(t, parsed.Execute(&want, map[string]any{"Tables": tables}))
	if *update {
		require.NoError(t, os.WriteFile(page, want.Bytes(), 0o644))
		return
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, want.String(), string(got), "docs/configuration.md is stale: run go generate ./internal/config")
}

func TestReferenceSaysWhatEveryKeyMeans(t *testing.T) {
	for _, doc := range append([]tableDoc{fileTable}, referenced...) {
		for _, key := range doc.keys {
			require.NotEmpty(t, key.kind, key.name)
			require.True(t, strings.HasSuffix(key.meaning, ".") || strings.HasSuffix(key.meaning, "`."), "%s: %q", key.name, key.meaning)
			require.NotContains(t, key.meaning, "|", "it would end the cell of the table")
		}
	}
}
