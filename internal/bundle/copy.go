package bundle

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// fileReader reads a file, of which ranges can be shared.
type fileReader interface {
	io.ReaderAt
	File() *os.File
}

// copy appends a payload. The source is read once; each range is held against the CRC-32 that was saved for
// it, and a mismatch is the error of [checkpoint.ErrCRC].
func (o *output) copy(p *checkpoint.Payload) error {
	c := &copier{output: o, source: p.Source, near: zipfile.NewWindow(p.Source, nearby)}
	begin := o.offset()
	for s := range p.Segments() {
		if err := c.take(s); err != nil {
			return err
		}
	}
	if err := c.copyRun(); err != nil {
		return err
	}
	if written := o.offset() - begin; written != p.Size {
		return fmt.Errorf("wrote %d bytes of a payload of %d", written, p.Size)
	}
	return nil
}

const (
	maxRun = 1 << 12  // segments
	nearby = 64 << 10 // bytes: what is smaller is read together with what follows it
)

// copier copies what follows each other in the source at once.
type copier struct {
	*output
	source io.ReaderAt
	near   *zipfile.Window
	run    []checkpoint.Segment // that are to be copied
}

func (c *copier) take(s checkpoint.Segment) error {
	if len(c.run) == maxRun || s.Literal != nil || len(c.run) > 0 && s.Offset != c.end() {
		if err := c.copyRun(); err != nil {
			return err
		}
	}
	if s.Literal != nil {
		return c.append(s.Literal)
	}
	c.run = append(c.run, s)
	return nil
}

// end returns where in the source the run ends.
func (c *copier) end() int64 {
	last := c.run[len(c.run)-1]
	return last.Offset + last.Size
}

func (c *copier) copyRun() error {
	if len(c.run) == 0 {
		return nil
	}
	check := checker{left: c.run}
	at, end := c.run[0].Offset, c.end()
	source := c.source
	if end-at < nearby {
		source = c.near
	}
	if file, ok := c.source.(fileReader); ok {
		if err := c.share(file.File(), at, end-at); err != nil {
			return fmt.Errorf("copy %s: %w", c.run[0].Name(), err)
		}
	}
	for at < end {
		room, err := c.room()
		if err != nil {
			return err
		}
		room = room[:min(end-at, int64(len(room)))]
		n, err := source.ReadAt(room, at)
		if wrong := check.add(room[:n]); wrong != nil {
			return wrong
		}
		at += int64(n)
		if n < len(room) {
			return fmt.Errorf("read %s at byte %d: %w", check.left[0].Name(), at, unexpected(err))
		}
		c.filled(n)
	}
	c.run = c.run[:0]
	return nil
}

// checker holds bytes against the CRC-32 of the segments to which they belong.
type checker struct {
	left []checkpoint.Segment
	done int64 // bytes of the first of them
	sum  uint32
}

func (c *checker) add(data []byte) error {
	for len(data) > 0 {
		s := &c.left[0]
		n := min(s.Size-c.done, int64(len(data)))
		c.sum = crc32.Update(c.sum, crc32.IEEETable, data[:n])
		data = data[n:]
		if c.done += n; c.done < s.Size {
			return nil
		}
		if c.sum != s.CRC32 {
			return checkpoint.ErrCRC(s.Record, s.CRC32, c.sum)
		}
		c.left, c.done, c.sum = c.left[1:], 0, 0
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
