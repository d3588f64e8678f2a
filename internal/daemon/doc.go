// Package daemon drives bundles from settled files to the artifact directory: [Once] makes one pass,
// [Check] looks without changing anything, [Run] goes on until its context is done.
//
// One goroutine owns the sets of a watch. It receives facts from the watcher and outcomes from the
// packer; nothing is shared between goroutines but what a job was given when it was made.
package daemon
