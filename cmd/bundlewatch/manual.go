package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/manual"
)

func runCompletion(args []string) error {
	set := flag.NewFlagSet("completion", flag.ContinueOnError)
	shells, err := parseSet(set, args)
	if err != nil {
		return err
	}
	p, err := manual.Parse(usage)
	if err != nil {
		return err
	}
	scripts := map[string]func() string{"bash": p.Bash, "zsh": p.Zsh, "fish": p.Fish}
	if len(shells) != 1 || scripts[shells[0]] == nil {
		return &usageError{fmt.Sprintf("completion needs bash, zsh or fish, found %q", strings.Join(shells, " "))}
	}
	_, err = os.Stdout.WriteString(scripts[shells[0]]())
	return err
}

func runMan(args []string) error {
	f, err := parse("man", args, false, false)
	if err != nil {
		return err
	}
	if err := f.noPaths("man"); err != nil {
		return err
	}
	p, err := manual.Parse(usage)
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(p.Page(tool(), committed()))
	return err
}

// committed is when the commit was made that the program was built from: $SOURCE_DATE_EPOCH, which packagers set, or what the
// build noted; zero when neither is known.
func committed() time.Time {
	if seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(seconds, 0)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	i := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.time" })
	if i < 0 {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, info.Settings[i].Value)
	if err != nil {
		return time.Time{}
	}
	return at
}
