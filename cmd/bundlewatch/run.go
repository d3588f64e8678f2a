package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/daemon"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func runDaemon(ctx context.Context, args []string) error {
	var atStop time.Duration
	f, err := parse("run", args, true, false, func(set *flag.FlagSet) { set.DurationVar(&atStop, "drain", 0, "") })
	if err != nil {
		return err
	}
	if atStop < 0 {
		return &usageError{fmt.Sprintf("run: --drain %s is less than no time", atStop)}
	}
	if err := f.noPaths("run"); err != nil {
		return err
	}
	c, err := load(f.config)
	if err != nil {
		return err
	}
	log := zerolog.New(logWriter(os.Stderr)).With().Timestamp().Logger()
	log.Info().Str("version", tool()).Str("config", c.Path).Str("artifacts", c.Artifacts.Dir).Msg("starting")
	d := &daemon.Daemon{
		Options: daemon.Options{Tool: tool(), Emit: func(e daemon.Event) { logEvent(log, e) }},
		Log:     log,
		Load:    func() (*config.Config, error) { return load(c.Path) },
		Reload:  reloads(),
		Shown:   true,
		Listed:  endOfStart,
		AtStop:  atStop,
	}
	roomToStart()
	if err := d.Run(ctx, c); err != nil {
		log.Error().Err(err).Msg("cannot go on")
		return &loggedError{err}
	}
	log.Info().Msg("stopped")
	return nil
}

// reloads turns SIGHUP into requests; those that come while one is pending are the same request.
func reloads() <-chan struct{} {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	requests := make(chan struct{}, 1)
	go func() {
		for range hup {
			select {
			case requests <- struct{}{}:
			default:
			}
		}
	}()
	return requests
}

// logWriter writes logs as people or programs want them: coloured lines on a terminal, JSON lines
// elsewhere, with the priorities of sd-daemon(3) before them when the journal reads.
func logWriter(f *os.File) io.Writer {
	switch {
	case term.IsTerminal(int(f.Fd())):
		return zerolog.ConsoleWriter{Out: f, TimeFormat: "15:04:05"}
	case isJournal(f):
		return journalWriter{f}
	}
	return f
}

// isJournal tells whether f is the stream that systemd connected to the journal (systemd.exec(5),
// $JOURNAL_STREAM).
func isJournal(f *os.File) bool {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// journalWriter puts the priority of the level before each line.
type journalWriter struct{ w io.Writer }

// Write implements io.Writer, for lines of no level.
func (j journalWriter) Write(line []byte) (int, error) { return j.WriteLevel(zerolog.InfoLevel, line) }

// WriteLevel implements zerolog.LevelWriter.
func (j journalWriter) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	priority := "<6>"
	switch {
	case level >= zerolog.ErrorLevel && level <= zerolog.PanicLevel:
		priority = "<3>"
	case level == zerolog.WarnLevel:
		priority = "<4>"
	case level <= zerolog.DebugLevel:
		priority = "<7>"
	}
	var b bytes.Buffer
	b.WriteString(priority)
	b.Write(line)
	if _, err := j.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(line), nil
}

// logLine is what the log says of a kind of event.
type logLine struct {
	level zerolog.Level
	text  string
}

