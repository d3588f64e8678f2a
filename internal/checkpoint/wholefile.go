package checkpoint

import "io"

// WholeFile lays out a file of any kind, byte for byte. Where its format has no checksums, it is read
// for its CRC.
func WholeFile(r io.ReaderAt, size int64) (*Payload, error) {
	if c, err := Open(r, size); err == nil {
		return c.Verbatim()
	}
	p := &Payload{Source: r, Verbatim: true}
	return p, p.addRange(0, size, "")
}
