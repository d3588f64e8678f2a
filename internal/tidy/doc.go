// Package tidy moves stray files from the top level of a directory to where they belong, and back.
//
// A [Tidier] serves one [[tidy]] block: each pass lists the root, chooses, and moves. Nothing is ever deleted:
// a stray is renamed to a name that is free, or, across file systems, copied, compared, and its old name removed
// only while it still is the file that was copied. Before a move its record is written to moved.jsonl in the
// directory that it goes to, and synced; after a crash the records and the files together tell what happened,
// and the next pass or [Undo] finishes it.
//
// The records are the only state: how many moves there were within an hour, and whether the storm guard has
// stopped a block, is read from them in every pass.
package tidy
