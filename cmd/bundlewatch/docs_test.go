package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

var tomlBlock = regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")

// minimal is what a block that is only a part of a config is added to.
const minimal = "[artifacts]\ndir = \"/a\"\n[[watch]]\nname = \"w\"\nroot = \"/r\"\nmembers = { m = \"{run...}/m-{epoch}.pt\" }\n"

// Every TOML block of the documentation and the README is a config, or a part of one.
func TestDocumentedConfigsAreValid(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	blocks := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range tomlBlock.FindAllStringSubmatch(string(text), -1) {
			blocks++
			source := m[1]
			if !strings.Contains(source, "[artifacts]") {
				source = minimal + source
			}
			_, err := config.Parse("/etc/bundlewatch/bundlewatch.toml", source)
			require.NoError(t, err, "%s:\n%s", page, m[1])
		}
	}
	require.Greater(t, blocks, 4)
}

// The two configs of the page for PtychoPINN's users match the example runs that are in those layouts, also
// with the page's retention added.
func TestConfigsForPtychoPINNMatchItsRuns(t *testing.T) {
	text, err := os.ReadFile("../../docs/ptychopinn.md")
	require.NoError(t, err)
	blocks := tomlBlock.FindAllStringSubmatch(string(text), -1)
	require.Len(t, blocks, 3)
	for i, c := range []struct{ runs, want string }{{"unified", "3 complete"}, {"pairs", "2 complete, 1 waiting"}} {
		for _, more := range []string{"", blocks[2][1]} {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(filepath.Join(dir, "runs"), os.DirFS("../../examples/runs/"+c.runs)))
			file := filepath.Join(dir, "bundlewatch.toml")
			require.NoError(t, os.WriteFile(file, []byte(blocks[i][1]+more), 0o644))
			out, code := captured(t, "check", "--config", file)
			require.Zero(t, code, out)
			require.True(t, strings.HasSuffix(out, "\n"+c.want+"\n"), out)
		}
	}
}
