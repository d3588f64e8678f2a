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

type fingerprint struct {
	sum  hash.Hash
	of   *whole   // to which the last piece belonged
	head [13]byte // of what begins
}

func newFingerprint() *fingerprint { return &fingerprint{sum: sha256.New()} }

func (f *fingerprint) add(s Segment) {
	if s.of == nil {
		f.begin(s.Literal != nil, s.Size, s.CRC32)
	} else if s.of != f.of {
		f.begin(true, s.of.size, s.of.crc)
	}
	f.of = s.of
	f.sum.Write(s.Literal)
}

func (f *fingerprint) begin(literal bool, size int64, crc uint32) {
	f.head[0] = 0
	if literal {
		f.head[0] = 1
	}
	binary.LittleEndian.PutUint64(f.head[1:], uint64(size))
	binary.LittleEndian.PutUint32(f.head[9:], crc)
	f.sum.Write(f.head[:])
}

func (f *fingerprint) text() string { return hex.EncodeToString(f.sum.Sum(nil)) }
