package objectstore

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// Part is a part of an upload that the store has. Its size is not said: stores have been seen to tell the size
// that was announced, not the one that arrived.
type Part struct {
	Number   int
	ETag     string // without quotes
	Checksum string // SHA-256 in base64; "" where the store attests none
}

// Upload is an upload that was begun and not completed.
type Upload struct {
	Key, ID string
	Begun   time.Time
}

// Begin begins an upload of parts and returns its id.
func (c *Client) Begin(ctx context.Context, key string) (id string, err error) {
	call := c.call(ctx)
	defer call.end()
	id, err = c.core.NewMultipartUpload(call, c.bucket, key, minio.PutObjectOptions{UserMetadata: map[string]string{"x-amz-checksum-algorithm": "SHA256"}})
	return id, c.told(call, "begin upload of", key, err)
}

// PutPart sends a part. Sending it again replaces it.
func (c *Client) PutPart(ctx context.Context, key, id string, number int, b Body) (p Part, err error) {
	err = c.Again(ctx, func() error {
		call := c.call(ctx)
		defer call.end()
		part, err := c.core.PutObjectPart(call, c.bucket, key, id, number, b.reader(call), b.Size, minio.PutObjectPartOptions{
			Sha256Hex: hex.EncodeToString(b.SHA256[:]), DisableContentSha256: true, CustomHeader: http.Header{"X-Amz-Checksum-Sha256": {b.Checksum()}}})
		p = Part{Number: number, ETag: part.ETag, Checksum: b.Checksum()}
		return c.told(call, "put part of", key, err)
	})
	return p, err
}

// Parts returns the parts that the store has of an upload: [ErrNoUpload] when it does not know it.
func (c *Client) Parts(ctx context.Context, key, id string) (parts []Part, err error) {
	err = c.Again(ctx, func() error {
		parts = nil
		for marker := 0; ; {
			call := c.call(ctx)
			page, err := c.core.ListObjectParts(call, c.bucket, key, id, marker, 1000)
			err = c.told(call, "list parts of", key, err)
			call.end()
			if err != nil {
				return err
			}
			for _, p := range page.ObjectParts {
				parts = append(parts, Part{Number: p.PartNumber, ETag: strings.Trim(p.ETag, `"`), Checksum: p.ChecksumSHA256})
			}
			if !page.IsTruncated || page.NextPartNumberMarker <= marker {
				return nil
			}
			marker = page.NextPartNumberMarker
		}
	})
	if errors.Is(err, ErrMissing) {
		return nil, ErrNoUpload
	}
	return parts, err
}

// Complete makes the parts, in order, one object. What was said of errors and of fresh at [Client.Put] holds here,
// and some stores ignore fresh.
func (c *Client) Complete(ctx context.Context, key, id string, parts []Part, fresh bool) error {
	call := c.call(ctx)
	defer call.end()
	o := minio.PutObjectOptions{}
	if fresh {
		o.SetMatchETagExcept("*")
	}
	list := make([]minio.CompletePart, len(parts))
	for i, p := range parts {
		list[i] = minio.CompletePart{PartNumber: p.Number, ETag: p.ETag, ChecksumSHA256: p.Checksum}
	}
	_, err := c.core.CompleteMultipartUpload(call, c.bucket, key, id, list, o)
	return c.told(call, "complete upload of", key, err)
}

// Abort gives an upload up; one that the store does not know is given up already.
func (c *Client) Abort(ctx context.Context, key, id string) error {
	return c.Again(ctx, func() error {
		call := c.call(ctx)
		defer call.end()
		err := c.told(call, "abort upload of", key, c.core.AbortMultipartUpload(call, c.bucket, key, id))
		if errors.Is(err, ErrNoUpload) || errors.Is(err, ErrMissing) {
			return nil
		}
		return err
	})
}

// Uploads calls each for every open upload of the bucket: some stores cannot be asked for those below a prefix.
func (c *Client) Uploads(ctx context.Context, each func(Upload) error) error {
	for key, id := "", ""; ; {
		var page minio.ListMultipartUploadsResult
		err := c.Again(ctx, func() (err error) {
			call := c.call(ctx)
			defer call.end()
			page, err = c.core.ListMultipartUploads(call, c.bucket, "", key, id, "", 1000)
			return c.told(call, "list uploads in", "", err)
		})
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			if err := each(Upload{Key: u.Key, ID: u.UploadID, Begun: u.Initiated}); err != nil {
				return err
			}
		}
		if !page.IsTruncated || page.NextKeyMarker == key && page.NextUploadIDMarker == id {
			return nil
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}
