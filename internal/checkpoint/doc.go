// Package checkpoint reads the checkpoint files of training frameworks: it recognises a file by its
// content, proves it whole by the rules of its format, lists its tensors, and lays out the part of
// it that travels into a bundle.
//
// Opening a checkpoint reads its structure and its pickle, never the tensors. The tensors' bytes are
// read once, when the payload is copied; that is when their CRCs are checked.
package checkpoint
