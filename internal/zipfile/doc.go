// Package zipfile reads the directory of a zip strictly and lays out deterministic zips.
//
// Reading trusts nothing: the central directory is held against every local header, and whatever
// another reader could understand differently (a second end record, bytes before or after the
// archive, overlapping or unaccounted ranges, repeated or escaping names) is an error. Writing knows
// sizes and CRCs beforehand, so that a zip is laid out before its contents are read and needs no
// data descriptors.
//
// The format is PKWARE's APPNOTE.TXT 6.3; the FB extra field that pads a file's data to an offset is
// the one that torch.save writes (caffe2/serialize/inline_container.cc).
package zipfile
