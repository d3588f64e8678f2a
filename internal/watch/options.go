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
	// Auto is Poll on network file systems, Inotify elsewhere; each file system that is mounted below the
	// root gets what it supports.
	Auto Source = iota
	// Inotify takes notifications from the kernel and lists the root every Options.Rescan.
	Inotify
	// Poll looks for changes every Options.Poll.
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
	// DefaultHeal is used when Options.Heal is zero.
	DefaultHeal = 30 * time.Second
	// DefaultPollOps is used when Options.PollOps is zero: a thousand calls a second.
	DefaultPollOps = 60_000
	// HurriedSettle is how long a file that is closed for certain must be unchanged while a watcher is in a
	// hurry: longer than the ticks of the clock that file systems take their times from (4 to 10 ms), so that
	// a change after the look cannot go unseen.
	HurriedSettle = 50 * time.Millisecond
	// NetworkSettle is the shortest settle time on a network file system. Where the mount options name a
	// time for which attributes are cached, it is a second longer than that.
	//
	// By default NFS clients believe cached attributes of a file that has just changed for 3 s (acregmin)
	// and of one that has not for up to 60 s (acregmax). These 60 s are not waited for, because nothing
	// rests on cached attributes: every look asks the server (AT_STATX_FORCE_SYNC, statx(2)), and so does
	// the open that follows (close-to-open consistency, nfs(5)). Writers that pause for longer than 5 s
	// between flushes need a longer Settle.
	NetworkSettle = 5 * time.Second
)

// Options say what to watch and how.
type Options struct {
	// Root is the directory to watch. It may be a symbolic link, and it may be missing for now.
	Root string
	// Want tells whether the file of this slash separated path below Root is of interest. It is called
	// often, from one goroutine, and must neither block nor keep rel, whose bytes are written over.
	Want func(rel string) bool
	// Source is how changes are noticed.
	Source Source
	// Settle is how long a file must be unchanged. Raised for files on network file systems, see
	// NetworkSettle.
	Settle time.Duration
	// Poll is the time between two passes over directories without a watch; the shortest effective
	// settle time of the file systems concerned when zero. Within a tenth of it, so that watchers do not
	// keep step. Slow file systems are polled less often, so that a pass is at work for no more than a
	// fifth of the time.
	Poll time.Duration
	// PollOps bounds the calls into the file system that passes make in a minute. They are spread
	// evenly. A listing that was asked for, or that a lost event calls for, is not bounded, nor is what a
	// file that was just written costs until it has settled.
	PollOps int
	// Rescan is the time after which every directory is read anew and every wanted file is looked at,
	// whatever was notified. Within a tenth of it.
	Rescan time.Duration
	// Heal is the time after which what could not be had is tried again: watches beyond the limit,
	// directories that could not be listed. Within a tenth of it.
	Heal time.Duration
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
	if o.Settle < 0 || o.Poll < 0 || o.Rescan < 0 || o.Heal < 0 {
		return o, fmt.Errorf("watch root %q: negative duration (settle %s, poll %s, rescan %s, heal %s)", o.Root, o.Settle, o.Poll, o.Rescan, o.Heal)
	}
	if o.PollOps < 0 {
		return o, fmt.Errorf("watch root %q: negative number of calls per minute: %d", o.Root, o.PollOps)
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
	if o.Heal == 0 {
		o.Heal = DefaultHeal
	}
	if o.PollOps == 0 {
		o.PollOps = DefaultPollOps
	}
	return o, nil
}
