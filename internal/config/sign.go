package config

import (
	"fmt"
	"strconv"
)

// Sign says whether and how bundles are signed.
type Sign struct {
	Key  string // absolute path of the private key; "" leaves bundles unsigned
	line int    // where the key is in the file
}

var signTable = tableDoc{
	header:  "[sign]",
	meaning: "Bundles are signed in the format of OpenSSF Model Signing where `key` is set; see [signing.md](signing.md).",
	keys: []keyDoc{
		{
			name: "key", kind: "path",
			meaning: "The private key, a PEM file (PKCS #8 or SEC 1) with an EC key on P-256, P-384 or P-521 and without a password, closed to " +
				"everybody but its owner and group: `bundlewatch keygen` makes one. It is read at the start and at each reload. A systemd credential with " +
				"the name of the file (`LoadCredential=`, in `$CREDENTIALS_DIRECTORY`) is taken in its place.",
		},
	},
}

func readSign(s section, cfg *Config) Sign {
	if _, given := s.values["key"]; s.values != nil && !given {
		s.add(s.place("key"), "nothing", "a path, or no [sign] at all")
	}
	return Sign{Key: s.absolute("key", cfg), line: s.place("key").line}
}

// KeyProblem is the problem of a file whose key cannot be used.
func (c *Config) KeyProblem(err error) error {
	return &KeyError{Problems: Problems{{File: c.Path, Line: max(1, c.Sign.line), Key: "sign.key",
		Found: fmt.Sprintf("%s, which cannot be used (%s)", strconv.Quote(c.Sign.Key), printable(err.Error())), Expected: "a private key; bundlewatch keygen makes one"}}, cause: err}
}

// KeyError is about the key of [sign]. It is [Problems], and wraps what is wrong with the key.
type KeyError struct {
	Problems
	cause error
}

// Unwrap returns the problem, and its cause.
func (e *KeyError) Unwrap() []error { return []error{e.Problems, e.cause} }
