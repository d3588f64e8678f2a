package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

// usage is what the files of the artifact directory take, and how that grows. It may be used from any
// goroutine. What is being staged is not in it: that is claimed.
type usage struct {
	dir string

	walking sync.Mutex  // is held while the directory is gone through
	wanted  atomic.Bool // somebody asked: before, nothing needs to be counted

	mu     sync.Mutex
	known  bool
	bytes  int64
	moved  int64 // added and removed since the start
	growth growth
}

// read returns how many bytes are used, and whether that is known.
func (u *usage) read() (bytes int64, known bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bytes, u.known
}

// published notes a directory of files that has got its name.
func (u *usage) published(dir string, now time.Time) {
	if u.wanted.Load() {
		u.added(sizeOf(dir), now)
	}
}

// added notes that files were added, or removed when bytes are below zero.
func (u *usage) added(bytes int64, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes += bytes
	u.moved += bytes
	u.growth.add(now, bytes)
}

// perDay returns how many bytes are added in a day, and whether there is enough to tell from.
func (u *usage) perDay(now time.Time) (bytes float64, known bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.known {
		return 0, false
	}
	return u.growth.perDay(now)
}

// measured makes sure that the directory was gone through once.
func (u *usage) measured() error {
	u.walking.Lock()
	defer u.walking.Unlock()
	if _, known := u.read(); known {
		return nil
	}
	return u.walk(context.Background(), time.Now(), func() {})
}

// measure goes through the directory. turned is called for every entry.
func (u *usage) measure(ctx context.Context, now time.Time, turned func()) error {
	u.walking.Lock()
	defer u.walking.Unlock()
	return u.walk(ctx, now, turned)
}

// walk is called with walking. What is published meanwhile may count twice until the next walk: too much is harmless.
func (u *usage) walk(ctx context.Context, now time.Time, turned func()) error {
	u.wanted.Store(true)
	u.mu.Lock()
	before := u.moved
	u.mu.Unlock()
	var total int64
	grown := growth{hours: make(map[int64]int64)}
	err := filepath.WalkDir(u.dir, func(path string, d fs.DirEntry, err error) error {
		turned()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist) && path != u.dir:
			return nil // removed meanwhile
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && filepath.Dir(path) == u.dir && d.Name() != pinsDir:
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		size, modTime, ok := regular(path)
		if !ok {
			return nil // removed meanwhile, or of no size of its own
		}
		total += size
		grown.see(path, size, modTime, now)
		return nil
	})
	if err != nil {
		return fmt.Errorf("measure %q: %w", u.dir, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes, u.known, u.growth = total+u.moved-before, true, grown
	return nil
}

// regular looks at a file, which may be one of 400,000: it leaves no garbage. It is false for what is no regular file.
func regular(path string) (size int64, modTime time.Time, ok bool) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	for errors.Is(err, unix.EINTR) {
		err = unix.Lstat(path, &st)
	}
	return st.Size, time.Unix(st.Mtim.Unix()), err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

const pinsDir = ".pins"

// growth is how many bytes were added in each hour: what was published, less what was pruned. It is read from
// the times of the files, so that it is known after a restart.
type growth struct {
	hours map[int64]int64 // by the hour since 1970
	first time.Time       // publication that is known; zero for none
}

// How far back growth is looked at, and how much there has to be to tell anything from.
const (
	growthWindow = 7 * 24 * time.Hour
	growthLeast  = time.Hour
)

func (g *growth) add(at time.Time, bytes int64) {
	if g.hours == nil {
		g.hours = make(map[int64]int64)
	}
	if g.first.IsZero() || at.Before(g.first) {
		g.first = at
	}
	if bytes != 0 {
		g.hours[at.Unix()/3600] += bytes
	}
}

// see takes in a file of a bundle: an archive was published when it was last written, one that was pruned when
// its manifest was.
func (g *growth) see(path string, size int64, modTime, now time.Time) {
	switch filepath.Base(path) {
	case bundle.ArchiveName:
		g.addSince(modTime, size, now)
	case bundle.TombstoneName:
		if modTime.Before(now.Add(-growthWindow)) {
			return
		}
		t, err := bundle.ReadTombstone(filepath.Dir(path))
		manifest, statErr := os.Lstat(filepath.Join(filepath.Dir(path), bundle.ManifestName))
		if err != nil || t == nil || statErr != nil {
			return // for verify to tell
		}
		g.addSince(manifest.ModTime(), t.Archive.Bytes, now)
		g.addSince(modTime, -t.Archive.Bytes, now)
	}
}

// addSince leaves out what is too long ago, but for that it was.
func (g *growth) addSince(at time.Time, bytes int64, now time.Time) {
	if at.Before(now.Add(-growthWindow)) {
		bytes = 0
	}
	if at.After(now) {
		at = now
	}
	g.add(at, bytes)
}

func (g *growth) perDay(now time.Time) (bytes float64, known bool) {
	span := min(now.Sub(g.first), growthWindow)
	if g.first.IsZero() || span < growthLeast {
		return 0, false
	}
	var sum int64
	for hour, bytes := range g.hours {
		if hour*3600 < now.Add(-growthWindow).Unix() {
			delete(g.hours, hour)
			continue
		}
		sum += bytes
	}
	return float64(sum) / (span.Hours() / 24), true
}

// sizeOf adds up the files of a directory that was just published.
func sizeOf(dir string) int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0 // the next walk sees it
	}
	var total int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	return total
}
