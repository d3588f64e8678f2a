package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/daemon"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// documented is what docs/operations.md says of a line of the log.
type documented struct {
	level  string
	fields []string
}

var logRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (info|warn|error) \\|(.*)\\|$")

func documentedLog(t *testing.T) map[string]documented {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	all := make(map[string]documented)
	for _, row := range logRow.FindAllStringSubmatch(string(page), -1) {
		require.NotContains(t, all, row[1])
		all[row[1]] = documented{level: row[2], fields: strings.Fields(strings.ReplaceAll(row[3], "`", ""))}
	}
	require.Greater(t, len(all), 30)
	return all
}

// Every event is logged with the level and the fields that the page promises.
func TestLogOfEvents(t *testing.T) {
	page := documentedLog(t)
	for kind, line := range logLines {
		var b bytes.Buffer
		logEvent(zerolog.New(&b), daemon.Event{Kind: kind, Watch: "w", Key: "k", Role: "r", Path: "/p", Reason: "why", Waits: []string{"x"}, Notes: []string{"n"},
			Root: "/r", To: "/t", Alert: string(status.AlertRunStalled), Target: "n", Git: "tracked", Digest: "d", Destination: "lab"})
		var fields map[string]any
		require.NoError(t, json.Unmarshal(b.Bytes(), &fields))
		require.Contains(t, page, line.text)
		require.Equal(t, page[line.text].level, fields["level"], line.text)
		for _, field := range page[line.text].fields {
			require.Contains(t, fields, field, line.text)
		}
	}
}

// The page lists every message and every field that the code can write, and nothing else.
func TestLogPageIsComplete(t *testing.T) {
	page := documentedLog(t)
	messages, fields := make(map[string]bool), make(map[string]bool)
	for _, line := range logLines {
		messages[line.text] = true
	}
	for _, root := range []string{".", filepath.Join("..", "..", "internal")} {
		require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				collectLog(t, path, messages, fields)
			}
			return err
		}))
	}
	for message := range messages {
		require.Contains(t, page, message, "docs/operations.md does not have it")
	}
	known := make(map[string]bool)
	for message, line := range page {
		require.True(t, messages[message], "nothing writes %q", message)
		for _, field := range line.fields {
			known[field] = true
			require.True(t, fields[field] || slices.Contains(eventFields, field), "nothing writes the field %q", field)
		}
	}
	for field := range fields {
		require.True(t, known[field], "docs/operations.md does not have the field %q", field)
	}
}

// eventFields are written by logEvent, and "error" by Err.
var eventFields = []string{"watch", "key", "role", "path", "reason", "waits", "root", "to", "git", "digest", "error", "alert", "target", "destination"}

var fieldMethods = map[string]bool{"Str": true, "Int": true, "Int64": true, "Float64": true, "Time": true, "Dur": true, "Bool": true, "Strs": true, "Stringer": true}

// collectLog finds what a file logs.
func collectLog(t *testing.T, path string, messages, fields map[string]bool) {
	t.Helper()
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	if !bytes.Contains(source, []byte("Msg(")) {
		return
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		literal, isLiteral := call.Args[0].(*ast.BasicLit)
		if !ok || !isLiteral || literal.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		require.NoError(t, err)
		switch {
		case method.Sel.Name == "Msg":
			messages[text] = true
		case fieldMethods[method.Sel.Name]:
			fields[text] = true
		}
		return true
	})
}
