package objectstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// What a call failed of. An [Error] wraps one of them.
var (
	ErrMissing     = errors.New("there is no such object")
	ErrExists      = errors.New("there is an object of this name already")
	ErrConflict    = errors.New("another operation on the same object was faster")
	ErrNoUpload    = errors.New("the store does not know this upload any more")
	ErrNoBucket    = errors.New("the bucket does not exist: make it, or correct bucket in the config")
	ErrDenied      = errors.New("the credentials have no right to do this: see docs/store.md for the policy that bundlewatch needs")
	ErrKeys        = errors.New("the store does not know these credentials, or the secret is wrong: correct them where they come from")
	ErrNoKeys      = errors.New("there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or credentials in the config")
	ErrClock       = errors.New("the clock of this host differs too much from that of the store: set it (timedatectl)")
	ErrRegion      = errors.New("the bucket is in another region: correct region in the config")
	ErrNotS3       = errors.New("what answers is no S3-compatible store: correct endpoint in the config, or look at the proxy on the way")
	ErrFull        = errors.New("the store is full, or a quota is used up: make room there")
	ErrBusy        = errors.New("the store is busy or has a fault: look at it, or lower parallel in the config")
	ErrHash        = errors.New("the bytes that arrived are not those that were sent")
	ErrUntrusted   = errors.New("the certificate of the store is not trusted: set ca_file in the config to that of its authority")
	ErrUnsupported = errors.New("the store does not know this request")
	ErrUnreachable = errors.New("the store cannot be reached: look at endpoint in the config and at the network, for a service also at its drop-in store.conf")
	ErrStalled     = errors.New("nothing moved for too long: the store or the network on the way hangs")
	ErrRefused     = errors.New("the store refused the request")
	ErrSource      = errors.New("what is to be sent cannot be read")
)

// Error is a call that failed.
type Error struct {
	Op     string // such as "put"
	Bucket string
	Key    string // "" for the bucket
	Kind   error  // one of those above
	Status int    // of HTTP, 0 where there was no answer
	Code   string // of S3, "" where there was none
	Cause  error
}

func (e *Error) Error() string {
	what := fmt.Sprintf("%s bucket %q", e.Op, e.Bucket)
	if e.Key != "" {
		what = fmt.Sprintf("%s %q in bucket %q", e.Op, e.Key, e.Bucket)
	}
	switch {
	case e.Code != "" && !strings.HasPrefix(e.Code, fmt.Sprint(e.Status)):
		return fmt.Sprintf("%s: %v (%d %s)", what, e.Kind, e.Status, e.Code)
	case e.Status != 0:
		return fmt.Sprintf("%s: %v (%d)", what, e.Kind, e.Status)
	case e.Cause != nil:
		return fmt.Sprintf("%s: %v: %v", what, e.Kind, e.Cause)
	}
	return fmt.Sprintf("%s: %v", what, e.Kind)
}

