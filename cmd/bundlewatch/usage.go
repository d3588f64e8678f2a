package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/config"
)

// usage is the help text, and the command line's page in docs/cli.md.
const usage = `bundlewatch packs completed checkpoint pairs, with the config that produced them,
into immutable archives (wts.h5.zip), from outside of the training process.

  bundlewatch run     [--config F] [--drain T]
                                              the daemon, until SIGTERM; SIGHUP reloads the config;
                                              with --drain SIGTERM drains first, for T at most
  bundlewatch once    [--no-send] [--config F] [--json]
                                              bundle all that is complete now, send the bundles where the
                                              config says, then exit
  bundlewatch check   [--config F] [--json]   validate the config; show what matches, which sets are
                                              complete, what the others wait for; change nothing
  bundlewatch drain   [--config F] [--job ID] [--timeout T] [--hook] [--json]
                                              before a job dies or is requeued: bundle now what is
                                              whole, and say what is safe to resume from
  bundlewatch status  [--config F] [--json] [--watch]
                                              what the running daemon does: roots, sets that wait and
                                              why, packs, the last bundles and refusals; 1 if none answers
  bundlewatch verify  PATH... [--download] [--config F] [--json]
                                              prove bundles whole: a bundle's directory, an archive, or
                                              a directory with bundles below it; of a store what it
                                              attests, or with --download every byte
  bundlewatch verify  --key PUB [--signature F] PATH... [--json]
                                              and that each was signed with that key, holds exactly what
                                              was signed, and nothing else
  bundlewatch sign    BUNDLE [--key F] [--output F] [--config F] [--json]
                                              a signature of a bundle, in a new file elsewhere
  bundlewatch keygen  [FILE] [--curve P-256|P-384|P-521] [--json]
                                              a key to sign with, and its public half
  bundlewatch inspect PATH [--config F] [--json]
                                              what a bundle, an archive or a checkpoint holds: entries,
                                              tensors, params, imports of every pickle
  bundlewatch ls      [--json] [--verify] [--sort key|published|size] [--reverse] [FILTER...]
  bundlewatch ls      URL [--json] [--verify] [--sort key|published|size] [FILTER...]
                                              the published bundles: state, size, age, watch, run, key
  bundlewatch latest  [URL] [--verified] [FILTER...]
                                              the path of the newest bundle and nothing else, for scripts
  bundlewatch diff    A B [--role R] [--config F] [--json]
                                              how params and tensors differ between two bundles, archives
                                              or checkpoints
  bundlewatch unpack  BUNDLE DIR [--config F] [--json]
                                              extract an archive into a new or empty directory
  bundlewatch cat     BUNDLE ENTRY [--binary] [--config F]
                                              one entry of an archive on standard output
  bundlewatch pin     KEY... [--json] [FILTER...]
  bundlewatch unpin   KEY... [--json] [FILTER...]
                                              keep the archive of a bundle, whatever [retention] says
  bundlewatch prune   [--dry-run] [--json] [--watch W] [--run R]
                                              remove the archives that [retention] does not keep
  bundlewatch push    BUNDLE REF [--ca-file F] [--credentials F] [--plain-http] [--json]
                                              send a bundle to an OCI registry: host/repository:tag; without
                                              a tag under one of its own. A tag is never overwritten
  bundlewatch pull    REF DIR [--ca-file F] [--credentials F] [--plain-http] [--json]
                                              bring one back, proved, into a new or empty directory
  bundlewatch notify  [NAME...] [--config F] [--json]
                                              send a test to the [[notify]] blocks, or to those named;
                                              1 if one does not take it
  bundlewatch store prune URL... [--reason TEXT] [--config F] [--json]
                                              put tombs: the bundles go with a sweep a day later, and
                                              no host brings them back
  bundlewatch store sweep [STORE] [--watch W] [--dry-run] [--config F] [--json]
                                              remove what was pruned, and what hosts left behind
  bundlewatch store probe [STORE] [--config F] [--json]
                                              what the store can be relied on for
  bundlewatch init    [DIR] [--output F | --stdout] [--artifacts D] [--json]
                                              look at a run tree and write a config for it
  bundlewatch tidy    [--config F] [--dry-run] [--resume] [--json]
                                              move stray files now; --dry-run shows what would be moved,
                                              --resume goes on after the storm guard stopped a block
  bundlewatch tidy undo DIR [--only NAME] [--json]
                                              put back what was moved to DIR and is still as it was
  bundlewatch completion bash|zsh|fish        completions for a shell, on standard output
  bundlewatch man                             this text as a manual page: bundlewatch man | man -l -
  bundlewatch version                         the version, and what it was built with
  bundlewatch help                            this text

  --config F       the configuration file; else $BUNDLEWATCH_CONFIG, ./bundlewatch.toml,
                   /etc/bundlewatch/bundlewatch.toml, the first that is there
  --json           one JSON object per line on standard output, and nothing else there
  --watch          show it again every second, until interrupted
  --ca-file F      certificates in PEM that are trusted besides the system's
  --credentials F  a config.json as docker login writes it, instead of the usual places
  --plain-http     without TLS, for a registry on this machine and no other

  --no-send    once: leave what has to go to a [[store]] or [[push]] to a daemon, or to the next pass

  --job ID     drain: only what lies below $SLURM_JOB_WORK_DIR or what this job was seen writing
  --timeout T  drain: end within this time, such as 90s; 60s unless given. Nothing is started in its last 5 s
  --hook       drain: exit code 0 whatever happens, for an epilog

  A URL is s3://STORE/WATCH/KEY, a bundle in the [[store]] of that name in the config. A PATH or BUNDLE may be
  one; ls, latest and verify also take a folder of them. What goes with --key is given with --download, too.

  FILTER is any of:
  --config F      whose artifact directory to look at; found as above when not given
  --artifacts D   the artifact directory, instead of the config's
  --watch W       of this watch
  --run R         of this run: what {run} captured
  --key GLOB      with such a key; * stands for any characters, also /, and ? for one
  --since T       published in the last 36h, 7d, 2w, or since 2026-01-31 or an RFC 3339 time

Results go to standard output, refusals, progress and logs to standard error: JSON lines when that is
no terminal, with priorities under systemd.

Exit codes: 0 all good; 1 it failed; 3 done in part: some sets, bundles or strays were refused, each
named, or a bundle is not what it claims (verify, ls --verify), or what was compared differs (diff), or
something is not durable yet (drain), or a destination does not take a bundle (once); what did not get
to a destination that fails is 1;
64 wrong usage; 75 another instance holds the lock; 78 wrong config.
`

