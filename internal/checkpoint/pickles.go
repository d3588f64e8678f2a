package checkpoint

import (
	"errors"
	"fmt"
	"io"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// pickleReader reads pickles that follow each other in a file, with other bytes between or behind them.
type pickleReader struct {
	source  io.ReaderAt
	size    int64 // where the part of the file ends in which the pickles lie
	pos     int64
	imports importList // of all pickles so far
}

// firstWindow is how much is read for a pickle whose length is not known. It grows until the pickle fits.
const firstWindow = 4 << 10

// next reads one pickle. After an error the returned pickle holds the imports seen up to there. An
// [*Broken] error says what the pickle was to be: what.
func (p *pickleReader) next(what string) (*pickle.Pickle, error) {
	for window := int64(firstWindow); ; window *= 16 {
		window = min(window, p.size-p.pos, pickle.MaxSize)
		data := make([]byte, window)
		if n, err := p.source.ReadAt(data, p.pos); n < len(data) {
			return nil, fmt.Errorf("read %d bytes at %d: %w", len(data), p.pos, err)
		}
		read, err := pickle.Decode(data)
		if err != nil && window < min(p.size-p.pos, pickle.MaxSize) && !isDefinite(err, len(data)) {
			continue
		}
		if tooMany := p.imports.add(read.Imports, p.pos); tooMany != nil {
			return read, tooMany
		}
		if err != nil {
			return read, &Broken{Reason: fmt.Sprintf("%s, at byte %d: %v%s%s", what, p.pos, err, p.limit(), describeImports(read.Imports)), Err: err}
		}
		p.pos += int64(read.Size)
		return read, nil
	}
}

// limit says for the reason of a refusal that a pickle may only seem to be cut off.
func (p *pickleReader) limit() string {
	if p.size-p.pos <= pickle.MaxSize {
		return ""
	}
	return fmt.Sprintf(" (no more than %d bytes of a pickle are read)", pickle.MaxSize)
}

// isDefinite tells whether more bytes cannot make a pickle right: a byte that is no opcode came before the end.
func isDefinite(err error, length int) bool {
	var fault *pickle.Error
	return errors.As(err, &fault) && fault.Op == 0 && fault.Offset < length
}

// bytes reads the n bytes that follow.
func (p *pickleReader) bytes(n int64) ([]byte, error) {
	if n > p.size-p.pos {
		return nil, broken("the file is cut off: %d bytes are missing at byte %d", n-(p.size-p.pos), p.size)
	}
	data := make([]byte, n)
	if got, err := p.source.ReadAt(data, p.pos); got < len(data) {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, p.pos, err)
	}
	p.pos += n
	return data, nil
}

// skip passes over n bytes, which must be there.
func (p *pickleReader) skip(n int64) error {
	if n < 0 || n > p.size-p.pos {
		return broken("the file is cut off: %d bytes should follow byte %d, but only %d do", n, p.pos, p.size-p.pos)
	}
	p.pos += n
	return nil
}
