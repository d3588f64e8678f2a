// Package signature signs the files of a directory with an EC key, and checks such signatures, offline. The
// format is that of OpenSSF Model Signing 1.0 with the method "key", which other tools read and write
// (https://github.com/ossf/model-signing-spec, spec/v1.0.md):
//
//	a sigstore bundle v0.3 in JSON      names the key by the SHA-256 of its public half
//	└ a DSSE envelope                   what is signed: its type, and the payload byte for byte
//	  └ an in-toto Statement v1         what the payload says: each file with its SHA-256
//
// Checking is stricter than the format asks for. The key is the one that the user gives, never one that the
// signature brings; nothing of the payload is parsed before the envelope holds; whatever is not known is
// refused by its name; and a directory has exactly the files that are listed and nothing else, not even an
// empty directory.
package signature

// FileName is the name of the signature that lies in the directory that it signs.
const FileName = "model.sig"
