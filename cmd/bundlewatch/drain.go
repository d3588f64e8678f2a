package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/daemon"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// drainTime is how long a drain takes at most unless --timeout says otherwise.
const drainTime = time.Minute

// drainFlags are what drain was called with.
type drainFlags struct {
	flags
	job     string
	timeout time.Duration
	hook    bool
}

func runDrain(ctx context.Context, args []string) error {
	f := drainFlags{timeout: drainTime}
	var err error
	f.flags, err = parse("drain", args, true, true, func(set *flag.FlagSet) {
		set.StringVar(&f.job, "job", "", "")
		set.DurationVar(&f.timeout, "timeout", drainTime, "")
		set.BoolVar(&f.hook, "hook", false, "")
	})
	if err == nil {
		err = f.noPaths("drain")
	}
	if err == nil && f.timeout <= 0 {
		err = &usageError{fmt.Sprintf("drain: --timeout %s leaves no time", f.timeout)}
	}
	if err != nil && !errors.Is(err, errHelp) && wantsHook(args) {
		report(os.Stderr, err)
		return nil
	}
	if err != nil {
		return err
	}
	return newDrain(f).run(ctx)
}

// wantsHook tells whether flags that could not be read have --hook among them.
func wantsHook(args []string) bool {
	for _, a := range args {
		if a == "--hook" || a == "-hook" {
			return true
		}
	}
	return false
}

// drain is one drain. What it found can be told at any time, also when a file system does not answer.
type drain struct {
	drainFlags
	begun time.Time
	out   io.Writer
	err   io.Writer
	bar   *sendingBar

	mu     sync.Mutex // guards what follows
	step   string     // what is done now, for people
	about  string     // the directory of the job
	result *status.Drained
	resume *daemon.Resume
	why    error // there is no resume
}

func newDrain(f drainFlags) *drain {
	return &drain{drainFlags: f, begun: time.Now(), out: os.Stdout, err: os.Stderr, bar: newSendingBar(), step: "read the config", why: errors.New("it was not looked for yet")}
}

// tellTime is how long before the end of its time a drain tells what it knows, whatever it still waits for.
const tellTime = 500 * time.Millisecond

// run drains. It ends in time, however long file systems take.
func (d *drain) run(ctx context.Context) error {
	if d.hook { // whatever happens, such as a pipe that nobody reads
		last := time.AfterFunc(d.timeout-tellTime/5, func() { os.Exit(exitOK) })
		defer last.Stop()
	}
	over := make(chan error, 1)
	go func() { over <- d.work(ctx) }()
	timer := time.NewTimer(time.Until(d.begun.Add(max(d.timeout-tellTime, d.timeout/2))))
	defer timer.Stop()
	select {
	case err := <-over:
		return d.exit(err)
	case <-timer.C:
		return d.exit(fmt.Errorf("%w while trying to %s: nothing is known of what came after", errTimeOver, d.doing()))
	}
}

// errTimeOver tells that something took longer than the drain may.
var errTimeOver = errors.New("drain: the time is over")

// exit tells all that is known, and returns the error that makes the exit code.
func (d *drain) exit(err error) error {
	d.bar.End()
	code := d.tell(err)
	if d.hook {
		if code != nil && !errors.Is(code, errPartial) {
			report(d.err, code)
		}
		return nil
	}
	return code
}

func (d *drain) doing() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.step
}

// do notes what is done next.
func (d *drain) do(step string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.step = step
}

// work drains and looks for what a job can resume from.
func (d *drain) work(ctx context.Context) error {
	os.Unsetenv("NOTIFY_SOCKET") // that of a service which this is not
	os.Unsetenv("WATCHDOG_USEC")
	c, err := load(d.config)
	if err != nil {
		return err
	}
	below, err := d.scope(ctx, c)
	if err != nil {
		return err
	}
	if below != nil && len(below) == 0 {
		d.finish(status.Drained{}, nil, daemon.ErrNoResume)
		return nil
	}
	go d.findArchive(ctx, c, below)
	d.do("drain")
	result, err := d.drainNow(ctx, c, below)
	d.bar.Clear()
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.result = &result
	d.mu.Unlock()
	d.findResume(ctx, c, below)
	return nil
}

func (d *drain) finish(result status.Drained, resume *daemon.Resume, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.result, d.resume, d.why = &result, resume, why
}

// findArchive finds what was safe before the drain, for the case that nothing is learned after it.
func (d *drain) findArchive(ctx context.Context, c *config.Config, below []string) {
	ctx, stop := d.shortly(ctx)
	defer stop()
	r, err := daemon.FindResume(ctx, c, below)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.resume == nil {
		d.resume, d.why = r, err
	}
}

