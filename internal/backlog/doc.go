// Package backlog brings published bundles to a destination outside of the machine, each once, newest first.
//
// It keeps nothing of its own: what still has to go is what the artifact directory has and the destination has
// not. A restart finds out anew, and goes on. Each destination has a backlog of its own, so that one that is down
// delays no other, and nothing of training.
package backlog