// flags are what a verb was called with.
type flags struct {
	config string
	json   bool
	watch  bool
	paths  []string
}

// parse reads the flags of a verb. Flags may stand before and behind paths.
func parse(verb string, args []string, wantsConfig, wantsJSON bool, more ...func(*flag.FlagSet)) (flags, error) {
	var f flags
	set := flag.NewFlagSet(verb, flag.ContinueOnError)
	if wantsConfig {
		set.StringVar(&f.config, "config", "", "")
	}
	if wantsJSON {
		set.BoolVar(&f.json, "json", false, "")
	}
	if verb == "status" {
		set.BoolVar(&f.watch, "watch", false, "")
	}
	for _, add := range more {
		add(set)
	}
	var err error
	f.paths, err = parseSet(set, args)
	return f, err
}

// parseSet reads flags, which may stand before and behind the other arguments, and returns those.
func parseSet(set *flag.FlagSet, args []string) (others []string, err error) {
	set.SetOutput(io.Discard)
	args, behind := splitDashes(args)
	for len(args) > 0 {
		err := set.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return nil, errHelp
		}
		if err != nil {
			return nil, &usageError{fmt.Sprintf("%s: %v", set.Name(), err)}
		}
		if args = set.Args(); len(args) > 0 {
			others, args = append(others, args[0]), args[1:]
		}
	}
	return append(others, behind...), nil
}

// splitDashes cuts at "--", behind which there are only paths.
func splitDashes(args []string) (before, behind []string) {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i], args[i+1:]
	}
	return args, nil
}

// errHelp asks for the help text.
var errHelp = errors.New("help")

// errConfig marks a config that cannot be found or read.
var errConfig = errors.New("no usable config")

// load finds and reads the config.
func load(path string) (*config.Config, error) {
	found, err := config.Find(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConfig, err)
	}
	c, err := config.Load(found)
	if err != nil {
		var problems config.Problems
		if errors.As(err, &problems) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errConfig, err)
	}
	return c, nil
}

// noPaths refuses arguments that a verb does not take.
func (f flags) noPaths(verb string) error {
	if len(f.paths) == 0 {
		return nil
	}
	return &usageError{fmt.Sprintf("%s takes no path, found %q", verb, strings.Join(f.paths, " "))}
}
