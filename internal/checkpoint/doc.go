// Package checkpoint reads the checkpoint files of training frameworks: it recognises a file by its
// content, proves it whole by the rules of its format, lists its tensors, and lays out the part of
// it that travels into a bundle.
//
// Opening a checkpoint reads its structure and its pickle, never the tensors. The tensors' bytes are
// read once, when the payload is copied; that is when their CRCs are checked. Formats without CRCs are read
// twice: the first time, when the payload is laid out, for the CRC that the copy is held against.
//
// Each format has a file of its own with the function that reads and proves it. What proves a format, and what
// it cannot prove, is told by [Checkpoint.Whole]. Torch's formats, zip and legacy, have a state_dict that can be
// extracted ([Checkpoint.IsTorch]); the others travel as they are.
package checkpoint
