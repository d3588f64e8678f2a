// Package objectstore makes the calls to an S3-compatible store that bundlewatch needs, and says what their
// failures mean. It knows nothing of bundles.
//
// No body travels without a signed SHA-256 of it, so that a store cannot keep half of one. Nothing is repeated
// behind the back of the caller but what changes nothing when it is done twice; a conditional write that
// failed may have been done, and only reading tells. Of minio-go only Core is used: its PutObject forgets the
// condition of a large object, and its streaming signature replaces the hash.
package objectstore
