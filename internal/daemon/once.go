package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/rs/zerolog"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/provenance"
	"github.com/bundlewatch/bundlewatch/internal/store"
	"github.com/bundlewatch/bundlewatch/internal/tidy"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// Once bundles all sets that are complete now, and brings their bundles, also those that were published before, to the
// destinations of the config. What happens to each is told by events; the error is about the pass as a whole.
func Once(ctx context.Context, c *config.Config, opts Options) (err error) {
	if len(c.Watches) == 0 {
		return nil
	}
	key, err := SigningKey(c)
	if err != nil {
		return err
	}
	s, err := store.Open(c.Artifacts.Dir, bundle.ManifestName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	p := newPacker(s, opts, c.Limits)
	p.room.budget.Store(c.Artifacts.Budget)
	p.key.Store(key)
	p.witness = provenance.NewWitness("/proc")
	defer p.witness.Close()
	var paths []string
	emit := opts.Emit
	opts.Emit = func(e Event) {
		if (e.Kind == Bundled || e.Kind == PublishedBefore) && e.Path != "" {
			paths = append(paths, e.Path)
		}
		emit(e)
	}
	for _, w := range c.Watches {
		e := newEngine(w, s, opts)
		if _, err := e.look(ctx); err != nil {
			return err
		}
		if err := e.bundleAll(ctx, p); err != nil {
			return err
		}
	}
	if opts.NoSend {
		return nil
	}
	return sendOnce(ctx, targets(c, opts.Tool), c.Artifacts.Dir, paths, opts)
}

// Check tells what matches, which sets are complete and what the others wait for. It changes nothing.
func Check(ctx context.Context, c *config.Config, opts Options) error {
	for _, w := range c.Watches {
		e := newEngine(w, store.Look(c.Artifacts.Dir, bundle.ManifestName), opts)
		files, err := e.look(ctx)
		if err != nil {
			return err
		}
		sets := e.table.Sets()
		e.emit(Event{Kind: Watched, Path: e.watch.Root, Files: files, Sets: len(sets)})
		for _, s := range sets {
			e.passedOver(s)
			e.settleTrees(s)
			switch v, _ := e.judge(s); v {
			case waits:
				e.report(s)
			case published:
				e.emit(Event{Kind: PublishedBefore, Key: s.Key, Path: e.publishedAs(s)})
			default:
				if e.readSmall(ctx, s) {
					e.emit(Event{Kind: Ready, Key: s.Key, Members: e.paths(s)})
				} else {
					e.report(s)
				}
			}
		}
	}
	return Tidy(ctx, c, opts, tidy.Options{DryRun: true})
}

// maxChecked is the size up to which check reads what a member says its checksums are of; once reads all.
const maxChecked = 256 << 20

// readSmall holds the members of a complete set that are not large against their checksums. What is wrong with one is
// told by its candidate.
func (e *engine) readSmall(ctx context.Context, s *set) bool {
	whole := true
	for role, f := range e.files(s) {
		src := &source{role: role, file: f}
		err := src.open(access{root: e.watch.Root, pulse: e.pulse}, e.watch.Payload)
		if err == nil {
			err = src.content.check(ctx, maxChecked)
		}
		closeAll(src.opened)
		if err != nil {
			m := s.Candidate(role, f.path)
			m.Wait, m.Refused, whole = err, isVerdict(err), false
		}
	}
	return whole
}

func newPacker(s *store.Local, opts Options, l config.Limits) *packer {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	throttle := newThrottle()
	throttle.setRate(l.ReadRate)
	throttle.setCPU(cmp.Or(l.CPU, math.Inf(1)))
	return &packer{store: s, tool: opts.Tool, host: host, opts: opts, progress: opts.Progress, room: newRoom(s.Dir(), l.FreeSpace),
		throttle: throttle}
}

// look lists the root, proves what has settled, and returns how many files match. A missing root is told,
// not an error.
func (e *engine) look(ctx context.Context) (files int, err error) {
	facts, err := watch.Once(ctx, watch.Options{Root: e.watch.Root, Want: e.wants, Settle: e.watch.Settle, NoFiles: true, Logger: zerolog.Nop()})
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		e.emit(Event{Kind: RootGone, Path: e.watch.Root, Reason: err.Error()})
		return 0, nil
	}
	for _, f := range facts {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		e.take(f)
		if f.Kind != watch.Unlisted {
			files++
		}
	}
	return files, nil
}

func (e *engine) bundleAll(ctx context.Context, p *packer) error {
	for _, s := range e.table.Sets() {
		e.passedOver(s)
		e.settleTrees(s)
		v, same := e.judge(s)
		switch v {
		case waits:
			e.report(s)
		case published:
			e.emit(Event{Kind: PublishedBefore, Key: s.Key, Path: e.publishedAs(s)})
		default:
			j := e.job(s, same)
			e.finish(s, j, p.pack(ctx, j))
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped before all sets were bundled: %w", err)
		}
	}
	return nil
}

// settleTrees opens the directories of a set that have settled.
func (e *engine) settleTrees(s *set) {
	for _, r := range e.table.Roles() {
		if m := s.Member(r.Name); m != nil && errors.Is(m.Wait, errUnproven) {
			e.proveTree(s, r.Name, m)
		}
	}
}

// publishedAs returns the bundle that has the content of a set.
func (e *engine) publishedAs(s *set) string {
	files := e.files(s)
	for _, v := range s.State.versions {
		if v.same(files) == len(files) {
			return v.path
		}
	}
	return ""
}

func (e *engine) paths(s *set) []string {
	var paths []string
	for _, r := range e.table.Roles() {
		paths = append(paths, e.absolute(s.Member(r.Name).Path))
	}
	return paths
}
