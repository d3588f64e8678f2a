package bundle

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
)

// copy appends a payload. The source is read once; each range is held against the CRC-32 that was saved for
// it, and a mismatch is the error of [checkpoint.ErrCRC].
func (o *output) copy(p *checkpoint.Payload) error {
	begin := o.offset()
	file, _ := p.Source.(filed)
	shared := 0 // segments of a run that was offered for sharing
	for i, s := range p.Segments {
		if file != nil && s.Literal == nil && i >= shared {
			var size int64
			shared, size = run(p.Segments, i)
			if err := o.share(file.File(), s.Offset, size); err != nil {
				return fmt.Errorf("copy %s: %w", s.Name(), err)
			}
		}
		if err := o.copySegment(p.Source, s); err != nil {
			return err
		}
	}
	if written := o.offset() - begin; written != p.Size {
		return fmt.Errorf("wrote %d bytes of a payload of %d", written, p.Size)
	}
	return nil
}

// filed is a source that is a file, whose extents the archive can share.
type filed interface{ File() *os.File }

// run returns the end and the bytes of the segments from i on that follow each other in the source, too.
func run(segments []checkpoint.Segment, i int) (end int, size int64) {
	for end = i; end < len(segments); end++ {
		s := segments[end]
		if s.Literal != nil || s.Offset != segments[i].Offset+size {
			break
		}
		size += s.Size
	}
	return end, size
}

func (o *output) copySegment(source io.ReaderAt, s checkpoint.Segment) error {
	if s.Literal != nil {
		return o.append(s.Literal)
	}
	var sum uint32
	for read := int64(0); read < s.Size; {
		room, err := o.room()
		if err != nil {
			return err
		}
		room = room[:min(s.Size-read, int64(len(room)))]
		n, err := source.ReadAt(room, s.Offset+read)
		if n < len(room) {
			return fmt.Errorf("read %s at byte %d: %w", s.Name(), s.Offset+read+int64(n), unexpected(err))
		}
		sum = crc32.Update(sum, crc32.IEEETable, room)
		o.filled(n)
		read += int64(n)
	}
	if sum != s.CRC32 {
		return checkpoint.ErrCRC(s.Record, s.CRC32, sum)
	}
	return nil
}

// unexpected names the end of a file that should not be there yet.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// cause returns why the output was given up, nil if it was not.
func cause(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
