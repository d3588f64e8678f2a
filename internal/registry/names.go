package registry

import "github.com/bundlewatch/bundlewatch/internal/bundle"

// Names of the ModelPack specification as of June 2026 (github.com/modelpack/model-spec, docs/spec.md and
// docs/annotations.md). It is at 0.0.x and was renamed before, so they are all here.
const (
	artifactType  = "application/vnd.cncf.model.manifest.v1+json"
	configType    = "application/vnd.cncf.model.config.v1+json"
	weightType    = "application/vnd.cncf.model.weight.v1.raw"
	docType       = "application/vnd.cncf.model.doc.v1.raw"
	modelPackPath = "org.cncf.model.filepath"
	layersFS      = "layers" // modelfs.type
)

// titleName is the annotation that ORAS and CRI-O take a file's name from
// (github.com/opencontainers/image-spec, annotations.md).
const titleName = "org.opencontainers.image.title"

// What the manifest says of the bundle, besides the annotations of the image specification.
const (
	watchNote    = "com.github.bundlewatch.watch"
	keyNote      = "com.github.bundlewatch.key"
	runNote      = "com.github.bundlewatch.run"
	versionNote  = "com.github.bundlewatch.version"
	archiveNote  = "com.github.bundlewatch.archive.sha256"
	sumsNote     = "com.github.bundlewatch.sums.sha256"
	toolNote     = "com.github.bundlewatch.tool"
	createdNote  = "org.opencontainers.image.created"
	revisionNote = "org.opencontainers.image.revision"
)

// files are the files of a bundle in the order of the layers, and what each is to ModelPack.
var files = []struct{ name, mediaType string }{
	{bundle.ArchiveName, weightType},
	{bundle.ManifestName, docType},
	{bundle.TreeName, docType},
	{bundle.SumsName, docType},
	{bundle.SignatureName, docType}, // not every bundle has it
}
