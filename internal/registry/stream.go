package registry

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"golang.org/x/time/rate"
)

// chunk is how much is read at a time.
const chunk = 1 << 20

// How long nothing may move before an attempt is given up. Registries that copy a blob to its place after the last
// byte answer late.
const (
	stallTime = 5 * time.Minute
	askTime   = time.Minute // for a question
)

var (
	errStalled = fmt.Errorf("no byte has moved for %s", stallTime)
	errSilent  = fmt.Errorf("the registry does not answer within %s", askTime)
)

// watched returns a context that ends when nothing moves for too long. moved tells that something has.
func watched(ctx context.Context) (_ context.Context, moved func(), stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(stallTime, func() { cancel(errStalled) })
	return ctx, func() { timer.Reset(stallTime) }, func() { timer.Stop(); cancel(nil) }
}

// because names the stall that ended a context.
func because(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// stream is bytes on their way: it bounds their rate and tells that they move.
type stream struct {
	ctx     context.Context
	from    io.Reader
	limiter *rate.Limiter
	moved   func(n int)
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, context.Cause(s.ctx)
	}
	if s.limiter != nil {
		p = p[:min(len(p), s.limiter.Burst())]
	}
	n, err := s.from.Read(p)
	if s.limiter != nil && n > 0 {
		if waitErr := s.limiter.WaitN(s.ctx, n); waitErr != nil {
			return n, waitErr
		}
	}
	if n > 0 {
		s.moved(n)
	}
	return n, err
}

// proof is content that is proved before its last byte is given out, so that what is not what it should be never
// arrives whole.
type proof struct {
	from io.Reader
	hash hash.Hash
	left int64
	want string // hex
	name string
}

// Read implements io.Reader.
func (p *proof) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n, err := p.from.Read(b[:min(int64(len(b)), p.left)])
	p.hash.Write(b[:n])
	p.left -= int64(n)
	switch {
	case p.left == 0:
		if got := fmt.Sprintf("%x", p.hash.Sum(nil)); got != p.want {
			return 0, &alteredError{fmt.Sprintf("%s has the SHA-256 %s, and was published with %s", p.name, got, p.want)}
		}
		return n, nil
	case errors.Is(err, io.EOF):
		return 0, &alteredError{fmt.Sprintf("%s ends %d bytes early", p.name, p.left)}
	}
	return n, err
}

// alteredError tells that a local file is not what was published.
type alteredError struct{ text string }

func (e *alteredError) Error() string { return e.text }