// findResume finds what a job can resume from, and reads the trainer's own files of it.
func (d *drain) findResume(ctx context.Context, c *config.Config, below []string) {
	d.do("find what is safe to resume from")
	ctx, stop := d.shortly(ctx)
	defer stop()
	r, err := daemon.FindResume(ctx, c, below)
	if err != nil {
		d.know(nil, err)
		return
	}
	d.know(r, nil)
	d.do("read the files that are safe to resume from")
	hashed := r.Clone()
	_ = hashed.Hash(ctx) // what was not read in time is told of the member
	d.know(hashed, nil)
}

// know takes an answer, unless it only says less than an earlier one.
func (d *drain) know(r *daemon.Resume, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r != nil || d.resume == nil {
		d.resume, d.why = r, err
	}
}

// afterSignal is for how long a drain goes on that was told to stop: what it is for is told all the same.
const afterSignal = 2 * time.Second

// shortly is a context for work until all is told. A signal does not end it at once, but soon.
func (d *drain) shortly(ctx context.Context) (context.Context, context.CancelFunc) {
	out, stop := context.WithDeadline(context.WithoutCancel(ctx), d.begun.Add(d.timeout-tellTime*3/2))
	forget := context.AfterFunc(ctx, func() { time.AfterFunc(afterSignal, stop) })
	return out, func() { forget(); stop() }
}

// drainNow lets the daemon drain or, where none runs, does it itself.
func (d *drain) drainNow(ctx context.Context, c *config.Config, below []string) (status.Drained, error) {
	request := status.NewDrainRequest(d.timeout-time.Since(d.begun), below)
	sockets := status.Candidates(c.Status.Socket, c.Artifacts.Dir)
	end := d.bar.follow(ctx, sockets)
	out, err := askToDrain(ctx, sockets, request)
	end()
	if ctx.Err() != nil && err != nil { // a signal: the daemon is asked once more, for what is left
		rest, stop := context.WithTimeout(context.WithoutCancel(ctx), afterSignal)
		defer stop()
		request.Look = true
		out, err = askToDrain(rest, sockets, request)
	}
	if errors.Is(err, errNoDaemon) {
		if len(c.Watches) == 0 {
			return status.Drained{}, nil
		}
		return daemon.DrainAlone(ctx, c, daemon.Options{Tool: tool(), Emit: func(daemon.Event) {}, Sending: d.bar.Show}, request)
	}
	if err != nil {
		return status.Drained{}, err
	}
	return *out, nil
}

// errNoDaemon tells that nobody answers.
var errNoDaemon = errors.New("no daemon answers")

// askToDrain asks the first daemon that answers.
func askToDrain(ctx context.Context, sockets []string, r status.DrainRequest) (*status.Drained, error) {
	var denied error
	for _, path := range sockets {
		out, err := status.Drain(ctx, path, r)
		switch {
		case err == nil:
			return out, nil
		case errors.Is(err, fs.ErrPermission):
			denied = fmt.Errorf("%w: only the daemon's user and group may ask; be in that group", err)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED):
			return nil, err
		}
	}
	return nil, cmp.Or(denied, errNoDaemon)
}

// scope returns the directories that a drain is restricted to: nil for no restriction, and an empty list when no root
// has to do with the job.
func (d *drain) scope(ctx context.Context, c *config.Config) ([]string, error) {
	if d.job == "" {
		return nil, nil
	}
	d.do("find the directory of the job")
	dir := os.Getenv("SLURM_JOB_WORK_DIR")
	if id := os.Getenv("SLURM_JOB_ID"); dir == "" || (id != "" && id != d.job) {
		return d.recorded(ctx, c)
	}
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("drain job %s: $SLURM_JOB_WORK_DIR is %q, which is no absolute path", d.job, dir)
	}
	below := inRoots(c, dir)
	d.mu.Lock()
	d.about = dir
	d.mu.Unlock()
	return below, nil
}

// recorded returns the directories that the job was seen writing to, and no restriction when there are none.
func (d *drain) recorded(ctx context.Context, c *config.Config) ([]string, error) {
	ctx, stop := context.WithTimeout(ctx, d.timeout/4)
	defer stop()
	dirs, err := daemon.JobDirs(ctx, c, d.job)
	if len(dirs) > 0 {
		return dirs, nil
	}
	why := "$SLURM_JOB_WORK_DIR is that of no job or of another one, and no bundle was seen being written by it"
	if err != nil {
		why += " (" + err.Error() + ")"
	}
	fmt.Fprintf(d.err, "bundlewatch: warning: the directories of job %s are not known: %s; draining all roots: what is safe to resume from may be of another job\n",
		visible(d.job), visible(why))
	return nil, nil
}

