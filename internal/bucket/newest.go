package bucket

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/objectstore"
)

// ClockGap is how far the clocks of a store and of a host that names a bundle may be apart: stores refuse what was
// signed more than 15 minutes off. So no bundle was published later than so long after the store was given its name.
const ClockGap = 20 * time.Minute

// Listed is a bundle of which only the key of its name was seen.
type Listed struct {
	Place string
	Named time.Time // by the store's clock
	key   string
}

// couldBe is the latest time at which the bundle was published.
func (l Listed) couldBe() time.Time { return l.Named.Add(ClockGap) }

// listed calls each for the names below a folder of places, in the order of their keys.
func (b *Bucket) listed(ctx context.Context, below string, each func(Listed) error) error {
	prefix := b.prefix + namesFolder
	if below != "" {
		prefix += escapeFolder(below)
	}
	return b.objects.List(ctx, prefix, "", true, func(o objectstore.Object) error {
		place, ok := b.placeOfName(o.Key, namesFolder)
		if !ok {
			return nil
		}
		return each(Listed{place, o.Modified, o.Key})
	})
}

// NewestFirst calls do for bundles whose place is below a folder of places, or for all where that is "", those first that
// were published last, until it returns false. It reads no more names than it takes to know which that are. It is no
// snapshot. A bundle that was published by a clock which was mended before it was sent may come too late.
func (b *Bucket) NewestFirst(ctx context.Context, below string, do func(*Remote) (more bool, err error)) error {
	var all []Listed
	err := b.listed(ctx, below, func(l Listed) error {
		all = append(all, l)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(x, y Listed) int { return y.Named.Compare(x.Named) })
	var read []*Remote // by when they were published, the newest last
	for len(all) > 0 || len(read) > 0 {
		if n := len(read); n > 0 && (len(all) == 0 || read[n-1].Name.Published.After(all[0].couldBe())) {
			next := read[n-1]
			read = read[:n-1]
			if more, err := do(next); err != nil || !more {
				return err
			}
			continue
		}
		some := all[:min(readers, len(all))]
		all = all[len(some):]
		got, err := b.readSome(ctx, some)
		if err != nil {
			return err
		}
		read = append(read, got...)
		slices.SortStableFunc(read, func(x, y *Remote) int { return x.Name.Published.Compare(y.Name.Published) })
	}
	return nil
}

// readSome reads names at once, without those that are gone since they were listed.
func (b *Bucket) readSome(ctx context.Context, some []Listed) ([]*Remote, error) {
	results := make([]result, len(some))
	var group sync.WaitGroup
	for i, l := range some {
		group.Go(func() { results[i] = b.readOne(ctx, l.key, l.Place) })
	}
	group.Wait()
	var got []*Remote
	for _, r := range results {
		if r.err != nil {
			return nil, r.err
		}
		if r.remote != nil {
			got = append(got, r.remote)
		}
	}
	return got, nil
}
