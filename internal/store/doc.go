// Package store publishes finished directories into the artifact directory: each appears under its
// name by one rename, whole or not at all, and is never replaced.
//
//	<dir>/.lock               held by the one daemon of this directory
//	<dir>/.staging/ID.lock    held by each process that stages, for as long as it lives
//	<dir>/.staging/ID.N/      what that process is writing
//	<dir>/<watch>/<key>/      published
//	<dir>/<watch>/<key>~2/    published under the same key, with other content
//
// A staging directory whose ID.lock nobody holds is litter of a dead process and is swept.
package store
