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
| ` + "`sent`" + ` | once | a bundle was sent to a ` + "`[[store]]`" + ` or ` + "`[[push]]`" + `, which is proved to hold it | ` + "`watch`" + ` ` + "`key`" + ` ` + "`path`" + ` (of the bundle) ` + "`bytes`" + ` ` + "`seconds`" + ` ` + "`destination`" + ` |
| ` + "`unsendable`" + ` | once | it does not take the bundle: other content has the name, or it was pruned there | ` + "`watch`" + ` ` + "`key`" + ` ` + "`path`" + ` ` + "`bytes`" + ` ` + "`reason`" + ` ` + "`destination`" + ` |
| ` + "`unsent`" + ` | once | the bundle did not get there; the next pass tries again | ` + "`watch`" + ` ` + "`key`" + ` ` + "`path`" + ` ` + "`reason`" + ` ` + "`destination`" + ` |
| ` + "`skipped`" + ` | once, check | a symbolic link, a directory that cannot be listed, or a file passed over for a newer one | ` + "`watch` `key` `role` `path` `reason`" + ` |
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
| ` + "`summary`" + ` | all of these | the last line: how many of each | ` + "`bundled` `published_before` `ready` `waiting` `refused` `failed` `sent` `skipped` `tidied` `tidy_ready` `tidy_left` `tidy_restored`" + ` |

` + "`store … --json`" + ` writes one object per line: ` + "`buried`" + ` (` + "`path` `reason`" + `), ` + "`removed`" + ` or, with ` + "`--dry-run`, `would`" + ` (` + "`store` `object` `upload` `bytes` `reason`" + `),
` + "`swept`" + ` at the end of each store (` + "`store` `objects` `bytes` `dry_run`" + `); ` + "`store probe`" + ` one of ` + "`store` `class` `fit` `lacks` `at`" + `.

` + "`status --json`" + ` writes what the daemon answers, see [status.md](status.md); with ` + "`--watch`" + ` one object every second.
` + "`verify --json`" + ` writes one object per bundle: ` + "`ok`, `path`, `kind`, `bytes`, `entries`, `tensors`, `problems`, `warnings`" + `.
` + "`inspect --json`" + ` writes one object: ` + "`path`, `kind`, `bytes`, `manifest`, `entries`, `params`, `pickles`" + ` (each with ` + "`tensors`" + ` and
` + "`imports`" + `).

` + "`" + `ls --json` + "`" + ` writes one object per bundle: ` + "`" + `state` + "`" + `, ` + "`" + `reason` + "`" + `, ` + "`" + `pinned` + "`" + `, ` + "`" + `watch` + "`" + `, ` + "`" + `run` + "`" + `, ` + "`" + `key` + "`" + `, ` + "`" + `version` + "`" + `, ` + "`" + `bytes` + "`" + `, ` + "`" + `published` + "`" + `, ` + "`" + `age_seconds` + "`" + `,
` + "`" + `metrics` + "`" + `, ` + "`" + `path` + "`" + `. ` + "`" + `diff --json` + "`" + ` writes one object: ` + "`" + `a` + "`" + `, ` + "`" + `b` + "`" + `, ` + "`" + `same` + "`" + `, ` + "`" + `params` + "`" + `, ` + "`" + `roles` + "`" + `, ` + "`" + `tensors` + "`" + ` (each with what ` + "`" + `differ` + "`" + `s, and dtype, shape and
SHA-256 of the elements of either side), ` + "`" + `equal_tensors` + "`" + `, ` + "`" + `notes` + "`" + `. ` + "`" + `unpack --json` + "`" + ` writes ` + "`" + `path` + "`" + `, ` + "`" + `files` + "`" + `, ` + "`" + `bytes` + "`" + `; ` + "`" + `pin` + "`" + ` and ` + "`" + `unpin` + "`" + ` one object per
bundle with ` + "`" + `pinned` + "`" + ` and ` + "`" + `changed` + "`" + `; ` + "`" + `prune` + "`" + ` and ` + "`" + `init` + "`" + ` see [retention](retention.md) and below.

