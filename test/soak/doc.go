// Package soak lets the daemon, built with the race detector, watch ten trainers for a while: rotation by
// a metric, a last checkpoint that is rewritten, deaths in the middle of a save, run directories that come
// and go. docs/reliability.md tells what was found.
package soak
