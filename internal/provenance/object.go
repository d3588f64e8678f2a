package provenance

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // git's name of an object
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
)

func newHash(size int) hash.Hash {
	if size == sha256.Size {
		return sha256.New()
	}
	return sha1.New() //nolint:gosec
}

// maxCommit is how much of a commit is read: its tree is in the first line.
const maxCommit = 4096

// treeOf returns the tree of a commit.
func (g *git) treeOf(commit string) ([]byte, error) {
	data, err := g.loose(commit)
	if errors.Is(err, os.ErrNotExist) {
		data, err = g.packed(commit)
	}
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	tree, err := hex.DecodeString(strings.TrimPrefix(string(line), "tree "))
	if err != nil || len(tree) != len(commit)/2 {
		return nil, errors.New("its commit has no tree")
	}
	return tree, nil
}

// loose reads the beginning of a commit that has a file of its own.
func (g *git) loose(commit string) ([]byte, error) {
	f, _, err := openRegular(g.common, "objects/"+commit[:2]+"/"+commit[2:])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := inflate(f)
	if err != nil {
		return nil, err
	}
	header, body, _ := bytes.Cut(data, []byte{0})
	if !bytes.HasPrefix(header, []byte("commit ")) {
		return nil, errors.New("what HEAD names is no commit")
	}
	return body, nil
}

func inflate(r io.Reader) ([]byte, error) {
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	data, err := io.ReadAll(io.LimitReader(z, maxCommit))
	if len(data) == maxCommit {
		err = nil
	}
	return data, err
}

// maxPacks is in how many packs a commit is looked for.
const maxPacks = 200

// packed reads the beginning of a commit that lies in a pack (gitformat-pack(5)).
func (g *git) packed(commit string) ([]byte, error) {
	dir, err := g.common.Open("objects/pack")
	if err != nil {
		return nil, errors.New("its commit is not there")
	}
	defer dir.Close()
	names, err := dir.Readdirnames(4 * maxPacks)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	want, err := hex.DecodeString(commit)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		base, isIndex := strings.CutSuffix(name, ".idx")
		if !isIndex {
			continue
		}
		offset, found, err := g.offset("objects/pack/"+name, want)
		if err != nil {
			return nil, err
		}
		if found {
			return g.fromPack("objects/pack/"+base+".pack", offset)
		}
	}
	return nil, errors.New("its commit is neither a file of its own nor in a pack")
}

var errPack = errors.New("the index of a pack is not what git writes")

// offset looks up an object in the index of a pack.
func (g *git) offset(name string, want []byte) (at int64, found bool, err error) {
	f, info, err := openRegular(g.common, name)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	head := make([]byte, 8+4*256)
	if _, err := f.ReadAt(head, 0); err != nil || !bytes.Equal(head[:8], []byte("\xfftOc\x00\x00\x00\x02")) {
		return 0, false, errPack
	}
	fanout := func(i int) int64 { return int64(binary.BigEndian.Uint32(head[8+4*i:])) }
	total, size := fanout(255), int64(len(want))
	low, high := int64(0), fanout(int(want[0]))
	if want[0] > 0 {
		low = fanout(int(want[0]) - 1)
	}
	if low > high || high > total || int64(len(head))+total*(size+8) > info.Size() {
		return 0, false, errPack
	}
	oid := make([]byte, size)
	for low < high {
		middle := (low + high) / 2
		if _, err := f.ReadAt(oid, int64(len(head))+middle*size); err != nil {
			return 0, false, err
		}
		switch c := bytes.Compare(want, oid); {
		case c == 0:
			at, err := offsetAt(f, int64(len(head))+total*(size+4), total, middle)
			return at, err == nil, err
		case c < 0:
			high = middle
		default:
			low = middle + 1
		}
	}
	return 0, false, nil
}

// offsetAt reads the i-th of total offsets, of which the table begins at begin.
func offsetAt(f *os.File, begin, total, i int64) (int64, error) {
	var word [8]byte
	if _, err := f.ReadAt(word[:4], begin+4*i); err != nil {
		return 0, err
	}
	offset := binary.BigEndian.Uint32(word[:4])
	if offset < 1<<31 {
		return int64(offset), nil
	}
	if _, err := f.ReadAt(word[:], begin+4*total+8*int64(offset&^(1<<31))); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(word[:])), nil
}

// fromPack reads the beginning of the commit at an offset of a pack.
func (g *git) fromPack(name string, at int64) ([]byte, error) {
	f, info, err := openRegular(g.common, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if at < 0 || at > info.Size() {
		return nil, errPack
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f, at, info.Size()-at), maxCommit)
	first, err := r.ReadByte()
	for b := first; err == nil && b >= 0x80; {
		b, err = r.ReadByte()
	}
	if err != nil {
		return nil, err
	}
	const commit = 1
	if kind := first >> 4 & 7; kind != commit {
		return nil, fmt.Errorf("its commit lies in a pack as a difference to another one (type %d), which is not looked into", kind)
	}
	return inflate(r)
}