func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// IsTransient tells whether the same call may well succeed in a moment.
func IsTransient(err error) bool {
	for _, kind := range []error{ErrBusy, ErrUnreachable, ErrStalled, ErrConflict, ErrHash} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// IsSetup tells whether the failure is of the configuration or the account, and lasts until somebody changes it.
func IsSetup(err error) bool {
	for _, kind := range []error{ErrNoBucket, ErrDenied, ErrKeys, ErrNoKeys, ErrClock, ErrRegion, ErrNotS3, ErrUntrusted} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// fail makes an [Error] of what a call returned, nil of nil.
func (c *Client) fail(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: op, Bucket: c.bucket, Key: key, Cause: err}
	var answer minio.ErrorResponse
	switch {
	case errors.As(err, &answer) && answer.StatusCode != 0:
		e.Status, e.Code = answer.StatusCode, answer.Code
		e.Kind = kindOf(answer)
		e.Cause = nil // its message may hold anything, and the code says it
	case errors.Is(context.Cause(ctx), ErrStalled):
		e.Kind, e.Cause = c.stalled(), nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		e.Kind, e.Cause = kindOfTransport(err)
	}
	return e
}

// clockError says by how much the clock of this host is off.
func clockError(ahead time.Duration) error {
	if ahead < 0 {
		return fmt.Errorf("%w: it is %v behind it", ErrClock, (-ahead).Round(time.Second))
	}
	return fmt.Errorf("%w: it is %v ahead of it", ErrClock, ahead.Round(time.Second))
}

// right is what a call is for the policies of S3.
type right struct{ call, takes string }

// What is not there is denied to who may not list.
const (
	toRead = "s3:GetObject, and s3:ListBucket for what is not there"
	toPart = "s3:PutObject without a condition such as s3:if-none-match, which it cannot meet: large files go by it"
)

// rights are those that calls need, by what an [Error] says was tried.
var rights = map[string]right{
	"put":                {"PutObject", "s3:PutObject"},
	"get":                {"GetObject", toRead},
	"look at":            {"HeadObject", toRead},
	"delete":             {"DeleteObject", "s3:DeleteObject"},
	"list":               {"ListObjectsV2", "s3:ListBucket"},
	"begin upload of":    {"CreateMultipartUpload", toPart},
	"put part of":        {"UploadPart", toPart},
	"complete upload of": {"CompleteMultipartUpload", "s3:PutObject"},
	"list parts of":      {"ListParts", "s3:ListMultipartUploadParts"},
	"abort upload of":    {"AbortMultipartUpload", "s3:AbortMultipartUpload"},
	"list uploads in":    {"ListMultipartUploads", "s3:ListBucketMultipartUploads"},
}

// deniedError says which call was denied, and what it takes.
func deniedError(op string) error {
	r := rights[op]
	return fmt.Errorf("%w: %s was denied, which takes %s", ErrDenied, r.call, r.takes)
}

func (c *Client) stalled() error { return fmt.Errorf("%w (%v)", ErrStalled, c.patience.Stall) }

var codes = map[string]error{
	"NoSuchKey": ErrMissing, "NotFound": ErrMissing, "NoSuchUpload": ErrNoUpload, "NoSuchBucket": ErrNoBucket,
	"PreconditionFailed": ErrExists, "ConditionalRequestConflict": ErrConflict, "OperationAborted": ErrConflict,
	"AccessDenied": ErrDenied, "AllAccessDisabled": ErrDenied, "AccountProblem": ErrDenied,
	"InvalidAccessKeyId": ErrKeys, "SignatureDoesNotMatch": ErrKeys, "InvalidToken": ErrKeys, "ExpiredToken": ErrKeys,
	"RequestTimeTooSkewed":         ErrClock,
	"AuthorizationHeaderMalformed": ErrRegion, "PermanentRedirect": ErrRegion, "InvalidRegion": ErrRegion, "IllegalLocationConstraintException": ErrRegion,
	"XMinioStorageFull": ErrFull, "QuotaExceeded": ErrFull, "EntityTooLarge": ErrFull, "InsufficientCapacity": ErrFull,
	"BadDigest": ErrHash, "XAmzContentSHA256Mismatch": ErrHash, "XAmzContentChecksumMismatch": ErrHash, "InvalidDigest": ErrHash, "IncompleteBody": ErrHash,
	"NotImplemented": ErrUnsupported, "MethodNotAllowed": ErrUnsupported,
	"SlowDown": ErrBusy, "ServiceUnavailable": ErrBusy, "InternalError": ErrBusy, "RequestTimeout": ErrBusy,
}

// kindOf reads the code, which says more than the status, and then the status.
func kindOf(a minio.ErrorResponse) error {
	if kind, known := codes[a.Code]; known {
		return kind
	}
	switch status := a.StatusCode; {
	case status == http.StatusNotFound:
		return ErrMissing
	case status == http.StatusPreconditionFailed:
		return ErrExists
	case status == http.StatusConflict:
		return ErrConflict
	case status == http.StatusUnauthorized:
		return ErrKeys
	case status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusMovedPermanently || status == http.StatusTemporaryRedirect:
		return ErrRegion
	case status == http.StatusInsufficientStorage:
		return ErrFull
	case status == http.StatusNotImplemented:
		return ErrUnsupported
	case status == http.StatusTooManyRequests || status >= 500:
		return ErrBusy
	}
	return ErrRefused
}

// kindOfTransport judges what was no answer of S3, and drops the address, which the config has.
func kindOfTransport(err error) (kind, cause error) {
	err = withoutURL(err)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var network net.Error
	var noKeys *noKeysError
	var source *sourceError
	switch {
	case errors.As(err, &source):
		return ErrSource, source.error
	case errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &invalid), errors.As(err, &verification):
		return ErrUntrusted, err
	case errors.As(err, &header):
		return ErrNotS3, err
	case errors.Is(err, ErrNotS3):
		return ErrNotS3, nil
	case errors.As(err, &noKeys) && len(noKeys.reasons) == 0:
		return ErrNoKeys, nil
	case errors.As(err, &noKeys):
		return ErrNoKeys, noKeys
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return ErrNotS3, err
	case errors.As(err, &network):
		return ErrUnreachable, err
	}
	return ErrUnreachable, err
}
