package pagecache

import (
	"cmp"
	"iter"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// window is the number of bytes that are asked about and dropped at once.
	window = 1 << 20
	// ahead is how far in front of the reader windows are asked about: further than the kernel reads ahead on
	// its own, which would make its pages look like somebody else's.
	ahead = 32 << 20
	// inFlight is how far in front of a reader that goes on and on the kernel is asked to read at once what nobody has in
	// the cache. On its own it asks for 128 KiB, which leaves a disk idle that takes its time to answer.
	inFlight = 4 << 20
	// finest is the number of bytes below which a part that is cached is not told from one that is not.
	finest = 64 << 10
)

// Reader reads a file. It may be used from several goroutines.
type Reader struct {
	file *os.File
	size int64

	mu sync.Mutex
	// asked is the number of windows, from the start of the file, that were asked about.
	asked int64
	// absent are the parts, in order, that nobody had in the cache.
	absent []part
	// read is where the last read ended, dropped what was dropped of the reads before it that followed
	// each other.
	read, dropped int64
	// fetched is where what the kernel was asked to read ends.
	fetched int64
	// blind is set when the kernel does not say what it has.
	blind bool
}

type part struct{ begin, end int64 }

// NewReader returns a reader of a file of size bytes. The file stays the caller's.
func NewReader(f *os.File, size int64) *Reader { return &Reader{file: f, size: size} }

// File returns the file that is read.
func (r *Reader) File() *os.File { return r.file }

// ReadAt reads as [os.File.ReadAt] does.
func (r *Reader) ReadAt(b []byte, offset int64) (int, error) {
	r.prepare(offset, offset+int64(len(b)))
	n, err := r.file.ReadAt(b, offset)
	r.passed(offset, offset+int64(n))
	return n, err
}

// prepare is for a read from begin to end.
func (r *Reader) prepare(begin, end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ask(end)
	if begin == r.read && begin > 0 {
		r.fetch(end)
	}
}

// ask finds out what is cached of the windows up to some distance behind the offset.
func (r *Reader) ask(offset int64) {
	end := min(offset+ahead, r.size)
	for begin := r.asked * window; begin < end && !r.blind; begin = r.asked * window {
		r.split(part{begin, min(begin+window, r.size)})
		r.asked++
	}
}

// fetch lets the kernel read what follows the offset.
func (r *Reader) fetch(offset int64) {
	p := part{max(offset, r.fetched), min(offset+inFlight, r.size)}
	if p.end-p.begin < inFlight/8 {
		return
	}
	for a := range r.nobodys(p) {
		fetch(r.file, a)
	}
	r.fetched = p.end
}

// split adds the parts of p that are not cached to r.absent.
func (r *Reader) split(p part) {
	pages, cached, err := residency(r.file, p)
	switch {
	case err != nil:
		r.blind = true
	case cached == 0:
		r.add(p)
	case cached < pages && p.end-p.begin > finest:
		middle := p.begin + max(finest, (p.end-p.begin)/2/finest*finest)
		r.split(part{p.begin, middle})
		r.split(part{middle, p.end})
	}
}

func (r *Reader) add(p part) {
	if last := len(r.absent) - 1; last >= 0 && r.absent[last].end == p.begin {
		r.absent[last].end = p.end
		return
	}
	r.absent = append(r.absent, p)
}

// passed drops whole windows that lie behind reads which follow each other. What else was read is dropped by
// [Reader.Drop].
func (r *Reader) passed(begin, end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if begin != r.read {
		r.dropped = begin
	}
	r.read = end
	if behind := end / window * window; behind > r.dropped {
		r.drop(part{r.dropped, behind})
		r.dropped = behind
	}
}

// drop drops what of p nobody had in the cache.
func (r *Reader) drop(p part) {
	for a := range r.nobodys(p) {
		drop(r.file, a)
	}
}

// nobodys are the parts of p that nobody had in the cache.
func (r *Reader) nobodys(p part) iter.Seq[part] {
	return func(yield func(part) bool) {
		first, _ := slices.BinarySearchFunc(r.absent, p.begin, func(a part, begin int64) int { return cmp.Compare(a.end, begin+1) })
		for _, a := range r.absent[first:] {
			if a.begin >= p.end || !yield(part{max(a.begin, p.begin), min(a.end, p.end)}) {
				return
			}
		}
	}
}

// dropAttempts bounds how often Drop tries again, after 1, 2, 4, … milliseconds: pages that the kernel reads ahead at the
// moment cannot be dropped yet.
const dropAttempts = 6

// Drop drops all pages that came in by reading and are still there.
func (r *Reader) Drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for attempt := range dropAttempts {
		r.drop(part{0, r.size})
		if !r.left() {
			return
		}
		time.Sleep(time.Millisecond << attempt)
	}
}

// left tells whether pages are there that nobody had in the cache.
func (r *Reader) left() bool {
	return slices.ContainsFunc(r.absent, func(p part) bool {
		_, cached, err := residency(r.file, p)
		return err == nil && cached > 0
	})
}
