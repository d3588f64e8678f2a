package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Fingerprint identifies the content of a payload without reading the source: it is the SHA-256, in
// hex, over the bytes made here and over size and saved CRC-32 of every range of the source.
func (p *Payload) Fingerprint() string {
	sum := sha256.New()
	var head [13]byte
	for _, s := range p.Segments {
		head[0] = 0
		if s.Literal != nil {
			head[0] = 1
		}
		binary.LittleEndian.PutUint64(head[1:], uint64(s.Size))
		binary.LittleEndian.PutUint32(head[9:], s.CRC32)
		sum.Write(head[:])
		sum.Write(s.Literal)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
