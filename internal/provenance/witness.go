package provenance

import (
	"cmp"
	"context"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// File is a file that somebody writes.
type File struct {
	Path     string // absolute
	Dev, Ino uint64
}

// Witness sees which processes write checkpoints. It looks through the open files of all processes, rarely and for a bounded time,
// from a goroutine of its own, on which nobody waits for long.
type Witness struct {
	proc string
	seen chan sight
	asks chan ask
	stop context.CancelFunc
	done chan struct{}
	hung atomic.Bool // somebody waited in vain

	// Of the goroutine:
	wanted   map[File]int // files whose writer is looked for, with how often that is still done
	writers  map[File][]Writer
	order    []File             // of writers, oldest first
	known    map[process]Writer // processes that write something below the roots, or wrote a file that was wanted
	roots    []string
	nextScan time.Time
	nextLook time.Time            // at known processes
	covered  map[string]time.Time // when a scan last saw all that is open below a root
	resume   int                  // the pid behind which the last scan ended for want of time; 0 when it saw all
}

// sight is a file that changes.
type sight struct {
	File
	fresh bool
}

type ask struct {
	files     []File
	root, dir string
	reply     chan<- []Writer
}

// What a process was seen with, before the name of the file.
const (
	sawWriting = "writing "
	sawOpen    = "open for writing: "
)

// Bounds of a witness.
const (
	maxWanted  = 256
	maxSeen    = 4096
	maxKnown   = 64
	maxWriters = 16
	maxRoots   = 64
	scans      = 2                      // for one file
	scanTime   = 300 * time.Millisecond // of the processor, for one scan
	scanLeast  = 1000                   // processes that it looks at also when that takes longer
	share      = 20                     // how many times as long as a scan or a look took of the processor is rested
	minRest    = 20 * time.Millisecond  // at least
	current    = 5 * time.Second        // a scan says who writes below the roots for so long
	maxWait    = 2 * time.Second        // for the next scan, when somebody asks
	patience   = 5 * time.Second        // with the goroutine, once
)

// NewWitness starts a witness that looks into proc, "/proc" but in tests. Close ends it.
func NewWitness(proc string) *Witness {
	ctx, stop := context.WithCancel(context.Background())
	w := &Witness{proc: proc, seen: make(chan sight, maxWanted), asks: make(chan ask), stop: stop, done: make(chan struct{}),
		wanted: map[File]int{}, writers: map[File][]Writer{}, known: map[process]Writer{}, covered: map[string]time.Time{}}
	go w.run(ctx)
	return w
}

// Close ends the witness. It does not wait for long: what the kernel says of a process can hang with it.
func (w *Witness) Close() {
	w.stop()
	select {
	case <-w.done:
	case <-time.After(time.Second):
	}
}

// See asks who writes a file. What was known of it is forgotten when it is written afresh. It never waits; a nil witness sees nothing.
func (w *Witness) See(f File, fresh bool) {
	if w == nil {
		return
	}
	select {
	case w.seen <- sight{f, fresh}:
	default:
	}
}

// Writers returns the processes that were seen writing the files, and those that have another file below dir open for writing
// now; dir is empty or lies below root, both without symbolic links. It waits for some seconds once, and for nothing as long as the
// kernel then gives no answer.
func (w *Witness) Writers(ctx context.Context, files []File, root, dir string) []Writer {
	if w == nil || w.hung.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply := make(chan []Writer, 1)
	select {
	case w.asks <- ask{files, root, dir, reply}:
	case <-w.done:
		return nil
	case <-ctx.Done():
		w.hung.Store(true)
		return nil
	}
	select {
	case found := <-reply:
		return found
	case <-ctx.Done():
		w.hung.Store(true)
		return nil
	}
}

func (w *Witness) run(ctx context.Context) {
	defer close(w.done)
	runtime.LockOSThread() // whose time is measured
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-w.seen:
			w.want(f)
		case <-timer.C:
		case a := <-w.asks:
			w.drain()
			a.reply <- w.answer(a)
		}
		w.hung.Store(false)
		w.drain()
		w.lookAtKnown()
		if len(w.wanted) > 0 {
			w.scan("")
			timer.Reset(max(0, time.Until(w.nextScan)))
		}
	}
}

// drain takes what was seen.
func (w *Witness) drain() {
	for {
		select {
		case f := <-w.seen:
			w.want(f)
		default:
			return
		}
	}
}

func (w *Witness) want(f sight) {
	if f.fresh {
		delete(w.writers, f.File)
	}
	if len(w.wanted) < maxWanted {
		w.wanted[f.File] = scans
	}
}

// lookAtKnown looks for wanted files where they are nearly always: at the processes that wrote before.
func (w *Witness) lookAtKnown() {
	began := spent()
	if len(w.wanted) == 0 || time.Now().Before(w.nextLook) {
		return
	}
	for _, p := range w.known {
		w.look(p.id.pid, "")
	}
	w.nextLook = rested(began)
}

// spent is how much time of the processor the thread has taken: the time of the clock says how busy the machine is.
func spent() time.Duration {
	var use unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &use) != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// rested is when to go on after work that began when so much was spent.
func rested(began time.Duration) time.Time {
	return time.Now().Add(max(minRest, share*(spent()-began)))
}

