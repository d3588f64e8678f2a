package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
)

const (
	chunkSize  = 1 << 20
	chunkCount = 4 // in flight: one being read, hashed for the member, hashed for the archive, written
)

// Progress is told how many bytes were written since the last call. It may be called from any
// goroutine.
type Progress func(bytes int64)

// output is the archive being written: a file and the digest of all that went into it.
type output struct {
	file     io.Writer
	sum      hash.Hash
	free     chan []byte
	progress Progress
}

func newOutput(file io.Writer, progress Progress) *output {
	o := &output{file: file, sum: sha256.New(), free: make(chan []byte, chunkCount), progress: progress}
	for range chunkCount {
		o.free <- make([]byte, chunkSize)
	}
	return o
}

// copy writes a payload and returns the SHA-256 of it in hex. The source is read once; each range is
// held against the CRC-32 that was saved for it, and a mismatch is the error of [checkpoint.ErrCRC].
// Reading, the two hashes and writing overlap.
func (o *output) copy(ctx context.Context, p *checkpoint.Payload) (string, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	read := make(chan []byte)
	var readErr error
	go func() {
		defer close(read)
		readErr = o.read(ctx, p, read)
	}()
	member := sha256.New()
	written, writeErr := o.write(hashed(hashed(read, member), o.sum), stop)
	switch {
	case writeErr != nil:
		return "", writeErr
	case readErr != nil:
		return "", readErr
	case written != p.Size:
		return "", fmt.Errorf("wrote %d bytes of a payload of %d", written, p.Size)
	}
	return hex.EncodeToString(member.Sum(nil)), nil
}

// read sends the bytes of the payload, in order, in buffers that write gives back.
func (o *output) read(ctx context.Context, p *checkpoint.Payload, out chan<- []byte) error {
	for _, s := range p.Segments {
		var source io.Reader = &literal{s.Literal}
		if s.Literal == nil {
			source = io.NewSectionReader(p.Source, s.Offset, s.Size)
		}
		if err := o.readSegment(ctx, s, source, out); err != nil {
			return err
		}
	}
	return nil
}

// literal reads bytes that are in memory already.
type literal struct{ rest []byte }

func (l *literal) Read(b []byte) (int, error) {
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (o *output) readSegment(ctx context.Context, s checkpoint.Segment, source io.Reader, out chan<- []byte) error {
	sum := crc32.NewIEEE()
	for left := s.Size; left > 0; {
		var buffer []byte
		select {
		case buffer = <-o.free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		buffer = buffer[:min(left, chunkSize)]
		if n, err := io.ReadFull(source, buffer); err != nil {
			o.free <- buffer[:chunkSize]
			return fmt.Errorf("read %s at byte %d: %w", s.Name(), s.Offset+s.Size-left+int64(n), err)
		}
		left -= int64(len(buffer))
		sum.Write(buffer)
		select {
		case out <- buffer:
		case <-ctx.Done():
			o.free <- buffer[:chunkSize]
			return context.Cause(ctx)
		}
	}
	if got := sum.Sum32(); got != s.CRC32 {
		return checkpoint.ErrCRC(s.Record, s.CRC32, got)
	}
	return nil
}

// hashed passes buffers on after adding them to a digest.
func hashed(in <-chan []byte, sum hash.Hash) <-chan []byte {
	out := make(chan []byte)
	go func() {
		defer close(out)
		for buffer := range in {
			sum.Write(buffer)
			out <- buffer
		}
	}()
	return out
}

// write writes what it receives until the channel is closed. After an error it stops the reader and
// drops what is still on the way.
func (o *output) write(in <-chan []byte, stop func()) (written int64, err error) {
	for buffer := range in {
		if err == nil {
			var n int
			n, err = o.file.Write(buffer)
			written += int64(n)
			o.progress(int64(n))
			if err != nil {
				stop()
			}
		}
		o.free <- buffer[:chunkSize]
	}
	return written, err
}
