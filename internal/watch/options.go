package watch

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
)

// Source says how changes are noticed.
type Source int

const (
	// Auto is Poll on network file systems, Inotify elsewhere.
	Auto Source = iota
	// Inotify takes notifications from the kernel and lists the root every Options.Rescan.
	Inotify
	// Poll lists the root every Options.Poll.
	Poll
)

var sourceNames = [...]string{Auto: "auto", Inotify: "inotify", Poll: "poll"}

// String returns the name that the source has in a config: auto, inotify or poll.
func (s Source) String() string {
	if s < Auto || int(s) >= len(sourceNames) {
		return fmt.Sprintf("source %d", int(s))
	}
	return sourceNames[s]
}

// UnmarshalText sets the source from its name.
func (s *Source) UnmarshalText(text []byte) error {
	for i, name := range sourceNames {
		if name == string(text) {
			*s = Source(i)
			return nil
		}
	}
	return fmt.Errorf("parse source %q: want auto, inotify or poll", text)
}

const (
	// DefaultSettle is used when Options.Settle is zero.
	DefaultSettle = time.Second
	// DefaultRescan is used when Options.Rescan is zero.
	DefaultRescan = 5 * time.Minute
	// NetworkSettle is the shortest settle time on a network file system.
	//
	// NFS clients believe cached attributes of a file that has just changed for 3 s (acregmin) and of
	// one that has not for up to 60 s (acregmax). 60 s is not waited for, because the conclusion never
	// rests on cached attributes: the file is opened anew, and an open asks the server
	// (close-to-open consistency, nfs(5)). Mounts with "nocto" or a longer acregmin need a longer
	// Settle, as do writers that pause for longer than 5 s between flushes.
	NetworkSettle = 5 * time.Second
)

// Options say what to watch and how.
type Options struct {
	// Root is the directory to watch. It may be a symbolic link, and it may be missing for now.
	Root string
	// Want tells whether the file of this slash separated path below Root is of interest. It is called
	// often, from one goroutine, and must not block.
	Want func(rel string) bool
	// Source is how changes are noticed.
	Source Source
	// Settle is how long a file must be unchanged. Raised to NetworkSettle for files on network file
	// systems.
	Settle time.Duration
	// Poll is the time between two listings with source Poll, or where notifications are not to be
	// had; the effective settle time of the root when zero. Huge trees are listed less often, so that
	// listing takes no more than a twentieth of the time.
	Poll time.Duration
	// Rescan is the time between two listings with source Inotify.
	Rescan time.Duration
	// NoFiles makes Settled facts come without an open file, for callers that only report.
	NoFiles bool
	Logger  zerolog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Root == "" {
		return o, errors.New("watch root: no directory given")
	}
	if o.Want == nil {
		return o, fmt.Errorf("watch root %q: nothing says which files are wanted", o.Root)
	}
	if o.Settle < 0 || o.Poll < 0 || o.Rescan < 0 {
		return o, fmt.Errorf("watch root %q: negative duration (settle %s, poll %s, rescan %s)", o.Root, o.Settle, o.Poll, o.Rescan)
	}
	if o.Source < Auto || o.Source > Poll {
		return o, fmt.Errorf("watch root %q: no such source: %d", o.Root, int(o.Source))
	}
	abs, err := filepath.Abs(o.Root)
	if err != nil {
		return o, fmt.Errorf("watch root %q: %w", o.Root, err)
	}
	o.Root = abs
	if o.Settle == 0 {
		o.Settle = DefaultSettle
	}
	if o.Rescan == 0 {
		o.Rescan = DefaultRescan
	}
	return o, nil
}
