package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func runStatus(ctx context.Context, args []string) error {
	f, err := parse("status", args, true, true)
	if err != nil {
		return err
	}
	if err := f.noPaths("status"); err != nil {
		return err
	}
	sockets, err := socketsOf(f.config)
	if err != nil {
		return err
	}
	if f.watch {
		return watchStatus(ctx, sockets, f.json)
	}
	return showStatus(ctx, os.Stdout, sockets, f.json)
}

// socketsOf returns where the daemon of a config can be asked. A config that is broken leads to the only
// daemon that there is.
func socketsOf(path string) ([]string, error) {
	found, err := config.Find(path)
	if err != nil {
		return onlySocket(fmt.Errorf("%w: %w", errConfig, err))
	}
	c, err := config.Locate(found)
	if err != nil {
		var problems config.Problems
		if !errors.As(err, &problems) {
			err = fmt.Errorf("%w: %w", errConfig, err)
		}
		if path == "" || problems != nil {
			return onlySocket(err)
		}
		return nil, err
	}
	return status.Candidates(c.Status.Socket, c.Artifacts.Dir), nil
}

func onlySocket(why error) ([]string, error) {
	sockets := status.Sockets()
	if len(sockets) != 1 {
		return nil, why
	}
	fmt.Fprintf(os.Stderr, "bundlewatch: warning: %v\nbundlewatch: hint: this is the only daemon that was found\n", why)
	return sockets, nil
}

// ask asks the first socket that answers.
func ask(ctx context.Context, sockets []string) (*status.Snapshot, []byte, error) {
	if len(sockets) == 0 {
		return nil, nil, errors.New("no place where a daemon could have its socket: $XDG_RUNTIME_DIR is not set; set socket under [status]")
	}
	var denied, first error
	for _, path := range sockets {
		s, line, err := status.Ask(ctx, path)
		switch {
		case err == nil:
			return s, line, nil
		case errors.Is(err, fs.ErrPermission):
			denied = fmt.Errorf("%w: only the daemon's user and group may ask; be in that group", err)
		case first == nil || !errors.Is(err, fs.ErrNotExist):
			first = err
		}
	}
	if denied != nil {
		return nil, nil, denied
	}
	return nil, nil, fmt.Errorf("no daemon answers for this config: %w; is it running? looked at %s", first, strings.Join(sockets, ", "))
}

func showStatus(ctx context.Context, w io.Writer, sockets []string, asJSON bool) error {
	s, line, err := ask(ctx, sockets)
	if err != nil {
		return err
	}
	if asJSON {
		_, err = w.Write(line)
	} else {
		_, err = io.WriteString(w, statusText(s))
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// refresh is the time between two looks of status --watch.
const refresh = time.Second

// watchStatus shows the status again and again until it is interrupted, which is no failure.
func watchStatus(ctx context.Context, sockets []string, asJSON bool) error {
	turn := time.NewTicker(refresh)
	defer turn.Stop()
	for {
		err := showAgain(ctx, sockets, asJSON)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-turn.C:
		}
	}
}

// showAgain writes one picture; on a terminal over the one before, cut to its height.
func showAgain(ctx context.Context, sockets []string, asJSON bool) error {
	fd := int(os.Stdout.Fd())
	if asJSON || !term.IsTerminal(fd) {
		return showStatus(ctx, os.Stdout, sockets, asJSON)
	}
	var picture strings.Builder
	if err := showStatus(ctx, &picture, sockets, false); err != nil {
		return err
	}
	width, height, err := term.GetSize(fd)
	if err != nil {
		width, height = 80, 24
	}
	if _, err := io.WriteString(os.Stdout, "\x1b[H"+fit(picture.String(), width, height)+"\x1b[J"); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// fit cuts a text to a terminal, and clears what is left of each line.
func fit(text string, width, height int) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if height > 1 && len(lines) > height-1 {
		lines = append(lines[:height-2], "…")
	}
	for i, line := range lines {
		if runes := []rune(line); width > 1 && len(runes) > width-1 {
			line = string(runes[:width-2]) + "…"
		}
		lines[i] = line + "\x1b[K"
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// statusText writes a snapshot for people.
func statusText(s *status.Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, pid %d, up %s\n", visible(s.Tool), s.PID, lasting(s.Uptime))
	fmt.Fprintf(&b, "config    %s%s\n", visible(s.Config), reloaded(s.Reload))
	fmt.Fprintf(&b, "artifacts %s: %s\n", visible(s.Artifacts.Dir), roomText(s.Artifacts))
	fmt.Fprintf(&b, "limits    %s\n", limitsText(s))
	if s.HTTP.Listen != "" {
		fmt.Fprintf(&b, "http      %s\n", visible(s.HTTP.Listen))
	}
	b.WriteString(operatorText(s))
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "problem   %s\n", visible(p))
	}
	if !s.Ready {
		fmt.Fprintf(&b, "starting  not every root was listed yet\n")
	}
	for i := range s.Watches {
		b.WriteString(watchText(&s.Watches[i]))
	}
	b.WriteString(packsText(s.Packs))
	for i := range s.Destinations {
		b.WriteString(destinationText(&s.Destinations[i]))
	}
	b.WriteString(lastText(s))
	return b.String()
}

func reloaded(r status.Reload) string {
	switch {
	case r.Error != "":
		return ", refused at the last reload " + clock(r.At) + ": " + visible(r.Error)
	case r.At != nil:
		return ", reloaded " + clock(r.At)
	}
	return ""
}

func roomText(a status.Artifacts) string {
	text := fmt.Sprintf("%s of %s free", status.Size(a.Free), status.Size(a.Size))
	if a.Floor > 0 {
		text += ", at least " + status.Size(a.Floor) + " must stay so"
	}
	return text
}

func limitsText(s *status.Snapshot) string {
	rate := "no read rate"
	if s.Limits.ReadRate > 0 {
		rate = status.Size(s.Limits.ReadRate) + "/s"
	}
	cpu := "any number of processors"
	if s.Limits.CPU > 0 {
		cpu = fmt.Sprintf("%g %% of a processor", s.Limits.CPU)
	}
	return fmt.Sprintf("%s, %s, %s, %d of %d descriptors kept", count(s.Limits.Workers, "worker"), cpu, rate, s.Limits.Kept, s.Limits.KeptFiles)
}

func watchText(w *status.Watch) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nwatch %s: %s\n", visible(w.Name), visible(w.Root))
	fmt.Fprintf(&b, "  %s\n", sourceText(w))
	fmt.Fprintf(&b, "  %s, %s, %d being written; %s\n", dirs(w.Directories), count(w.Files, "matching file"), w.FilesWaiting, scanText(w.Scan))
	fmt.Fprintf(&b, "  %s\n", setsText(w))
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, p := range w.Pending {
		fmt.Fprintf(t, "    %s\t%s\t%s\t%s\n", p.State, visible(p.Key), lasting(p.Seconds), visible(strings.Join(p.Waits, "; ")))
	}
	t.Flush() // into memory
	if w.LeftOut > 0 {
		fmt.Fprintf(&b, "    and %d more, which wait for less long\n", w.LeftOut)
	}
	return b.String()
}

