// Package objectserver is an S3-compatible store in memory, for tests. It answers the calls that bundlewatch
// makes, checks what a good store checks, and can be made to misbehave: at the n-th request, or in what it
// promises. It is no store for data.
package objectserver