` + "`" + `drain --json` + "`" + ` writes one object per bundle (` + "`" + `event` + "`" + ` is ` + "`" + `bundle` + "`" + `: ` + "`" + `watch` + "`" + `, ` + "`" + `key` + "`" + `, ` + "`" + `path` + "`" + `, ` + "`" + `bytes` + "`" + `, ` + "`" + `seconds` + "`" + `, ` + "`" + `at` + "`" + `), one per set that is not durable
(` + "`" + `left` + "`" + `: ` + "`" + `watch` + "`" + `, ` + "`" + `key` + "`" + `, ` + "`" + `state` + "`" + `, ` + "`" + `reasons` + "`" + `), and a last one (` + "`" + `drain` + "`" + `: ` + "`" + `job` + "`" + `, ` + "`" + `seconds` + "`" + `, ` + "`" + `bundled` + "`" + `, ` + "`" + `published_before` + "`" + `, ` + "`" + `left` + "`" + `, ` + "`" + `durable` + "`" + `, ` + "`" + `error` + "`" + `, ` + "`" + `resume` + "`" + `, which is
null when nothing is safe: ` + "`" + `watch` + "`" + `, ` + "`" + `key` + "`" + `, ` + "`" + `bundle` + "`" + `, ` + "`" + `archive` + "`" + `, ` + "`" + `archive_sha256` + "`" + `, ` + "`" + `saved` + "`" + `, ` + "`" + `path` + "`" + `, ` + "`" + `sha256` + "`" + `, ` + "`" + `members` + "`" + ` with ` + "`" + `role` + "`" + `, ` + "`" + `path` + "`" + `, ` + "`" + `sha256` + "`" + ` and,
where a file cannot be used, ` + "`" + `reason` + "`" + `). See [drain](drain.md).

## ls and latest: which state a bundle is in

There is no database: every call looks at the artifact directory. A look costs a few small reads for each bundle, whatever the size of its
archive, and holds one bundle at a time in memory (with ` + "`" + `--sort` + "`" + ` and ` + "`" + `--reverse` + "`" + ` one line for each).

| state | what was found |
|---|---|
| ` + "`" + `present` + "`" + ` | all files are there; the manifest is the file that ` + "`" + `SHA256SUMS` + "`" + ` lists, and lies where it was published; the archive has the size that the manifest says. Its bytes were not read |
| ` + "`" + `verified` + "`" + ` | with ` + "`" + `--verify` + "`" + `: every byte was read and proven, as ` + "`" + `bundlewatch verify` + "`" + ` does |
| ` + "`" + `damaged` + "`" + ` | something is missing or is not what the manifest says; the reason follows |
| ` + "`" + `pruned` + "`" + ` | [retention](retention.md) removed the archive |

` + "`" + `latest` + "`" + ` takes the newest ` + "`" + `present` + "`" + ` bundle by the time of publication and warns of damaged ones on standard error; with ` + "`" + `--verified` + "`" + ` it proves the
newest now, and goes on to the next when it is not whole. It prints the path alone, exit code 1 and nothing on standard output
when there is none: ` + "`" + `path=$(bundlewatch latest --verified --watch ptycho) || exit` + "`" + `.

## diff

Params are compared key by key, tensors by name, dtype, shape and the SHA-256 of their elements, however these lie in the
file. A checkpoint is held against one role of a bundle: the one named with ` + "`" + `--role` + "`" + `, the only one with weights, or the only one with the
same tensors. Where elements cannot be read one by one (sparse and quantized tensors, HDF5, directories) the files are compared.
Exit codes: 0 no difference, 3 they differ, 1 one of them cannot be read.

## unpack and cat

