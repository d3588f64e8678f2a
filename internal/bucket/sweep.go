package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/objectstore"
)

// Bury puts a tomb: the bundle of a place is not published any more, and the next sweeps remove it. What has a tomb
// keeps it.
func (b *Bucket) Bury(ctx context.Context, place, reason string) error {
	names, err := b.names(ctx, place)
	if err != nil {
		return fmt.Errorf("prune %q: %w", place, err)
	}
	t := Tomb{Layout: layoutVersion, Place: place, Reason: reason, Host: b.host, Time: time.Now().UTC().Truncate(time.Millisecond)}
	if len(names) == 1 {
		t.Archive = names[0].Archive
	}
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		_, putErr := b.objects.Put(ctx, b.tombKey(place), objectstore.Bytes(append(data, '\n')), !b.claiming)
		there, err := b.tomb(ctx, place)
		switch {
		case err != nil:
			return fmt.Errorf("prune %q: %w", place, errors.Join(putErr, err))
		case there != nil:
			return nil
		case try == attempts || putErr != nil && !goesOn(putErr):
			return fmt.Errorf("prune %q: %w", place, putErr)
		}
		if err := b.objects.Pause(ctx, try); err != nil {
			return err
		}
	}
}

// Removal is something that a sweep takes away.
type Removal struct {
	Key    string
	Size   int64  // in bytes; of an upload it is not known
	Upload bool   // one that was begun and not completed
	Reason string // why
}

// SweepOptions say what is swept.
type SweepOptions struct {
	// Within is the prefix of places that are swept, such as those of one watch; "" for all, and for what probes left.
	Within string
	// DryRun removes nothing.
	DryRun bool
	// Removed is called for what is removed, or would be.
	Removed func(Removal)
}

// Sweep removes what nobody will miss: names and data of bundles whose tomb has stood for a day, data that has had no
// name for two weeks, uploads and what probes left of that age, and tombs of three months. Ages are by the clock of the
// store. Each removal of a name or of data is decided by reading one name. It may run on any number of hosts at once,
// beside those that publish.
func (b *Bucket) Sweep(ctx context.Context, o SweepOptions) error {
	now, err := b.objects.Now(ctx, b.prefix+probeFolder+"clock")
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	s := &sweep{Bucket: b, SweepOptions: o, now: now}
	for _, step := range []func(context.Context) error{s.tombs, s.data, s.probes, s.uploads} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	return nil
}

type sweep struct {
	*Bucket
	SweepOptions
	now time.Time

	known map[string]verdict // of the place that was looked at last
}

// verdict is what is known of a place.
type verdict struct {
	names  []Name
	buried bool // for long enough
}

// tombs removes the names that have a tomb long enough, and the tombs that have stood long enough.
func (s *sweep) tombs(ctx context.Context) error {
	prefix := s.prefix + tombsFolder
	return s.objects.List(ctx, prefix+escapePlace(s.Within), "", true, func(o objectstore.Object) error {
		place, ok := s.placeOfName(o.Key, tombsFolder)
		age := s.now.Sub(o.Modified)
		if !ok || age < mourning {
			return nil
		}
		names, err := s.names(ctx, place)
		if err != nil {
			return err
		}
		for _, n := range names {
			key := s.nameKey(place)
			if s.claiming {
				key = s.claimKey(place, n.Archive)
			}
			if err := s.remove(ctx, Removal{Key: key, Size: -1, Reason: "its bundle was pruned"}); err != nil {
				return err
			}
		}
		if age >= rememberFor {
			return s.remove(ctx, Removal{Key: o.Key, Size: o.Size, Reason: "the bundle was pruned long ago"})
		}
		return nil
	})
}

// data removes the data of what has a tomb long enough, and data without a name that is old enough.
func (s *sweep) data(ctx context.Context) error {
	return s.objects.List(ctx, s.prefix+dataFolder+escapePlace(s.Within), "", true, func(o objectstore.Object) error {
		d, ok := s.parseData(o.Key)
		age := s.now.Sub(o.Modified)
		if !ok || age < mourning {
			return nil
		}
		v, err := s.look(ctx, d.place)
		if err != nil {
			return err
		}
		switch {
		case v.buried:
			return s.remove(ctx, Removal{Key: o.Key, Size: o.Size, Reason: "its bundle was pruned"})
		case age >= garbageAfter && !v.needs(d):
			return s.remove(ctx, Removal{Key: o.Key, Size: o.Size, Reason: "no name needs it"})
		}
		return nil
	})
}

func (v verdict) needs(d datum) bool {
	for _, n := range v.names {
		if n.Archive == d.archive && (d.sums == "" || d.sums == n.Sums) {
			return true
		}
	}
	return false
}

// look reads the name and the tomb of a place, once for all of its data.
func (s *sweep) look(ctx context.Context, place string) (verdict, error) {
	if v, known := s.known[place]; known {
		return v, nil
	}
	names, err := s.names(ctx, place)
	if err != nil {
		return verdict{}, err
	}
	v := verdict{names: names}
	o, err := s.objects.Head(ctx, s.tombKey(place))
	switch {
	case err == nil:
		v.buried = s.now.Sub(o.Modified) >= mourning
	case !errors.Is(err, objectstore.ErrMissing):
		return verdict{}, err
	}
	s.known = map[string]verdict{place: v}
	return v, nil
}

// probes removes what probes left that were killed, or might not delete.
func (s *sweep) probes(ctx context.Context) error {
	if s.Within != "" {
		return nil
	}
	return s.objects.List(ctx, s.prefix+probeFolder, "", true, func(o objectstore.Object) error {
		if !s.isProbe(o.Key) || s.now.Sub(o.Modified) < garbageAfter {
			return nil
		}
		return s.remove(ctx, Removal{Key: o.Key, Size: o.Size, Reason: "a probe left it"})
	})
}

// uploads gives up uploads that were begun long ago. Some stores do that by themselves.
func (s *sweep) uploads(ctx context.Context) error {
	within := s.prefix + dataFolder + escapePlace(s.Within)
	err := s.objects.Uploads(ctx, func(u objectstore.Upload) error {
		ours := strings.HasPrefix(u.Key, within) || s.Within == "" && s.isProbe(u.Key)
		if !ours || s.now.Sub(u.Begun) < garbageAfter {
			return nil
		}
		s.tell(Removal{Key: u.Key, Size: -1, Upload: true, Reason: "it was begun long ago"})
		if s.DryRun {
			return nil
		}
		return s.objects.Abort(ctx, u.Key, u.ID)
	})
	if errors.Is(err, objectstore.ErrUnsupported) {
		return nil
	}
	return err
}

func (s *sweep) remove(ctx context.Context, r Removal) error {
	if !s.DryRun {
		if err := s.objects.Delete(ctx, r.Key); err != nil {
			return err
		}
	}
	s.tell(r)
	return nil
}

func (s *sweep) tell(r Removal) {
	if s.Removed != nil {
		s.Removed(r)
	}
}
