// Package store holds the suite that runs bundlewatch against a real S3 server on loopback; see run.sh.
package store
