// Package pattern matches the paths of checkpoint files and captures the parts that name a set.
//
// A pattern is a slash separated path relative to a watched root:
//
//	{name}      one or more characters inside one path segment, captured
//	{name...}   one or more characters across segments, captured; never begins or ends with a slash
//	*           any characters inside one segment, also none
//	?           one character inside one segment
//	a/ at the end names a directory; everything else is literal
//
// As in a shell, * and ? do not match a dot at the start of a segment; placeholders do. Where a path
// can be read in several ways, each part from left to right takes as much as it can, but a {name} that
// only literal text separates from a * takes as little as it can. A leading {name...}/ also matches when the root itself is that directory: the capture is then the base name
// of the root, so /data/runs and /data/runs/r7 as roots give the same captures.
//
// Paths are bytes: names may hold blanks, newlines and invalid UTF-8, and captures give the exact
// bytes back. A capture never holds an empty, "." or ".." segment, so captures joined by slashes are
// a path that stays below the directory it is joined to. Matching takes time proportional to the
// length of the pattern times the length of the path.
package pattern
