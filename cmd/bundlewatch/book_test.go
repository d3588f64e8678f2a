package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pages returns the text of the README and of every page of docs/, by its path from the top of the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	all := make(map[string]string)
	for _, name := range append(names, "../../README.md") {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		all[strings.TrimPrefix(filepath.ToSlash(name), "../../")] = string(text)
	}
	require.Greater(t, len(all), 15)
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	noWord  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the fragments that a page's headings can be linked by, as the usual renderers make them.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		all[strings.ReplaceAll(noWord.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")] = true
	}
	return all
}

// Every link within the documentation leads somewhere, also its fragment, and every page can be reached
// from the book's first.
func TestLinksOfTheDocumentation(t *testing.T) {
	all, reached := pages(t), make(map[string]bool)
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
				require.FileExists(t, filepath.Join("..", "..", path), "%s links to %s", page, m[1])
			}
			if fragment != "" {
				require.True(t, anchors(all[path])[fragment], "%s links to %s, and there is no such heading", page, m[1])
			}
			if page == "docs/README.md" {
				reached[path] = true
			}
		}
	}
	for page := range all {
		if page != "README.md" && page != "docs/README.md" {
			require.True(t, reached[page], "docs/README.md has no link to %s", page)
		}
	}
}

var (
	messageRow  = regexp.MustCompile("(?m)^\\| (`[^|]+) \\|")
	messageText = regexp.MustCompile("`([^`]+)`")
)

// Every message on the page of troubles is one that the program can write.
func TestTroublesAreReal(t *testing.T) {
	said := literals(t, "../../cmd", "../../internal")
	said = append(said, "permission denied", "no space left on device", "read-only file system") // the kernel's
	rows := messageRow.FindAllStringSubmatch(pages(t)["docs/troubleshooting.md"], -1)
	require.Greater(t, len(rows), 30)
	for _, row := range rows {
		for _, message := range messageText.FindAllStringSubmatch(row[1], -1) {
			for _, part := range strings.Split(message[1], "…") {
				if !anyContains(said, strings.TrimSpace(part)) {
					t.Errorf("nothing says %q", message[1])
				}
			}
		}
	}
}

func anyContains(texts []string, part string) bool {
	for _, text := range texts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// literals returns the strings in the Go files below the roots, tests left out. Strings that are added up are one.
func literals(t *testing.T, roots ...string) (all []string) {
	t.Helper()
	for _, root := range roots {
		require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err == nil {
				ast.Inspect(file, func(n ast.Node) bool {
					text, ok := literal(n)
					if ok {
						all = append(all, text)
					}
					return !ok
				})
			}
			return err
		}))
	}
	return all
}

// literal is the text of a string, or of a sum of strings; what is no constant in a sum is left out.
func literal(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.BasicLit:
		if n.Kind == token.STRING {
			text, err := strconv.Unquote(n.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		left, leftOK := literal(n.X)
		right, rightOK := literal(n.Y)
		return left + right, n.Op == token.ADD && (leftOK || rightOK)
	}
	return "", false
}
