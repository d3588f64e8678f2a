package archivefile

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Align is what offsets and sizes of cloned and direct writes are multiples of, in bytes: the block of most file
// systems, and no less than the sectors of disks.
const Align = 4096

// directSize is the size in bytes from which a file is written past the page cache.
const directSize = 8 << 20

// File is a file that is being written. Write and Clone may be called from any goroutine.
type File struct {
	file   *os.File
	magic  uint32
	direct atomic.Bool
	shared atomic.Int64
}

// Create makes a file, which must not exist and which nobody can write afterwards (mode 0444), for about so
// many bytes.
func Create(path string, size int64) (*File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return nil, err
	}
	w := &File{file: f, magic: magicOf(f)}
	if size < directSize || !localDisks[w.magic] {
		return w, nil
	}
	if err := w.reserve(size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w.direct.Store(setDirect(f, true) == nil)
	return w, nil
}

// localDisks are the file systems on which writing past the page cache was measured to be no slower.
var localDisks = map[uint32]bool{
	unix.EXT4_SUPER_MAGIC:  true, // ext2 and ext3, too
	unix.XFS_SUPER_MAGIC:   true,
	unix.BTRFS_SUPER_MAGIC: true,
}

func magicOf(f *os.File) uint32 {
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) != nil {
		return 0
	}
	return uint32(st.Type)
}

// reserve takes the room for the file before anything is written, so that a full disk shows at once. A file
// system that shares extents may need none of it.
func (w *File) reserve(size int64) error {
	if w.sharesExtents() {
		return nil
	}
	err := w.retry(func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	return nil
}

// retry makes a system call on the descriptor until no signal interrupts it.
func (w *File) retry(call func(fd int) error) error {
	for {
		if err := call(int(w.file.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// setDirect turns writing past the page cache on or off.
func setDirect(f *os.File, on bool) error {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags)
	return err
}

// Write writes a block but for what was cloned.
func (w *File) Write(b *Block) error {
	for _, r := range b.unwritten() {
		if err := w.writeAt(b.buffer[r.begin-b.Offset:r.end-b.Offset], r.begin); err != nil {
			return err
		}
	}
	return nil
}

// writeAt writes what is a multiple of [Align] directly, if it can, and the rest through the page cache.
func (w *File) writeAt(data []byte, offset int64) error {
	if !w.direct.Load() {
		return w.writeCached(data, offset)
	}
	whole := len(data) / Align * Align
	_, err := w.file.WriteAt(data[:whole], offset)
	if errors.Is(err, unix.EINVAL) { // memory or disk want a larger alignment
		return w.writeCached(data, offset)
	}
	if err != nil || whole == len(data) {
		return err
	}
	return w.writeCached(data[whole:], offset+int64(whole))
}

// writeCached writes through the page cache and lets the kernel begin to write back.
func (w *File) writeCached(data []byte, offset int64) error {
	if w.direct.Swap(false) {
		if err := setDirect(w.file, false); err != nil {
			return fmt.Errorf("write through the page cache: %w", err)
		}
	}
	if _, err := w.file.WriteAt(data, offset); err != nil {
		return err
	}
	// Without effect on some file systems, and only a hint.
	_ = unix.SyncFileRange(int(w.file.Fd()), offset, int64(len(data)), unix.SYNC_FILE_RANGE_WRITE)
	return nil
}

// Finish gives the file its size in bytes, syncs and closes it.
func (w *File) Finish(size int64) error {
	err := w.file.Truncate(size)
	if err == nil {
		err = w.file.Sync()
	}
	if err == nil {
		// A hint: nobody has read these pages yet, and training can use the memory.
		_ = unix.Fadvise(int(w.file.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	return errors.Join(err, w.file.Close())
}

// Close gives the file up as it is.
func (w *File) Close() error { return w.file.Close() }
