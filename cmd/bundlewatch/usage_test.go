package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

//go:generate go test -run TestCommandLinePage -update .

var update = flag.Bool("update", false, "write docs/cli.md")

const cliPage = `<!-- Made from cmd/bundlewatch/usage.go by ` + "`go generate ./cmd/bundlewatch`" + `; edit there. -->

# The command line

` + "```\n" + usage + "```" + `

## --json

Each line is one JSON object with a field ` + "`event`" + `. Fields that are empty are left out.

| event | of | meaning | fields |
|---|---|---|---|
| ` + "`watch`" + ` | check | a watch, before its sets | ` + "`watch` `path` (of the root) `files` (that match) `sets`" + ` |
| ` + "`bundle`" + ` | once | a bundle was published | ` + "`watch` `key` `path` (of the bundle) `members` `tensors` `bytes` `seconds` `notes`" + ` |
| ` + "`published_before`" + ` | once, check | the set was published earlier, with the same content | ` + "`watch` `key` `path`" + ` |
| ` + "`ready`" + ` | check | the set is complete and would be bundled | ` + "`watch` `key` `members` (paths)" + ` |
| ` + "`waiting`" + ` | once, check | the set is not complete | ` + "`watch` `key` `waits` (one text per role)" + ` |
| ` + "`refused`" + ` | once, check | a file or set cannot be bundled as it is | ` + "`watch` `key` `role` `path` (of the file) `reason`" + ` |
| ` + "`failed`" + ` | once | bundling failed for a reason outside of the set, such as a full disk | ` + "`watch` `key` `reason`" + ` |
| ` + "`skipped`" + ` | once, check | a symbolic link, or a file passed over for a newer one | ` + "`watch` `key` `role` `path` `reason`" + ` |
| ` + "`root_gone`" + ` | once, check | the root of a watch is missing | ` + "`watch` `path` `reason`" + ` |
| ` + "`tidied`" + ` | tidy | a stray was moved; a ` + "`reason`" + ` tells what else there is to say | ` + "`root` `path` `to` `bytes` `digest` `git` `reason`" + ` |
| ` + "`tidy_ready`" + ` | tidy --dry-run, check | a stray would be moved | ` + "`root` `path` `to` `bytes` `git`" + ` |
| ` + "`tidy_left`" + ` | tidy, check | a file matches and is left alone | ` + "`root` `path` `reason`" + ` |
| ` + "`tidy_refused`" + ` | tidy, check | a stray, or a whole root, that cannot be tidied as it is | ` + "`root` `path` `reason`" + ` |
| ` + "`tidy_failed`" + ` | tidy, check | the disk failed or is full | ` + "`root` `path` `reason`" + ` |
| ` + "`tidy_stopped`" + ` | tidy, check | the storm guard has stopped a block | ` + "`root` `reason`" + ` |
| ` + "`tidy_gone`" + ` | tidy, check | the root of a block is missing | ` + "`root` `reason`" + ` |
| ` + "`tidy_resolved`" + ` | tidy | a move that a crash had interrupted was brought to its end | ` + "`root` `path` `to` `reason`" + ` |
| ` + "`tidy_restored`" + ` | tidy undo | a stray was put back | ` + "`root` `path` `to` `bytes` `digest` `git` `reason`" + ` |
| ` + "`undo_refused`" + ` | tidy undo | it cannot be put back | ` + "`root` `path` `to` `reason`" + ` |
| ` + "`summary`" + ` | all of these | the last line: how many of each | ` + "`bundled` `published_before` `ready` `waiting` `refused` `failed` `skipped` `tidied` `tidy_ready` `tidy_left` `tidy_restored`" + ` |

` + "`verify --json`" + ` writes one object per bundle: ` + "`ok`, `path`, `kind`, `bytes`, `entries`, `tensors`, `problems`, `warnings`" + `.
` + "`inspect --json`" + ` writes one object: ` + "`path`, `kind`, `bytes`, `manifest`, `entries`, `params`, `pickles`" + ` (each with ` + "`tensors`" + ` and
` + "`imports`" + `).
`

// docs/cli.md holds the help text word for word.
func TestCommandLinePage(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(cliPage), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, cliPage, string(got), "docs/cli.md is stale: go generate ./cmd/bundlewatch")
}
