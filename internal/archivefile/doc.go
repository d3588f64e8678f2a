// Package archivefile writes a large file once, from front to back, with as little work as the file
// system allows.
//
// The file is made of blocks that are filled in order and may be written in any order. Where the file system
// can share extents, ranges of the sources are cloned and need no write at all. On local disk file systems
// large files are written past the page cache, which belongs to the training on the same machine; elsewhere
// write-back is begun at once and the pages are dropped at the end. What the file holds does not depend on
// which way was taken.
package archivefile
