package bundle

// SignatureName is the file of a bundle that not every bundle has, and that SHA256SUMS does not list: it signs that
// file, too.
const SignatureName = "model.sig"
