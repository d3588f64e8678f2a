package objectstore

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// Body is what is sent: a range of something that can be read again, and the SHA-256 of it.
type Body struct {
	Source io.ReaderAt
	Offset int64
	Size   int64
	SHA256 [sha256.Size]byte
	MD5    *[md5.Size]byte   // is sent, too, so that the store refuses other bytes; nil for none
	Sent   func(bytes int64) // is told what was read to be sent; may be nil
}

// Bytes makes a body of bytes.
func Bytes(data []byte) Body {
	return Body{Source: strings.NewReader(string(data)), Size: int64(len(data)), SHA256: sha256.Sum256(data)}
}

func (b Body) reader(c *call) io.Reader {
	return &slow{call: c, r: io.NewSectionReader(b.Source, b.Offset, b.Size), left: b.Size, sent: b.Sent}
}

// Checksum is the SHA-256 as stores attest it, in base64.
func (b Body) Checksum() string { return base64.StdEncoding.EncodeToString(b.SHA256[:]) }

func (b Body) md5() string {
	if b.MD5 == nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(b.MD5[:])
}

// Receipt is what a store says of an object in its answer to a PUT.
type Receipt struct {
	Checksum string // the SHA-256 that it attests, in base64; "" where it attests none
	ETag     string // without quotes
}

// Object is what a store says of an object.
type Object struct {
	Key      string
	Size     int64
	ETag     string // without quotes
	Modified time.Time
	// Checksum is the SHA-256 that the store attests, in base64; of an object of parts that of their sums, with
	// "-" and their number. "" where it attests none.
	Checksum string
	Date     time.Time // the store's clock when it said so; zero in listings
}

// CompositeETag is the ETag of an object of parts, where ETags are MD5s.
func CompositeETag(parts [][md5.Size]byte) string {
	all := md5.New()
	for _, p := range parts {
		all.Write(p[:])
	}
	return hex.EncodeToString(all.Sum(nil)) + "-" + strconv.Itoa(len(parts))
}

// Composite is the checksum that a store attests for an object of parts.
func Composite(parts [][sha256.Size]byte) string {
	all := sha256.New()
	for _, p := range parts {
		all.Write(p[:])
	}
	return base64.StdEncoding.EncodeToString(all.Sum(nil)) + "-" + strconv.Itoa(len(parts))
}

// Put stores an object with one request. Where fresh is true it asks the store to refuse when there is one of this
// name: [ErrExists]. After any error the object may have been stored.
func (c *Client) Put(ctx context.Context, key string, b Body, fresh bool) (Receipt, error) {
	call := c.call(ctx)
	defer call.end()
	// The name misleads: with it the hash that is given is signed, without it over http another one is.
	o := minio.PutObjectOptions{DisableContentSha256: true, UserMetadata: map[string]string{"x-amz-checksum-sha256": b.Checksum()}}
	if fresh {
		o.SetMatchETagExcept("*")
	}
	info, err := c.core.PutObject(call, c.bucket, key, b.reader(call), b.Size, b.md5(), hex.EncodeToString(b.SHA256[:]), o)
	return Receipt{Checksum: info.ChecksumSHA256, ETag: info.ETag}, c.told(call, "put", key, err)
}

// told adds to an error what only the call and the answer's header have.
func (c *Client) told(call *call, op, key string, err error) error {
	err = c.fail(call, op, key, err)
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	switch theirs := call.date(); {
	case e.Kind == ErrClock && !theirs.IsZero():
		e.Kind = clockError(time.Since(theirs))
	case e.Kind == ErrDenied:
		e.Kind = deniedError(op)
	}
	return err
}

// Head asks what a store says of an object: [ErrMissing] when there is none.
func (c *Client) Head(ctx context.Context, key string) (o Object, err error) {
	err = c.Again(ctx, func() error {
		o, err = c.head(ctx, key)
		return err
	})
	return o, err
}

func (c *Client) head(ctx context.Context, key string) (Object, error) {
	call := c.call(ctx)
	defer call.end()
	info, err := c.core.StatObject(call, c.bucket, key, minio.StatObjectOptions{Checksum: true})
	err = c.told(call, "look at", key, err)
	if errors.Is(err, ErrDenied) || errors.Is(err, ErrRefused) {
		return Object{}, c.explain(ctx, key, err) // a HEAD has no body that says why
	}
	if err != nil {
		return Object{}, err
	}
	return Object{Key: key, Size: info.Size, ETag: info.ETag, Modified: info.LastModified, Checksum: info.ChecksumSHA256, Date: call.date()}, nil
}

