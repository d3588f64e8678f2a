package daemon

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/retention"
)

// buryFor is how long one tomb may take: retention of the other bundles waits meanwhile.
const buryFor = 30 * time.Second

// Graves puts tombs into the stores in which this host prunes.
type Graves struct{ opened map[string]grave }

type grave struct {
	spec   config.Store
	bucket *bucket.Bucket
}

// Bury puts a tomb for a bundle that is about to be pruned into each store of the config that it went to and in which
// this host prunes. What only leaves this host because the stores have it gets none. Without an error the archive may
// go: no host brings the bundle back.
func (g *Graves) Bury(ctx context.Context, c *config.Config, d retention.Decision) error {
	if d.Released {
		return nil
	}
	for _, s := range c.Stores {
		if !s.Prune || !s.Takes(d.Bundle.Watch) {
			continue
		}
		if err := g.bury(ctx, s, d); err != nil {
			return fmt.Errorf("put a tomb into %s first: %w", s.Name, err)
		}
	}
	return nil
}

func (g *Graves) bury(ctx context.Context, s config.Store, d retention.Decision) error {
	b, err := g.open(s)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, buryFor)
	defer stop()
	return b.Bury(ctx, d.Bundle.Place, d.Bundle.Archive.SHA256, "retention: "+d.Why)
}

func (g *Graves) open(s config.Store) (*bucket.Bucket, error) {
	known, ok := g.opened[s.Name]
	if ok && reflect.DeepEqual(known.spec, s) {
		return known.bucket, nil
	}
	if ok {
		known.bucket.Close()
	}
	b, err := OpenStore(s, "")
	if err != nil {
		return nil, err
	}
	if g.opened == nil {
		g.opened = make(map[string]grave)
	}
	g.opened[s.Name] = grave{s, b}
	return b, nil
}

// Close gives up idle connections.
func (g *Graves) Close() {
	for _, known := range g.opened {
		known.bucket.Close()
	}
}
