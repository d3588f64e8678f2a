package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/page.md has the keys of [http] in the words of the reference.
func TestPageOfThePageHasTheKeys(t *testing.T) {
	const page, begin, end = "../../docs/page.md", "<!-- keys of [http], from internal/config -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), begin)
	require.True(t, found)
	_, after, found := strings.Cut(rest, end)
	require.True(t, found)
	var rows strings.Builder
	rows.WriteString("\n| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, key := range reference(httpTable).Keys {
		fmt.Fprintf(&rows, "| `%s` | %s | %s | %s |\n", key.Name, key.Kind, key.Default, key.Meaning)
	}
	want := before + begin + rows.String() + "\n" + end + after
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(text), "docs/page.md is stale: run go generate ./internal/config")
}
