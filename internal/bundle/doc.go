// Package bundle writes, verifies and inspects bundles: directories of
//
//	wts.h5.zip            the archive that loaders read
//	bundle_manifest.json  what is in it, where it came from, and why it was thought complete
//	archive_tree.txt      the archive's entries with their sizes, for people
//	SHA256SUMS            digests of the three, for sha256sum -c
//	model.sig             where bundles are signed: the signature of all the others
//
// The archive is deterministic: its bytes depend on the members, the frozen config and the params
// alone. What differs between hosts and times is in the manifest beside it.
//
// The archive's layout is that of PtychoPINN's loaders (ptycho_torch/model_manager.py).
package bundle

import "github.com/bundlewatch/bundlewatch/internal/signature"

// Names of the files of a bundle.
const (
	ArchiveName  = "wts.h5.zip"
	ManifestName = "bundle_manifest.json"
	TreeName     = "archive_tree.txt"
	SumsName     = "SHA256SUMS"
	// SignatureName is the one that not every bundle has, and that SHA256SUMS does not list: it signs that file, too.
	SignatureName = signature.FileName
)

// Names of the entries of an archive. Each role has a folder with ModelName and paramsName in it.
const (
	rootManifestName = "manifest.dill"
	ModelName        = "model.pth"
	paramsName       = "params.dill"
	scalingName      = "torch_scaling_metadata.pt"
	ownFolder        = "bundlewatch/"
	innerName        = ownFolder + "manifest.json"
	configFolder     = ownFolder + "config/"
	firstFolder      = ownFolder + "config-at-first-member/"
	hyperFolder      = ownFolder + "hyper_parameters/"
)

// archiveVersion is what manifest.dill says, and params.dill as _version.
const archiveVersion = "2.0-pytorch"
