package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// drainOrder asks for all that can be bundled now.
type drainOrder struct {
	ctx     context.Context
	below   []string // only sets with a file below one of these; nil for all
	asked   time.Time
	startBy time.Time      // nothing is started later
	look    bool           // only tell what is left
	last    bool           // nothing is started any more after it
	stopped func() string  // why no bundles are started; "" when they are
	parts   chan drainPart // one for each watch, in time or not at all; has room for all
	watches chan []*running
}

// drainPart is what became of the drain of one watch.
type drainPart struct {
	watch string
	status.Drained
}

// Drain bundles all that can be bundled now, the newest set first: files that the kernel knows to be closed need
// not be quiet for long. It returns when nothing is left to do, when the time is over, or when the context is done,
// with what is left; a root that hangs is left like anything else.
func (d *Daemon) Drain(ctx context.Context, r status.DrainRequest) status.Drained {
	return d.drain(ctx, r, false)
}

func (d *Daemon) drain(ctx context.Context, r status.DrainRequest, last bool) status.Drained {
	now := time.Now()
	startBy, answerBy := r.Times(now)
	ctx, stop := context.WithDeadline(ctx, answerBy)
	defer stop()
	o := &drainOrder{ctx: ctx, below: r.Below, asked: now, startBy: startBy, look: r.Look, last: last,
		stopped: func() string { return d.keeper.shown.Load().stopped }, watches: make(chan []*running, 1)}
	out, watches := d.publishAll(o)
	out.Left = append(out.Left, d.upload(o, watches)...)
	slices.SortStableFunc(out.Left, func(a, b status.Left) int { return strings.Compare(a.Watch, b.Watch) })
	return out
}

// publishAll is the first stage of a drain: what is complete becomes bundles in the artifact directory. It returns the
// watches that the order is about, too.
func (d *Daemon) publishAll(o *drainOrder) (status.Drained, map[string]bool) {
	out := status.Drained{Bundled: []status.Bundle{}, Left: []status.Left{}}
	over := o.ctx.Done()
	select {
	case d.drains <- o:
	case <-over:
		out.Left = append(out.Left, status.Left{Reasons: []string{"there was no time to begin"}})
		return out, nil
	}
	waits, watches := make(map[string]*running), make(map[string]bool)
	for _, r := range <-o.watches {
		waits[r.watch.Name] = r
		watches[r.watch.Name] = o.below == nil || Overlaps(r.watch.Root, o.below)
	}
	late := time.NewTimer(time.Until(o.end()) + handOver)
	defer late.Stop()
	for len(waits) > 0 {
		select {
		case p := <-o.parts:
			delete(waits, p.watch)
			out.Bundled = append(out.Bundled, p.Bundled...)
			out.Left = append(out.Left, p.Left...)
			out.Before += p.Before
		case <-over:
			late.Reset(handOver)
			over = nil
		case <-late.C:
			for _, r := range waits {
				out.Left = append(out.Left, r.unheard().Left...)
			}
			clear(waits)
		}
	}
	return out, watches
}

// handOver is how long a loop may take to tell what it knows.
const handOver = 500 * time.Millisecond

func (o *drainOrder) end() time.Time {
	end, _ := o.ctx.Deadline()
	return end
}

// unheard is what is left of a watch that did not answer.
func (r *running) unheard() drainPart {
	reason := "it did not answer in time"
	if in := r.ward().in; in != nil {
		reason = fmt.Sprintf("its file system has not come back from %q of %q", in.op, in.path)
	}
	return r.hangs(reason)
}

func (r *running) hangs(reason string) drainPart {
	return drainPart{watch: r.watch.Name, Drained: status.Drained{Left: []status.Left{{Watch: r.watch.Name, Reasons: []string{reason}}}}}
}

// passOn hands an order to all loops. One that does not take it hangs, and is waited for no longer than the others.
func (d *Daemon) passOn(o *drainOrder) {
	var all []*running
	for _, r := range d.loops {
		all = append(all, r)
	}
	o.parts = make(chan drainPart, len(all))
	for _, r := range all {
		if in := d.vigil.callOf(r.ward().name); in != nil {
			o.parts <- r.hangs(fmt.Sprintf("its file system has not come back from %q of %q for %s", in.Op, in.Path, duration(in.Seconds)))
			continue
		}
		q := &draining{drainOrder: o}
		go func() {
			select {
			case r.asked <- q:
			case <-r.done:
				o.parts <- r.hangs("the watch was ended by a reload or a stop")
			case <-o.ctx.Done():
			}
		}()
	}
	if !o.look {
		d.drainsEnd = latest(d.drainsEnd, o.end())
		d.Log.Info().Str("within", time.Until(o.end()).Round(time.Second).String()).Msg("draining")
	}
	o.watches <- all
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// drainLast drains before the daemon stops. The returned channel is closed when that is over.
func (d *Daemon) drainLast(ctx context.Context) <-chan struct{} {
	over := make(chan struct{})
	c := d.config
	go func() {
		defer close(over)
		ctx, stop := context.WithTimeout(ctx, d.AtStop)
		defer stop()
		out := d.drain(ctx, status.NewDrainRequest(d.AtStop, nil), true)
		for _, l := range out.Left {
			d.Log.Warn().Str("watch", l.Watch).Str("key", clip(l.Key)).Str("reason", clip(strings.Join(l.Reasons, "; "))).Msg("left by the drain")
		}
		d.logResume(ctx, c)
	}()
	return over
}

func (d *Daemon) logResume(ctx context.Context, c *config.Config) {
	p, err := FindResume(ctx, c, nil)
	if err == nil {
		err = p.Hash(ctx)
	}
	if err != nil {
		d.Log.Warn().Err(err).Msg("nothing is known to be safe to resume from")
		return
	}
	d.Log.Info().Str("watch", p.Watch).Str("key", clip(p.Key)).Str("path", p.Path).Str("sha256", p.SHA256).Msg("safe to resume from")
}

// DrainAlone drains where no daemon runs: it is one for as long as that takes, under the same lock, that moves no
// strays, removes no archives, sweeps no store and notifies nobody. It sends bundles where the config says. The error is for a drain
// that could not begin.
func DrainAlone(ctx context.Context, c *config.Config, opts Options, r status.DrainRequest) (status.Drained, error) {
	alone := *c
	alone.Tidies, alone.Notify, alone.Watches, alone.Stores = nil, nil, slices.Clone(c.Watches), slices.Clone(c.Stores)
	for i := range alone.Stores {
		alone.Stores[i].Sweep = false
	}
	for i := range alone.Watches {
		alone.Watches[i].Retention = config.Retention{}
	}
	d := &Daemon{Options: opts, Log: zerolog.Nop(), grace: handOver, drains: make(chan *drainOrder)}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- d.Run(working, &alone) }()
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	drained := make(chan status.Drained, 1)
	go func() { drained <- d.drain(ctx, r, true) }()
	select {
	case err := <-ended:
		stop()
		giveUp()
		return <-drained, err
	case out := <-drained:
		stop()
		return out, <-ended
	}
}

// Overlaps tells whether a root can have files below one of the directories.
func Overlaps(root string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return under(root, dir) || under(dir, root) })
}

// under tells whether a path is a directory or below it.
func under(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
