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

  bundlewatch run     [--config F]            the daemon, until SIGTERM; SIGHUP reloads the config
  bundlewatch once    [--config F] [--json]   bundle all that is complete now, then exit
  bundlewatch check   [--config F] [--json]   validate the config; show what matches, which sets are
                                              complete, what the others wait for; change nothing
  bundlewatch verify  PATH... [--json]        prove bundles whole: a bundle's directory, an archive, or
                                              a directory with bundles below it
  bundlewatch inspect PATH [--json]           what a bundle, an archive or a checkpoint holds: entries,
                                              tensors, params, imports of every pickle
  bundlewatch tidy    [--config F] [--dry-run] [--resume] [--json]
                                              move stray files now; --dry-run shows what would be moved,
                                              --resume goes on after the storm guard stopped a block
  bundlewatch tidy undo DIR [--only NAME] [--json]
                                              put back what was moved to DIR and is still as it was
  bundlewatch version
  bundlewatch help

  --config F   the configuration file; else $BUNDLEWATCH_CONFIG, ./bundlewatch.toml,
               /etc/bundlewatch/bundlewatch.toml, the first that is there
  --json       one JSON object per line on standard output, and nothing else there

Results go to standard output, refusals, progress and logs to standard error: JSON lines when that is
no terminal, with priorities under systemd.

Exit codes: 0 all good; 1 it failed; 3 done in part: some sets, bundles or strays were refused, each
named; 64 wrong usage; 75 another instance holds the lock; 78 wrong config.
`

// flags are what a verb was called with.
type flags struct {
	config string
	json   bool
	paths  []string
}

// parse reads the flags of a verb. Flags may stand before and behind paths.
func parse(verb string, args []string, wantsConfig, wantsJSON bool, more ...func(*flag.FlagSet)) (flags, error) {
	var f flags
	set := flag.NewFlagSet(verb, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	if wantsConfig {
		set.StringVar(&f.config, "config", "", "")
	}
	if wantsJSON {
		set.BoolVar(&f.json, "json", false, "")
	}
	for _, add := range more {
		add(set)
	}
	args, behind := splitDashes(args)
	for len(args) > 0 {
		err := set.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return f, errHelp
		}
		if err != nil {
			return f, &usageError{fmt.Sprintf("%s: %v", verb, err)}
		}
		if args = set.Args(); len(args) > 0 {
			f.paths, args = append(f.paths, args[0]), args[1:]
		}
	}
	f.paths = append(f.paths, behind...)
	return f, nil
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
