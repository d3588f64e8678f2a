// Package tidy tests the moving of strays as a whole: a crash, a failure and a change of the stray at every system
// call of a move and of its undo. docs/tidy.md tells what was found.
package tidy