// inRoots returns what of the roots of a config lies in a directory, in the words of the config: links may lead to
// either. Nothing is an empty list.
func inRoots(c *config.Config, dir string) []string {
	below := []string{}
	dir, real := filepath.Clean(dir), realPath(dir)
	for _, w := range c.Watches {
		if daemon.Overlaps(w.Root, []string{dir}) {
			below = append(below, dir)
			continue
		}
		root := realPath(w.Root)
		if rel, err := filepath.Rel(root, real); err == nil && filepath.IsLocal(rel) {
			below = append(below, filepath.Join(w.Root, rel))
		} else if daemon.Overlaps(root, []string{real}) {
			below = append(below, w.Root)
		}
	}
	return below
}

// realPath follows the links in a path, as long as its file system answers in time.
func realPath(path string) string {
	found := make(chan string, 1)
	go func() {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			real = path
		}
		found <- real
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case real := <-found:
		return real
	case <-timer.C:
		return path
	}
}

// drainSummary is the last line of --json.
type drainSummary struct {
	Event   string         `json:"event"`
	Job     string         `json:"job,omitempty"`
	Seconds float64        `json:"seconds"`
	Bundled int            `json:"bundled"`
	Before  int            `json:"published_before"`
	Left    int            `json:"left"`
	Durable bool           `json:"durable"` // nothing is left
	Error   string         `json:"error,omitempty"`
	Resume  *daemon.Resume `json:"resume"` // null when nothing is safe
}

// tell writes what became of the drain, once, and returns the error that makes the exit code.
func (d *drain) tell(failure error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	result := status.Drained{}
	if d.result != nil {
		result = *d.result
	}
	t := &teller{verb: "drain", json: d.json, out: d.out, err: d.err}
	for _, b := range result.Bundled {
		d.line(t, drainedBundle{"bundle", b}, fmt.Sprintf("bundled   %s %s -> %s (%s, %s)", b.Watch, visible(b.Key), visible(b.Path), status.Size(b.Bytes), seconds(b.Seconds)))
	}
	for _, l := range result.Left {
		d.line(t, drainedLeft{"left", l}, describeLeft(l))
	}
	d.tellEnd(t, result, failure)
	switch {
	case t.lost != nil:
		return fmt.Errorf("write results: %w", t.lost)
	case failure != nil && d.result == nil && !errors.Is(failure, errTimeOver):
		return failure
	case failure != nil:
		report(d.err, failure)
		return errPartial
	case len(result.Left) > 0:
		return errPartial
	}
	return nil
}

// The lines of --json before the last one.
type (
	drainedBundle struct {
		Event string `json:"event"`
		status.Bundle
	}
	drainedLeft struct {
		Event string `json:"event"`
		status.Left
	}
)

func (d *drain) line(t *teller, object any, text string) {
	if d.json {
		t.object(object)
	} else {
		t.line(text)
	}
}

func describeLeft(l status.Left) string {
	subject := l.Watch
	if l.Key != "" {
		subject += " " + visible(l.Key)
	}
	if l.State != "" {
		subject += " (" + string(l.State) + ")"
	}
	return fmt.Sprintf("left      %s: %s", subject, visible(strings.Join(l.Reasons, "; ")))
}

func (d *drain) tellEnd(t *teller, result status.Drained, failure error) {
	if d.json {
		s := drainSummary{Event: "drain", Job: d.job, Seconds: time.Since(d.begun).Seconds(), Bundled: len(result.Bundled), Before: result.Before,
			Left: len(result.Left), Durable: failure == nil && len(result.Left) == 0, Resume: d.resume}
		if failure != nil {
			s.Error = failure.Error()
		}
		t.object(s)
		return
	}
	if d.about != "" && failure == nil && d.resume == nil && len(result.Left) == 0 && result.Before == 0 && len(result.Bundled) == 0 {
		t.line("no root has a set below " + visible(d.about))
	}
	t.line(fmt.Sprintf("%d bundled, %d published before, %d left", len(result.Bundled), result.Before, len(result.Left)))
	r := d.resume
	if r == nil {
		t.line("nothing is safe to resume from: " + visible(d.why.Error()))
		return
	}
	t.line(fmt.Sprintf("bundle    %s %s: %s", r.Watch, visible(r.Key), visible(r.Bundle)))
	for _, m := range r.Members {
		t.line(fmt.Sprintf("member    %s: %s %s", m.Role, visible(m.Path), visible(cmp.Or(m.SHA256, m.Reason))))
	}
	t.line("safe to resume from: " + visible(r.Path) + " " + r.SHA256)
}
