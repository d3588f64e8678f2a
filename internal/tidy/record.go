package tidy

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// state says how far a move has come.
type state string

const (
	stateIntent   state = "intent"    // written and synced before anything is moved
	stateMoved    state = "moved"     // the move is over
	stateNotMoved state = "not_moved" // it did not take place
	stateUndoing  state = "undoing"   // written and synced before it is put back
	stateUndone   state = "undone"    // it was put back
	stateStopped  state = "stopped"   // the storm guard stopped the block
	stateResumed  state = "resumed"   // a person let it go on
)

// shape is what kind of thing was moved.
type shape string

const (
	shapeFile    shape = "file"
	shapeDir     shape = "directory"
	shapeSymlink shape = "symlink"
)

// record is one line of moved.jsonl. The last line of an id holds; a move has an intent and, unless there was a
// crash, an end.
type record struct {
	Version int         `json:"version"`
	ID      string      `json:"id"`
	State   state       `json:"state"`
	Time    time.Time   `json:"time"`    // of the move
	Written time.Time   `json:"written"` // this line
	Tool    string      `json:"tool,omitempty"`
	Root    bytesName   `json:"root"`
	From    bytesName   `json:"from,omitempty"` // absolute
	To      bytesName   `json:"to,omitempty"`   // absolute, in the directory of the record
	Kind    shape       `json:"kind,omitempty"`
	Size    int64       `json:"size"`
	Digest  string      `json:"digest,omitempty"`
	Method  string      `json:"method,omitempty"` // rename or copy
	Mode    string      `json:"mode,omitempty"`   // octal
	UID     uint32      `json:"uid"`
	GID     uint32      `json:"gid"`
	Modify  time.Time   `json:"mtime,omitzero"`
	Links   uint64      `json:"links,omitempty"`
	Inode   uint64      `json:"inode,omitempty"` // before the move
	Git     Git         `json:"git,omitempty"`
	Top     bytesName   `json:"repository,omitempty"` // its work tree
	Index   []indexItem `json:"index,omitempty"`      // the entries that were removed from the index
	Limit   int         `json:"limit,omitempty"`      // of the storm guard
	Note    string      `json:"note,omitempty"`
}

const recordVersion = 1

func newRecord(root string, s *stray, now time.Time) record {
	r := record{
		ID: newID(), State: stateIntent, Time: now.UTC().Truncate(time.Millisecond), Root: bytesName(root), From: bytesName(s.path()), Kind: s.shape,
		Size: s.bytes, Digest: s.digest, Method: "rename", Mode: fmt.Sprintf("%04o", s.stat.Perm()), UID: s.stat.UID, GID: s.stat.GID,
		Modify: time.Unix(s.stat.Modify.Unix()).UTC(), Links: s.stat.Links, Inode: s.stat.Ino, Git: s.git,
	}
	if s.shape == shapeFile && s.stat.Links > 1 {
		r.Note = fmt.Sprintf("it has %d names; the others stay where they are", s.stat.Links)
	}
	return r
}

func newID() string {
	var id [6]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// part is the name of a copy that is not whole yet, in the target directory.
func (r record) part() string { return ownPrefix + r.ID + ".part" }

// aside is the name of a file between its removal from the root's names and its end, in the root.
func (r record) aside() string { return ownPrefix + r.ID + ".aside" }

// ownPrefix begins all names that this package makes for a moment.
const ownPrefix = ".bundlewatch-"

func (r record) line() ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("write record: %w", err)
	}
	return printable(line.Bytes()), nil
}

// isSame tells whether st is the file of the record, by all that a rename keeps.
func (r record) isSame(st tree.Stat) bool {
	if st.Ino != r.Inode || shapeOf(st) != r.Kind {
		return false
	}
	return r.Kind == shapeDir || st.Size == r.Size && time.Unix(st.Modify.Unix()).Equal(r.Modify)
}

func shapeOf(st tree.Stat) shape {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return shapeFile
	case unix.S_IFDIR:
		return shapeDir
	case unix.S_IFLNK:
		return shapeSymlink
	}
	return ""
}
