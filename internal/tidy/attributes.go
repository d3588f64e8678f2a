package tidy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// keepAttributes gives an open copy the owner, mode, extended attributes and times of its open original. What cannot
// be kept is an error: the original then stays where it is.
func keepAttributes(in *os.File, st tree.Stat, out *os.File) error {
	now, err := tree.StatFile(out)
	if err != nil {
		return err
	}
	if now.UID != st.UID || now.GID != st.GID {
		if err := unix.Fchown(int(out.Fd()), int(st.UID), int(st.GID)); err != nil {
			return fmt.Errorf("keep the owner of %q (user %d, group %d): %w", in.Name(), st.UID, st.GID, err)
		}
	}
	if err := unix.Fchmod(int(out.Fd()), st.Perm()); err != nil {
		return fmt.Errorf("keep the mode of %q: %w", in.Name(), err)
	}
	if err := keepXattrs(in, out); err != nil {
		return err
	}
	times := [2]unix.Timespec{st.Access, st.Modify}
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, out.Fd(), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("keep the times of %q: %w", in.Name(), errno)
	}
	return nil
}

// keepLinkAttributes does the same for a symbolic link, which has no mode.
func keepLinkAttributes(st tree.Stat, to *tree.Dir, as string) error {
	if err := unix.Fchownat(to.Fd(), as, int(st.UID), int(st.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("keep the owner of the link %q: %w", to.Join(as), err)
	}
	if err := unix.UtimesNanoAt(to.Fd(), as, []unix.Timespec{st.Access, st.Modify}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("keep the times of the link %q: %w", to.Join(as), err)
	}
	return nil
}

// keepXattrs copies the extended attributes, of which access control lists are some. A security label that
// belongs to the place, as SELinux's does, is the target's.
func keepXattrs(in, out *os.File) error {
	names, err := xattrNames(in)
	if err != nil {
		return err
	}
	for _, xattr := range names {
		value, err := xattrValue(in, xattr)
		if err == nil {
			err = unix.Fsetxattr(int(out.Fd()), xattr, value, 0)
		}
		if err != nil && !placeBound(xattr) {
			return fmt.Errorf("keep the extended attribute %q of %q: %w", xattr, in.Name(), err)
		}
	}
	return nil
}

func placeBound(xattr string) bool {
	return xattr == "security.selinux" || xattr == "security.ima" || xattr == "security.evm" || strings.HasPrefix(xattr, "trusted.overlay.")
}

func xattrNames(f *os.File) ([]string, error) {
	size, err := unix.Flistxattr(int(f.Fd()), nil)
	if errors.Is(err, unix.EOPNOTSUPP) || size == 0 && err == nil {
		return nil, nil
	}
	buffer := make([]byte, size+1024)
	if err == nil {
		size, err = unix.Flistxattr(int(f.Fd()), buffer)
	}
	if err != nil {
		return nil, fmt.Errorf("list the extended attributes of %q: %w", f.Name(), err)
	}
	var names []string
	for name := range bytes.SplitSeq(buffer[:size], []byte{0}) {
		if len(name) > 0 {
			names = append(names, string(name))
		}
	}
	return names, nil
}

func xattrValue(f *os.File, name string) ([]byte, error) {
	buffer := make([]byte, 64<<10) // XATTR_SIZE_MAX
	n, err := unix.Fgetxattr(int(f.Fd()), name, buffer)
	if err != nil {
		return nil, err
	}
	return buffer[:n], nil
}
