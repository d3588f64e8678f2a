package watch

import (
	"bytes"
	"encoding/binary"
)

// direntHead is the length of struct linux_dirent64 before the name: inode, offset, length, type
// (getdents64(2)).
const direntHead = 19

// nextDirent returns the name and type (such as DT_DIR) of the first entry, and the entries after it.
func nextDirent(entries []byte) (name []byte, kind byte, rest []byte) {
	length := binary.NativeEndian.Uint16(entries[16:])
	name = entries[direntHead:length]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return name, entries[18], entries[length:]
}
