package watch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mount is what the owner knows of one mounted file system in the tree.
type mount struct {
	at place
	filesystem
	// path is where its first directory was found: the root, or the mount point.
	path string
	// kind and device are as the mount table says, such as "nfs4" and "server:/export".
	kind, device string
	// cache is for how long the mount options let attributes be believed; zero when they do not say.
	cache time.Duration
	// settle is the effective settle time.
	settle time.Duration
	// polled: changes are looked for, not notified.
	polled bool
	// tops are the directories whose parent lies on another mount, or that have none.
	tops map[*dir]struct{}
	// dirs and watched count directories.
	dirs, watched int
}

// MountState is how one mounted file system in a tree is watched.
type MountState struct {
	// Path is the absolute path of the root or of the mount point.
	Path string
	// FileSystem is the type as in the mount table, such as "ext4", "nfs4" or "fuse.sshfs".
	FileSystem string
	// Device is what is mounted, such as "server:/export".
	Device string
	// Source is "inotify" or "poll".
	Source string
	// Degraded is how many directories of a mount with source "inotify" are polled for now and why, else
	// empty.
	Degraded string
	// Settle is the effective settle time.
	Settle time.Duration
	// Directories counts what is known.
	Directories int
}

// statFlags is for statAt.
func (m *mount) statFlags() int {
	if m != nil && m.network {
		return unix.AT_STATX_FORCE_SYNC
	}
	return 0
}

// racy is for how long after a change the same times of a directory may hide another one: the coarsest
// granule of a local file system (2 s, FAT), and what a client may believe of a server's directory (60 s,
// the acdirmax of nfs(5)).
func (m *mount) racy() time.Duration {
	const granule = 2 * time.Second
	if !m.network {
		return granule
	}
	return granule + max(m.cache, time.Minute)
}

// mountOf returns the mount that an open directory at rel lies on.
func (o *owner) mountOf(fd int, at place, rel string) *mount {
	if m := o.mounts[at]; m != nil {
		return m
	}
	o.chain.ops++
	m := &mount{at: at, filesystem: filesystemAt(fd), path: o.absolute(rel), tops: map[*dir]struct{}{}}
	entry := o.table.entry(at)
	m.kind, m.device, m.cache = cmp.Or(entry.kind, m.name), entry.device, entry.cache
	m.settle = effectiveSettle(o.opts.Settle, m.network, m.cache)
	m.polled = o.opts.Source == Poll || (o.opts.Source == Auto && m.network)
	o.mounts[at] = m
	return m
}

// effectiveSettle is the settle time of files on a file system: on the network at least NetworkSettle, and
// longer than attributes are cached where the mount options say for how long.
func effectiveSettle(settle time.Duration, network bool, cache time.Duration) time.Duration {
	if !network {
		return settle
	}
	return max(settle, NetworkSettle, cache+time.Second)
}

// settleOn puts d on a mount.
func (o *owner) settleOn(d *dir, m *mount) {
	d.mount = m
	m.dirs++
	if d.parent == nil || d.parent.mount != m {
		m.tops[d] = struct{}{}
	}
}

// leave takes a forgotten directory off its mount.
func (o *owner) leave(d *dir) {
	m := d.mount
	if m == nil {
		return
	}
	delete(m.tops, d)
	m.dirs--
	if m.dirs == 0 && o.mounts[m.at] == m {
		delete(o.mounts, m.at)
	}
}

// remounts looks at what was mounted or unmounted below the root since the last call. Neither raises an
// event of inotify. What is mounted over the root itself is for checkRoot to see; the listing is for a
// file system that came in the place of its twin.
func (o *owner) remounts() {
	points, err := o.table.update()
	if err != nil {
		o.opts.Logger.Warn().Err(err).Str("root", o.opts.Root).Msg("mounts below the root are noticed at the next rescan only")
		return
	}
	for path, changed := range points {
		switch rel, below := strings.CutPrefix(path, strings.TrimSuffix(o.tree.path, "/")+"/"); {
		case below:
			o.remount(rel, changed)
		case !changed:
		case path == "/" || path == o.tree.path || strings.HasPrefix(o.tree.path, path+"/"):
			o.listSoon(time.Now())
		}
	}
}

// remount looks anew at a mount point. Where its directory has a watch and something was mounted on it or
// unmounted from it, that watch and those below are with the old file system; a polled one is found to be
// another when it is listed.
func (o *owner) remount(rel string, changed bool) {
	d, name := o.find(rel)
	if d == nil {
		return
	}
	if child := d.dirs.get(name); child != nil && child.watched && (changed || !o.inPlace(child)) {
		o.forget(child)
	}
	o.examine(d, name)
}

// inPlace tells whether d is still the directory that is found at its path.
func (o *owner) inPlace(d *dir) bool {
	o.enter("look at", d.parent, d.name)
	defer o.pulse.leave()
	st, at, err := o.chain.stat(d.parent, d.name)
	return err == nil && st.id() == d.id && at == d.mount.at
}

func (o *owner) mountStates() []MountState {
	states := make([]MountState, 0, len(o.mounts))
	for _, m := range o.mounts {
		s := MountState{Path: m.path, FileSystem: m.kind, Device: m.device, Source: Inotify.String(), Settle: m.settle, Directories: m.dirs}
		if m.polled {
			s.Source = Poll.String()
		} else if unwatched := m.dirs - m.watched; unwatched > 0 && o.degraded != nil {
			s.Degraded = fmt.Sprintf("polling %d of %d directories: %v", unwatched, m.dirs, o.degraded)
		}
		states = append(states, s)
	}
	slices.SortFunc(states, func(a, b MountState) int { return cmp.Compare(a.Path, b.Path) })
	return states
}

// absolute is the path of rel for the kernel.
func (o *owner) absolute(rel string) string {
	switch {
	case rel == ".":
		return o.tree.path
	case o.tree.path == "/":
		return "/" + rel
	default:
		return o.tree.path + "/" + rel
	}
}

// relative is the inverse of absolute for paths named by events.
func (o *owner) relative(abs string) string {
	rel := strings.Trim(strings.TrimPrefix(abs, o.tree.path), "/")
	if rel == "" {
		return "."
	}
	return rel
}
