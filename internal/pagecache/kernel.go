package pagecache

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// residency returns of how many pages a part of the file consists, and how many of them are cached.
func residency(f *os.File, p part) (pages, cached int64, err error) {
	page := int64(os.Getpagesize())
	pages = (p.end-1)/page - p.begin/page + 1
	var stat unix.Cachestat_t
	err = unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(p.begin), Len: uint64(p.end - p.begin)}, &stat, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		cached, err = resident(f, p) // Linux before 6.5, or a filter of system calls that does not know the newer one
	}
	return pages, int64(stat.Cache) + cached, err
}

// resident asks by mincore(2), which tells the owner of the file and those who may write it, and claims to
// others that all is there.
func resident(f *os.File, p part) (int64, error) {
	page := int64(os.Getpagesize())
	begin := p.begin / page * page
	memory, err := unix.Mmap(int(f.Fd()), begin, int(p.end-begin), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(memory)
	present := make([]byte, (p.end-begin+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(memory))), uintptr(len(memory)),
		uintptr(unsafe.Pointer(unsafe.SliceData(present)))); errno != 0 {
		return 0, errno
	}
	var n int64
	for _, b := range present {
		n += int64(b & 1)
	}
	return n, nil
}

// drop gives up clean pages that nobody has mapped. It is a hint, so nothing is to be done when it fails.
func drop(f *os.File, p part) {
	_ = unix.Fadvise(int(f.Fd()), p.begin, p.end-p.begin, unix.FADV_DONTNEED)
}

// piece is what the kernel reads at least of what it is asked for: the default of read_ahead_kb.
const piece = 128 << 10

// fetch lets the kernel begin to read. It is a hint, too, of which only the first part is taken, so it is given by pieces.
func fetch(f *os.File, p part) {
	for begin := p.begin; begin < p.end; begin += piece {
		_ = unix.Fadvise(int(f.Fd()), begin, min(piece, p.end-begin), unix.FADV_WILLNEED)
	}
}
