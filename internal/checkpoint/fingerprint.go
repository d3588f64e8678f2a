package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// Fingerprint identifies the content of a payload without reading the source: it is the SHA-256, in
// hex, over the bytes made here and over size and saved CRC-32 of every range of the source.
func (p *Payload) Fingerprint() string { return p.fingerprint }

type fingerprint struct{ sum hash.Hash }

func newFingerprint() fingerprint { return fingerprint{sha256.New()} }

func (f fingerprint) add(s Segment) {
	var head [13]byte
	if s.Literal != nil {
		head[0] = 1
	}
	binary.LittleEndian.PutUint64(head[1:], uint64(s.Size))
	binary.LittleEndian.PutUint32(head[9:], s.CRC32)
	f.sum.Write(head[:])
	f.sum.Write(s.Literal)
}

func (f fingerprint) text() string { return hex.EncodeToString(f.sum.Sum(nil)) }
