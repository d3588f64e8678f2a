// Package tree works below handles of directories: every path is decided on and acted on relative to a
// directory that is open, one name at a time, and no symbolic link is followed. What somebody swaps for a
// link meanwhile is refused, and nothing outside is reached through it.
package tree