` + "`" + `unpack` + "`" + ` writes into a hidden directory beside the target and renames it at the end; the target must not exist or be empty. Every CRC and size is
checked on the way. Entries become plain files below the directory, whatever the archive says; a name that would leave it, a name twice, or more
bytes than the file system has room for refuse the archive. ` + "`" + `cat` + "`" + ` writes an entry as it is; to a terminal only printable text,
unless ` + "`" + `--binary` + "`" + ` says otherwise.

## sign, verify --key and keygen

` + "`" + `keygen` + "`" + ` writes ` + "`" + `signing.pem` + "`" + `, or FILE, and beside it the public key with the ending ` + "`" + `.pub` + "`" + `. ` + "`" + `sign` + "`" + ` proves a bundle whole and signs all of its files with ` + "`" + `--key` + "`" + `, else
with the key of the config; the signature goes to ` + "`" + `<base name of the bundle>.sig` + "`" + ` in the working directory, or to ` + "`" + `--output` + "`" + `, never into a
bundle. Neither overwrites anything. ` + "`" + `verify --key` + "`" + ` checks ` + "`" + `model.sig` + "`" + ` of each bundle, or with ` + "`" + `--signature` + "`" + ` that file, before anything else of the
bundle is looked at; a directory that is no bundle is taken too when it has a ` + "`" + `model.sig` + "`" + `, or with ` + "`" + `--signature` + "`" + `. See [signing.md](signing.md).

` + "`" + `verify --json` + "`" + ` has ` + "`" + `signed_by` + "`" + `, the fingerprint of the key, where the signature holds. ` + "`" + `sign --json` + "`" + ` writes ` + "`" + `path` + "`" + `, ` + "`" + `signature` + "`" + `, ` + "`" + `files` + "`" + `, ` + "`" + `signed_by` + "`" + `; ` + "`" + `keygen --json` + "`" + `
writes ` + "`" + `private` + "`" + `, ` + "`" + `public` + "`" + `, ` + "`" + `curve` + "`" + `, ` + "`" + `fingerprint` + "`" + `.

## init

` + "`" + `init` + "`" + ` looks at a run tree and writes a config for it. It opens a file or two of each family of names, changes nothing in the tree, follows no links
and never overwrites a config. A line that it is not sure of says so in a comment that begins with ` + "`" + `unsure` + "`" + `. ` + "`" + `--stdout` + "`" + ` prints the config
instead; ` + "`" + `--json` + "`" + ` writes the config and one object per watch: ` + "`" + `watch` + "`" + `, ` + "`" + `layout` + "`" + `, ` + "`" + `root` + "`" + `, ` + "`" + `members` + "`" + ` (` + "`" + `role` + "`" + `, ` + "`" + `pattern` + "`" + `, ` + "`" + `sentinel` + "`" + `, ` + "`" + `files` + "`" + `,
` + "`" + `unsure` + "`" + `), ` + "`" + `config` + "`" + `, ` + "`" + `preset` + "`" + `, ` + "`" + `keep` + "`" + `, ` + "`" + `select` + "`" + `, ` + "`" + `unsure` + "`" + `, and what ` + "`" + `check` + "`" + ` says of it: ` + "`" + `complete` + "`" + `, ` + "`" + `waiting` + "`" + `, ` + "`" + `refused` + "`" + `, ` + "`" + `reasons` + "`" + `, ` + "`" + `keys` + "`" + `; then a
` + "`" + `summary` + "`" + ` with ` + "`" + `path` + "`" + `, ` + "`" + `entries` + "`" + ` and ` + "`" + `notes` + "`" + `.

It knows the layouts of PtychoPINN, Lightning, Hugging Face's Trainer and Accelerate, DeepSpeed, torch.distributed.checkpoint, Orbax,
stable-baselines3, VITS and HiFi-GAN, and any other by what the names of files in one directory have in common: numbers and words such as ` + "`" + `best` + "`" + `
and ` + "`" + `last` + "`" + ` are what differs, the rest is the role. Bundles go to ` + "`" + `./artifacts` + "`" + `, or beside the tree where the config lies in it.
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