// explain asks again in a way that gets an answer with a reason.
func (c *Client) explain(ctx context.Context, key string, err error) error {
	r, _, again := c.open(ctx, key, "", 0, 1)
	if again == nil {
		return errors.Join(err, r.Close())
	}
	return again
}

// Get reads a small object: one of more than most bytes is an error.
func (c *Client) Get(ctx context.Context, key string, most int64) (data []byte, o Object, err error) {
	err = c.Again(ctx, func() error {
		var r io.ReadCloser
		if r, o, err = c.open(ctx, key, "", 0, 0); err != nil {
			return err
		}
		defer r.Close()
		if data, err = io.ReadAll(io.LimitReader(r, most+1)); err != nil {
			return c.broken("get", key, err)
		}
		if int64(len(data)) > most {
			return &Error{Op: "get", Bucket: c.bucket, Key: key, Kind: ErrRefused, Cause: fmt.Errorf("it has more than %d bytes", most)}
		}
		return nil
	})
	return data, o, err
}

// broken is an answer that ended early.
func (c *Client) broken(op, key string, err error) error {
	kind, cause := ErrUnreachable, err
	if errors.Is(err, ErrStalled) {
		kind, cause = c.stalled(), nil
	}
	return &Error{Op: op, Bucket: c.bucket, Key: key, Kind: kind, Cause: cause}
}

// open begins to read an object, or size bytes of it from offset where size is not 0. With an ETag another
// object of the name is [ErrExists].
func (c *Client) open(ctx context.Context, key, etag string, offset, size int64) (io.ReadCloser, Object, error) {
	call := c.call(ctx)
	o := minio.GetObjectOptions{}
	if size > 0 {
		if err := o.SetRange(offset, offset+size-1); err != nil {
			call.end()
			return nil, Object{}, err
		}
	}
	if etag != "" {
		if err := o.SetMatchETag(etag); err != nil {
			call.end()
			return nil, Object{}, err
		}
	}
	body, info, _, err := c.core.GetObject(call, c.bucket, key, o)
	if err != nil {
		err = c.told(call, "get", key, err)
		call.end()
		return nil, Object{}, err
	}
	return watched{call, body}, Object{Key: key, Size: info.Size, ETag: info.ETag, Modified: info.LastModified, Date: call.date()}, nil
}

// Delete removes an object; one that is not there is none's fault.
func (c *Client) Delete(ctx context.Context, key string) error {
	return c.Again(ctx, func() error {
		call := c.call(ctx)
		defer call.end()
		err := c.told(call, "delete", key, c.core.RemoveObject(call, c.bucket, key, minio.RemoveObjectOptions{}))
		if errors.Is(err, ErrMissing) {
			return nil
		}
		return err
	})
}

// Now returns the clock of the store, by asking for an object that need not be there.
func (c *Client) Now(ctx context.Context, key string) (now time.Time, err error) {
	err = c.Again(ctx, func() error {
		call := c.call(ctx)
		defer call.end()
		_, err := c.core.StatObject(call, c.bucket, key, minio.StatObjectOptions{})
		if err = c.told(call, "look at", key, err); err != nil && !errors.Is(err, ErrMissing) {
			return err
		}
		if now = call.date(); now.IsZero() {
			return &Error{Op: "look at", Bucket: c.bucket, Key: key, Kind: ErrRefused, Cause: errors.New("the store does not tell its time")}
		}
		return nil
	})
	return now, err
}

// ReadRange reads size bytes of an object from offset, the whole object of which is the one with the ETag: another of
// its name is [ErrExists].
func (c *Client) ReadRange(ctx context.Context, key, etag string, offset, size int64) (data []byte, err error) {
	err = c.Again(ctx, func() error {
		r, _, err := c.open(ctx, key, etag, offset, size)
		if err != nil {
			return err
		}
		defer r.Close()
		data = make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return c.broken("get", key, err)
		}
		return nil
	})
	return data, err
}

// Stream copies an object, or what follows an offset of it, to w until its end. It is not tried again: how far it
// came is returned.
func (c *Client) Stream(ctx context.Context, key, etag string, offset, size int64, w io.Writer) (n int64, err error) {
	r, _, err := c.open(ctx, key, etag, offset, size-offset)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err = io.Copy(w, r)
	switch {
	case err == nil && n < size-offset:
		err = c.broken("get", key, io.ErrUnexpectedEOF)
	case err != nil && !isWriteError(err):
		err = c.broken("get", key, err)
	}
	return n, err
}

// isWriteError tells a file that cannot be written from a store that does not answer.
func isWriteError(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}