func sourceText(w *status.Watch) string {
	text := "noticed by " + w.Source
	if w.FileSystem != "" {
		text += " on " + visible(w.FileSystem)
	}
	if w.Settle > 0 {
		text += fmt.Sprintf(", settle %s", time.Duration(w.Settle*float64(time.Second)))
	}
	switch {
	case w.Hung != nil:
		text += fmt.Sprintf("; HANGS for %s in %q of %q", lasting(w.Hung.Seconds), w.Hung.Op, w.Hung.Path)
	case w.Gone != "":
		text += "; NOT THERE: " + visible(w.Gone)
	case w.Degraded != "":
		text += "; DEGRADED to polling: " + visible(w.Degraded)
	}
	if len(w.Mounts) == 1 { // the root's, which is told above
		return text
	}
	for _, m := range w.Mounts {
		text += fmt.Sprintf("\n  mount %s: %s by %s", visible(m.Path), visible(m.FileSystem), visible(m.Source))
		if m.Degraded != "" {
			text += "; DEGRADED: " + visible(m.Degraded)
		}
	}
	return text
}

func dirs(n int) string {
	if n == 1 {
		return "1 directory"
	}
	return fmt.Sprintf("%d directories", n)
}

func scanText(s status.Scan) string {
	if s.Ended == nil {
		return "not listed yet"
	}
	text := "listed " + clock(s.Ended)
	if s.Seconds > 0 {
		text += fmt.Sprintf(" in %s", seconds(s.Seconds))
	}
	if s.Operations > 0 {
		text += fmt.Sprintf(" with %d calls", s.Operations)
	}
	return text
}

func setsText(w *status.Watch) string {
	parts := []string{fmt.Sprintf("%s known, %d published", count(w.Sets.Known, "set"), w.Sets.Published)}
	for _, state := range status.States {
		if n := w.Sets.Pending[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(parts, ", ")
}

func packsText(packs []status.Pack) string {
	var b strings.Builder
	for i, p := range packs {
		if i == 0 {
			b.WriteString("\npacking\n")
		}
		fmt.Fprintf(&b, "  %s %s: %s of %s, %d%%, %s/s", visible(p.Watch), visible(p.Key), status.Size(p.Bytes), status.Size(p.Total), p.Percent(), status.Size(p.Rate))
		switch {
		case p.Stalled && p.In != nil:
			fmt.Fprintf(&b, "; STALLED for %s in %q of %q", lasting(p.In.Seconds), p.In.Op, p.In.Path)
		case p.Stalled:
			b.WriteString("; STALLED")
		case p.ETA > 0:
			fmt.Fprintf(&b, ", ETA %s", lasting(p.ETA))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func lastText(s *status.Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nsince the start: %s, %s, %s, %d waited too long\n", count(s.Counts.Published, "bundle"), count(s.Counts.Refused, "refusal"),
		count(s.Counts.Failed, "failure"), s.Counts.Expired)
	for _, p := range s.Bundles {
		fmt.Fprintf(&b, "  bundled %s  %s %s -> %s (%s, %s)\n", clock(&p.At), visible(p.Watch), visible(p.Key), visible(filepath.Clean(p.Path)), status.Size(p.Bytes), seconds(p.Seconds))
	}
	for _, r := range s.Refusals {
		var where []string
		for _, part := range []string{r.Role, r.Path} {
			if part != "" {
				where = append(where, visible(part)+": ")
			}
		}
		fmt.Fprintf(&b, "  refused %s  %s %s: %s%s\n", clock(&r.At), visible(r.Watch), visible(r.Key), strings.Join(where, ""), visible(r.Reason))
	}
	return b.String()
}

// clock writes a moment, with its day when that is another one.
func clock(t *time.Time) string {
	if t == nil {
		return "never"
	}
	local := t.Local()
	if time.Since(local) > 20*time.Hour {
		return local.Format("2006-01-02 15:04:05")
	}
	return local.Format("15:04:05")
}

// lasting writes a number of seconds for people.
func lasting(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return d.Truncate(time.Second).String()
}
