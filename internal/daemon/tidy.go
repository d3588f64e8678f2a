package daemon

import (
	"context"
	"errors"
	"reflect"
	"sync"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/store"
	"github.com/bundlewatch/bundlewatch/internal/tidy"
)

// Tidy moves the strays of all blocks once. What happens is told by events.
func Tidy(ctx context.Context, c *config.Config, opts Options, how tidy.Options) error {
	how.Tool, how.Emit, how.Now = opts.Tool, tidyEvents(opts.Emit), opts.Now
	for _, block := range c.Tidies {
		if _, err := tidy.New(block, c, how).Pass(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tidyEvents hands events about strays on.
func tidyEvents(emit func(Event)) func(tidy.Event) {
	return func(e tidy.Event) { emit(strayEvent(e)) }
}

func strayEvent(e tidy.Event) Event {
	return Event{Kind: Kind(e.Kind), Root: e.Root, Path: e.From, To: e.To, Bytes: e.Bytes, Digest: e.Digest, Git: string(e.Git), Reason: e.Reason}
}

// Undo puts back what was moved to a directory; only what matches, unless only is nil.
func Undo(ctx context.Context, dir string, only *pattern.Pattern, opts Options) error {
	return tidy.Undo(ctx, dir, only, tidy.Options{Tool: opts.Tool, Emit: tidyEvents(opts.Emit), Now: opts.Now})
}

// tidiers are the runners of all blocks of a config.
type tidiers struct {
	config  *config.Config
	stop    context.CancelFunc
	running sync.WaitGroup
}

// tidy runs the blocks of a config from now on. A config in which nothing has changed that concerns them leaves
// them as they are.
func (d *Daemon) tidy(ctx context.Context, c *config.Config) {
	if d.tidiers != nil && sameForTidy(d.tidiers.config, c) {
		return
	}
	d.stopTidiers()
	ctx, stop := context.WithCancel(ctx)
	d.tidiers = &tidiers{config: c, stop: stop}
	for _, block := range c.Tidies {
		t := tidy.New(block, c, tidy.Options{Tool: d.Tool, Emit: tidyEvents(d.wired.Emit), Now: d.Now})
		d.tidiers.running.Go(func() { t.Run(ctx) })
	}
}

func sameForTidy(a, b *config.Config) bool {
	return reflect.DeepEqual(a.Tidies, b.Tidies) && reflect.DeepEqual(a.Watches, b.Watches) && a.Artifacts.Dir == b.Artifacts.Dir
}

// stopTidiers ends the runners; a move that is under way is finished or given up first.
func (d *Daemon) stopTidiers() {
	if d.tidiers == nil {
		return
	}
	d.tidiers.stop()
	d.tidiers.running.Wait()
}

// openStore opens and locks the artifact directory. Where only strays are moved there is none, and nothing is ever
// written to it.
func openStore(dir string) (*store.Local, error) {
	if dir == "" {
		return store.Look("", bundle.ManifestName), nil
	}
	s, err := store.Open(dir, bundle.ManifestName)
	if err != nil {
		return nil, err
	}
	if err := s.Lock(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}
