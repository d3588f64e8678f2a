package daemon

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/signature"
)

// loadTime is how long reading the config may take: it looks at roots, of which one can hang.
const loadTime = 20 * time.Second

// loaded is a config that was read with the key that it names, or why it could not be.
type loaded struct {
	config *config.Config
	key    *signature.PrivateKey
	err    error
}

// reloads are the requests to reload, of which one is served at a time.
type reloads struct {
	loading chan loaded // nil when none is served
	again   bool        // another request came meanwhile

	at        time.Time // of the last one
	err       string    // why it was refused; "" when it was not
	good, bad int

	renewals chan struct{} // the artifact directory was made anew

	extension extension // of the time to start
}

func (r *reloads) results() <-chan loaded { return r.loading }

func (r *reloads) renewal() <-chan struct{} { return r.renewals }

func (r *reloads) askRenewal() {
	select {
	case r.renewals <- struct{}{}:
	default:
	}
}

// ask begins to read the config, beside everything else.
func (r *reloads) ask(d *Daemon) {
	if r.loading != nil {
		r.again = true
		return
	}
	d.systemd.reloading()
	r.loading = make(chan loaded, 1)
	go func(out chan<- loaded) { out <- load(d.Load) }(r.loading)
}

// load reads the config in time.
func load(read func() (*config.Config, error)) loaded {
	done := make(chan loaded, 1)
	go func() {
		l := loaded{}
		if l.config, l.err = read(); l.err == nil {
			l.key, l.err = SigningKey(l.config)
		}
		done <- l
	}()
	timer := time.NewTimer(loadTime)
	defer timer.Stop()
	select {
	case l := <-done:
		return l
	case <-timer.C:
		return loaded{err: fmt.Errorf("reading the config takes longer than %s: the file system of the config, of its key or of a root may hang", loadTime)}
	}
}

// reload replaces the watches that changed. All that can fail happens first: a bad config changes
// nothing. The returned channel is closed when the daemon is ready again; listed is that of the listing
// that is under way, nil when there is none.
func (d *Daemon) reload(ctx context.Context, l loaded, listed <-chan struct{}) <-chan struct{} {
	d.reloads.loading, d.reloads.at = nil, d.now()
	defer func() {
		if d.reloads.again {
			d.reloads.again = false
			d.reloads.ask(d)
		}
	}()
	c, err := l.config, l.err
	if err == nil && c.Artifacts.Dir != d.config.Artifacts.Dir {
		err = fmt.Errorf("artifacts.dir changed from %q to %q: restart the daemon for that", d.config.Artifacts.Dir, c.Artifacts.Dir)
	}
	change := func() {}
	if err == nil && d.Shown {
		change, err = d.windows.change(d.config, c)
	}
	d.Metrics.Reloaded(err == nil)
	if err != nil {
		d.refuseReload(err, listed == nil)
		return listed
	}
	change()
	kept := d.stopChanged(c)
	for _, r := range kept {
		r.rescan()
	}
	d.use(c)
	d.sign(l.key)
	d.reloads.err = ""
	d.reloads.good++
	listed = d.start(ctx, c, listed)
	d.tidy(ctx, c)
	if err := d.send(ctx, c); err != nil {
		d.Log.Error().Err(err).Msg("cannot send bundles")
	}
	d.Log.Info().Int("watches", len(c.Watches)).Int("unchanged", len(kept)).Msg("config reloaded")
	return listed
}

func (d *Daemon) refuseReload(err error, ready bool) {
	d.reloads.err = err.Error()
	d.reloads.bad++
	d.Log.Error().Err(err).Msg("reload refused; the old config stays in force")
	sentence := d.show().Summary
	if ready {
		d.systemd.ready(sentence, d.now())
	} else {
		d.systemd.say(sentence, d.now())
	}
}

// stopChanged ends the loops of watches that the new config has not, or has otherwise, and returns the
// others. It does not wait long for one that hangs: what that does when it comes back is discarded.
func (d *Daemon) stopChanged(c *config.Config) (kept []*running) {
	wanted := make(map[string]config.Watch)
	for _, w := range c.Watches {
		wanted[w.Name] = w
	}
	var stopped []*running
	for name, r := range d.loops {
		if w, ok := wanted[name]; ok && reflect.DeepEqual(w, r.watch) {
			kept = append(kept, r)
			continue
		}
		r.stop()
		stopped = append(stopped, r)
		delete(d.loops, name)
		d.vigil.forget(r.ward().name)
	}
	late := await(append(stopped, d.leaving...), cmp.Or(d.grace, replaceFor))
	for _, r := range late {
		r.listed()
	}
	d.leaving = late
	return kept
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
