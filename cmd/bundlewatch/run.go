package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/daemon"
)

func runDaemon(ctx context.Context, args []string) error {
	f, err := parse("run", args, true, false)
	if err != nil {
		return err
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
	}
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

// logEvent writes one line for each thing that an operator wants to know.
func logEvent(log zerolog.Logger, e daemon.Event) {
	level, text := zerolog.InfoLevel, ""
	switch e.Kind {
	case daemon.Bundled:
		text = "bundle published"
	case daemon.PublishedBefore:
		level, text = zerolog.DebugLevel, "published before"
	case daemon.Waiting:
		text = "set waits"
	case daemon.Expired:
		level, text = zerolog.WarnLevel, "set has waited too long"
	case daemon.Refused:
		level, text = zerolog.WarnLevel, "refused"
	case daemon.Failed:
		level, text = zerolog.ErrorLevel, "bundling failed; it is tried again"
	case daemon.Skipped:
		text = "file passed over"
	case daemon.RootGone:
		level, text = zerolog.ErrorLevel, "root is gone; waiting for it"
	case daemon.RootBack:
		text = "root is back"
	case daemon.Complete:
		text = "set is complete"
	case daemon.Healed:
		text = "artifact directory can be written again"
	case daemon.Stopped:
		level, text = zerolog.ErrorLevel, "nothing is started"
	case daemon.Started:
		text = "bundles are started again"
	case daemon.Renewed:
		level, text = zerolog.WarnLevel, "artifact directory was made anew; bundling every set again"
	case daemon.Hung:
		level, text = zerolog.ErrorLevel, "file system hangs; the others go on"
	case daemon.Answers:
		text = "file system answers again"
	case daemon.PackStalled:
		level, text = zerolog.ErrorLevel, "packing is stalled; the others go on"
	case daemon.PackMoves:
		text = "packing goes on"
	}
	if level < zerolog.InfoLevel {
		return
	}
	line := log.WithLevel(level)
	for _, field := range []struct{ name, value string }{{"watch", e.Watch}, {"key", e.Key}, {"role", e.Role}, {"path", e.Path}, {"reason", e.Reason},
		{"waits", strings.Join(e.Waits, "; ")}} {
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
	line.Msg(text)
}
