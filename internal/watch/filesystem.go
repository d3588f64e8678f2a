package watch

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// filesystem is the kind of file system that a directory lies on.
type filesystem struct {
	name string
	// network: other hosts write to it unseen by this kernel, so there are no notifications, no leases
	// that mean anything, no common clock, and attributes may be cached.
	network bool
}

// Magic numbers of statfs(2). Those that x/sys does not name are from coreutils' src/stat.c.
var filesystems = map[uint32]filesystem{
	unix.AFS_FS_MAGIC:     {"afs", true},
	unix.AFS_SUPER_MAGIC:  {"afs", true},
	unix.CEPH_SUPER_MAGIC: {"ceph", true},
	unix.CIFS_SUPER_MAGIC: {"cifs", true},
	unix.CODA_SUPER_MAGIC: {"coda", true},
	unix.FUSE_SUPER_MAGIC: {"fuse", true},
	unix.NCP_SUPER_MAGIC:  {"ncp", true},
	unix.NFS_SUPER_MAGIC:  {"nfs", true},
	unix.SMB2_SUPER_MAGIC: {"smb", true},
	unix.SMB_SUPER_MAGIC:  {"smb", true},
	unix.V9FS_MAGIC:       {"9p", true},
	0x0BD00BD0:            {"lustre", true},
	0x47504653:            {"gpfs", true},
	0x19830326:            {"beegfs", true},
	0xAAD7AAEA:            {"panfs", true},
	0x20030528:            {"orangefs", true},
	0xBEEFDEAD:            {"snfs", true},
	0x01161970:            {"gfs2", true},
	0x7461636F:            {"ocfs2", true},
	0x786F4256:            {"vboxsf", true},
	0xBACBACBC:            {"vmhgfs", true},

	unix.BTRFS_SUPER_MAGIC:     {"btrfs", false},
	unix.EXT4_SUPER_MAGIC:      {"ext4", false},
	unix.F2FS_SUPER_MAGIC:      {"f2fs", false},
	unix.OVERLAYFS_SUPER_MAGIC: {"overlay", false},
	unix.TMPFS_MAGIC:           {"tmpfs", false},
	unix.XFS_SUPER_MAGIC:       {"xfs", false},
	0x2FC12FC1:                 {"zfs", false},
}

func filesystemOf(magic uint32) filesystem {
	if fs, ok := filesystems[magic]; ok {
		return fs
	}
	return filesystem{name: fmt.Sprintf("file system %#x", magic)}
}

// filesystemAt returns the kind of file system of an open file. What cannot be asked is taken for a
// network file system, which promises least.
func filesystemAt(fd int) filesystem {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return filesystem{name: fmt.Sprintf("file system of unknown type (%v)", err), network: true}
	}
	return filesystemOf(uint32(st.Type))
}