// logLines are the events that an operator wants to know. They are documented in docs/operations.md.
var logLines = map[daemon.Kind]logLine{
	daemon.Complete:    {zerolog.InfoLevel, "set is complete"},
	daemon.Bundled:     {zerolog.InfoLevel, "bundle published"},
	daemon.Waiting:     {zerolog.InfoLevel, "set waits"},
	daemon.Expired:     {zerolog.WarnLevel, "set has waited too long"},
	daemon.Refused:     {zerolog.WarnLevel, "refused"},
	daemon.Failed:      {zerolog.ErrorLevel, "bundling failed; it is tried again"},
	daemon.Healed:      {zerolog.InfoLevel, "artifact directory can be written again"},
	daemon.Skipped:     {zerolog.InfoLevel, "file passed over"},
	daemon.RootGone:    {zerolog.ErrorLevel, "root is gone; waiting for it"},
	daemon.RootBack:    {zerolog.InfoLevel, "root is back"},
	daemon.Stopped:     {zerolog.ErrorLevel, "nothing is started"},
	daemon.Started:     {zerolog.InfoLevel, "bundles are started again"},
	daemon.Renewed:     {zerolog.WarnLevel, "artifact directory was made anew; bundling every set again"},
	daemon.Hung:        {zerolog.ErrorLevel, "file system hangs; the others go on"},
	daemon.Answers:     {zerolog.InfoLevel, "file system answers again"},
	daemon.PackStalled: {zerolog.ErrorLevel, "packing is stalled; the others go on"},
	daemon.PackMoves:   {zerolog.InfoLevel, "packing goes on"},
	daemon.Sent:        {zerolog.InfoLevel, "bundle sent"},
	daemon.Unsendable:  {zerolog.ErrorLevel, "destination does not take a bundle"},
	daemon.SendFailing: {zerolog.ErrorLevel, "sending fails; it is tried again"},
	daemon.SendHealed:  {zerolog.InfoLevel, "sending works again"},
	daemon.Swept:       {zerolog.InfoLevel, "store swept"},
	daemon.SweepFailed: {zerolog.ErrorLevel, "sweeping fails; it is tried again"},

	daemon.Pruned:       {zerolog.InfoLevel, "archive pruned"},
	daemon.PruneFailed:  {zerolog.ErrorLevel, "retention failed; it is tried again"},
	daemon.AlertRaised:  {zerolog.WarnLevel, "alert"},
	daemon.AlertCleared: {zerolog.InfoLevel, "alert is over"},
	daemon.NotifyFails:  {zerolog.WarnLevel, "notification failed; it is tried again"},
	daemon.NotifyWorks:  {zerolog.InfoLevel, "notifications work again"},

	daemon.Tidied:       {zerolog.InfoLevel, "stray moved"},
	daemon.TidyResolved: {zerolog.WarnLevel, "interrupted move brought to an end"},
	daemon.TidyRefused:  {zerolog.WarnLevel, "stray not moved"},
	daemon.TidyFailed:   {zerolog.ErrorLevel, "moving strays failed; it is tried again"},
	daemon.TidyStopped:  {zerolog.ErrorLevel, "moving strays was stopped; it waits for a person"},
	daemon.TidyGone:     {zerolog.ErrorLevel, "root of strays is gone; waiting for it"},
	daemon.TidyBack:     {zerolog.InfoLevel, "root of strays is back"},
}

// logEvent writes one line for each thing that an operator wants to know.
func logEvent(log zerolog.Logger, e daemon.Event) {
	kind, ok := logLines[e.Kind]
	if !ok {
		return
	}
	if e.Alert != "" && e.Alert != string(status.AlertRunStalled) && e.Alert != string(status.AlertDestinationBehind) {
		e.Reason = "" // it has a line of its own
	}
	line := log.WithLevel(kind.level)
	for _, field := range []struct{ name, value string }{{"alert", e.Alert}, {"target", e.Target}, {"destination", e.Destination}, {"watch", e.Watch}, {"root", e.Root}, {"key", e.Key}, {"role", e.Role}, {"path", e.Path},
		{"to", e.To}, {"git", e.Git}, {"digest", e.Digest}, {"reason", e.Reason}, {"waits", strings.Join(e.Waits, "; ")}} {
		if field.value != "" {
			line = line.Str(field.name, field.value)
		}
	}
	if e.Kind == daemon.Bundled {
		line = line.Int64("bytes", e.Bytes).Int("tensors", e.Tensors).Float64("seconds", e.Seconds)
		if len(e.Notes) > 0 {
			line = line.Str("notes", strings.Join(e.Notes, "; "))
		}
	}
	if e.Kind == daemon.Sent {
		line = line.Int64("bytes", e.Bytes).Float64("seconds", e.Seconds)
	}
	if e.Kind == daemon.Swept {
		line = line.Int("objects", e.Objects).Int64("bytes", e.Bytes).Float64("seconds", e.Seconds)
	}
	if e.Kind == daemon.Pruned {
		line = line.Int64("bytes", e.Bytes)
	}
	line.Msg(kind.text)
}
