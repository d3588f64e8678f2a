package signature

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"
	"strings"
)

// Curve is the elliptic curve of a key, by the name that NIST gave it.
type Curve string

// The curves of keys that sign (algorithm-registry.md of the specification).
const (
	P256 Curve = "P-256"
	P384 Curve = "P-384"
	P521 Curve = "P-521"
)

// Curves are all curves of keys that sign; the first is the usual one.
var Curves = []Curve{P256, P384, P521}

// ParseCurve reads the name of a curve, in any case and with or without the dash.
func ParseCurve(name string) (Curve, error) {
	plain := func(s string) string { return strings.ReplaceAll(strings.ToUpper(s), "-", "") }
	for _, c := range Curves {
		if plain(string(c)) == plain(name) {
			return c, nil
		}
	}
	return "", fmt.Errorf("curve %q is not one of P-256, P-384 and P-521", name)
}

func (c Curve) elliptic() elliptic.Curve {
	switch c {
	case P384:
		return elliptic.P384()
	case P521:
		return elliptic.P521()
	}
	return elliptic.P256()
}

// digest hashes what is signed, with the hash that belongs to the curve.
func (c Curve) digest(message []byte) []byte {
	switch c {
	case P384:
		sum := sha512.Sum384(message)
		return sum[:]
	case P521:
		sum := sha512.Sum512(message)
		return sum[:]
	}
	sum := sha256.Sum256(message)
	return sum[:]
}

// curveOf returns the curve of a key.
func curveOf(key *ecdsa.PublicKey) (Curve, error) {
	c := Curve(key.Curve.Params().Name)
	if !slices.Contains(Curves, c) {
		return "", fmt.Errorf("it is an EC key on the curve %s: %w", c, errWrongKey)
	}
	return c, nil
}