// answer tells who wrote files, and who writes below a directory.
func (w *Witness) answer(a ask) []Writer {
	if !slices.Contains(w.roots, a.root) && len(w.roots) < maxRoots {
		w.roots = append(w.roots, a.root)
	}
	w.lookAtKnown()
	var found []Writer
	for _, f := range a.files {
		found = append(found, w.writers[f]...)
	}
	if a.dir == "" {
		return distinct(found)
	}
	var below []Writer
	for _, p := range w.known {
		below = append(below, w.look(p.id.pid, a.dir)...)
	}
	if len(below) == 0 && len(found) == 0 && time.Since(w.covered[a.root]) > current {
		if wait := time.Until(w.nextScan); wait < maxWait {
			time.Sleep(wait)
		}
		below = w.scan(a.dir)
	}
	return distinct(append(found, below...))
}

// distinct leaves out a process that is there already, and one whose parent is and runs the same program: workers of a trainer inherit
// its files.
func distinct(all []Writer) []Writer {
	slices.SortStableFunc(all, func(a, b Writer) int { return cmp.Compare(a.PID, b.PID) })
	all = slices.CompactFunc(all, func(a, b Writer) bool { return a.PID == b.PID })
	var found []Writer
	for _, w := range all {
		inherited := slices.ContainsFunc(all, func(o Writer) bool { return o.PID == w.parent && o.Exe == w.Exe && strings.HasPrefix(w.Saw, sawOpen) })
		if !inherited && len(found) < maxWriters {
			found = append(found, w)
		}
	}
	return found
}

// scan looks at all processes for files that are wanted, unless it did so a moment ago, and returns those that have a file below dir
// open for writing.
func (w *Witness) scan(dir string) []Writer {
	now, began := time.Now(), spent()
	if now.Before(w.nextScan) {
		return nil
	}
	pids := w.pids()
	if at, _ := slices.BinarySearch(pids, w.resume+1); w.resume > 0 {
		pids = append(pids[at:len(pids):len(pids)], pids[:at]...)
	}
	w.resume = 0
	var found []Writer
	for i, pid := range pids {
		if i >= scanLeast && spent()-began > scanTime {
			break
		}
		found = append(found, w.look(pid, dir)...)
		w.resume = pid
	}
	if len(pids) > 0 && w.resume == pids[len(pids)-1] {
		w.resume = 0
		for _, root := range w.roots {
			w.covered[root] = now
		}
	}
	for f, left := range w.wanted {
		if w.wanted[f] = left - 1; left <= 1 {
			delete(w.wanted, f)
		}
	}
	w.nextScan = rested(began)
	return found
}

// pids returns all processes but this one, in order.
func (w *Witness) pids() []int {
	d, err := os.Open(w.proc)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// look looks at the open files of one process. It notes the files that are wanted, and returns the process once when it has one
// below dir open for writing.
func (w *Witness) look(pid int, dir string) (below []Writer) {
	at := filepath.Join(w.proc, strconv.Itoa(pid))
	openFiles(at, func(descriptor, name string) bool {
		f, wanted := w.wantedFile(at, descriptor, name)
		if (!wanted && !w.inRoot(name)) || !isWriting(at, descriptor) {
			return true
		}
		p, ok := w.meet(pid)
		switch {
		case !ok:
			return false
		case wanted:
			p.Saw = sawWriting + Clip(f.Path)
			w.note(f, p)
		case dir != "" && len(below) == 0 && strings.HasPrefix(name, dir+"/"):
			p.Saw = sawOpen + Clip(name)
			below = append(below, p)
		}
		return true
	})
	return below
}

func (w *Witness) inRoot(name string) bool {
	return slices.ContainsFunc(w.roots, func(root string) bool { return strings.HasPrefix(name, strings.TrimSuffix(root, "/")+"/") })
}

// wantedFile tells which wanted file a descriptor is of. The path may be another one, in a container.
func (w *Witness) wantedFile(at, descriptor, name string) (File, bool) {
	for f := range w.wanted {
		if path.Base(f.Path) != path.Base(name) {
			continue
		}
		info, err := os.Stat(filepath.Join(at, "fd", descriptor))
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Dev == f.Dev && st.Ino == f.Ino {
			return f, true
		}
	}
	return File{}, false
}

// meet describes a process, once.
func (w *Witness) meet(pid int) (Writer, bool) {
	id, parent, ok := identify(w.proc, pid)
	if !ok {
		return Writer{}, false
	}
	if p, ok := w.known[id]; ok {
		return p, true
	}
	for other := range w.known {
		if now, _, ok := identify(w.proc, other.pid); !ok || now != other {
			delete(w.known, other) // it ended, or runs another program
		}
	}
	p := describe(w.proc, id, parent)
	if len(w.known) < maxKnown {
		w.known[id] = p
	}
	return p, true
}

func (w *Witness) note(f File, p Writer) {
	delete(w.wanted, f)
	if _, ok := w.writers[f]; !ok {
		if len(w.order) >= maxSeen {
			delete(w.writers, w.order[0])
			w.order = w.order[1:]
		}
		w.order = append(w.order, f)
	}
	if i := slices.IndexFunc(w.writers[f], func(o Writer) bool { return o.PID == p.PID }); i >= 0 {
		w.writers[f][i] = p // it may run another program by now
	} else if len(w.writers[f]) < maxWriters {
		w.writers[f] = append(w.writers[f], p)
	}
}
