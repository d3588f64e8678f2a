package objectstore

import (
	"context"

	"github.com/minio/minio-go/v7"
)

// List calls each for every object below a prefix whose key comes after a given one. Where deep is false what has
// a slash behind the prefix is told once, as an object without a size whose key ends in the slash. Keys come in
// order but for those.
func (c *Client) List(ctx context.Context, prefix, after string, deep bool, each func(Object) error) error {
	return c.Again(ctx, func() error {
		call := c.call(ctx)
		defer call.end()
		o := minio.ListObjectsOptions{Prefix: prefix, StartAfter: after, Recursive: deep, MaxKeys: 1000}
		for info := range c.core.ListObjectsIter(call, c.bucket, o) {
			if info.Err != nil {
				return c.told(call, "list", prefix, info.Err)
			}
			call.moved()
			if err := each(listed(info)); err != nil {
				return err
			}
			if deep {
				after = info.Key // from where a listing that was interrupted goes on
			}
		}
		if call.Err() != nil {
			return c.told(call, "list", prefix, call.Err())
		}
		return nil
	})
}

func listed(info minio.ObjectInfo) Object {
	if info.ETag == "" && info.LastModified.IsZero() {
		return Object{Key: info.Key, Size: -1}
	}
	return Object{Key: info.Key, Size: info.Size, ETag: info.ETag, Modified: info.LastModified}
}
