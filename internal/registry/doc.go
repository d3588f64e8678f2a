// Package registry brings bundles to OCI registries and back, as artifacts of the ModelPack specification
// (github.com/modelpack/model-spec), which ORAS, modctl and others can pull without this program.
//
// An artifact is a function of the bundle's bytes: the same bundle has the same digest on every push. Content goes
// first, then the manifest by its digest, then the tag, so that a tag never names what is not all there. A tag that
// holds another digest is never overwritten, as far as a registry lets a client keep that: it can look before it
// writes, and look again afterwards.
//
// Of what is pulled every byte is hashed, and nothing has a name before all of it is proved.
package registry
