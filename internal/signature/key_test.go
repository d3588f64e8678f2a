package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func testdata(t *testing.T, name string) string {
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(text)
}

func TestPairsAreWrittenOnceAndSafely(t *testing.T) {
	for _, c := range Curves {
		dir := t.TempDir()
		private, public := filepath.Join(dir, "k.pem"), filepath.Join(dir, "k.pub")
		key := newKey(t, c)
		require.NoError(t, WritePair(key, private, public))
		info, err := os.Stat(private)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode())

		read, err := ReadPrivateKey(private)
		require.NoError(t, err)
		require.True(t, read.key.Equal(key.key))
		half, err := ReadPublicKey(public)
		require.NoError(t, err)
		require.Equal(t, key.Public().Fingerprint(), half.Fingerprint())
		require.Equal(t, c, half.Curve())

		require.ErrorContains(t, WritePair(newKey(t, c), private, filepath.Join(dir, "other.pub")), "never overwritten")
		require.NoFileExists(t, filepath.Join(dir, "other.pub"))
		require.ErrorContains(t, WritePair(newKey(t, c), filepath.Join(dir, "other.pem"), public), "never overwritten")
		require.NoFileExists(t, filepath.Join(dir, "other.pem"), "a private key without its public half")
	}
}

func TestPrivateKeysInEveryForm(t *testing.T) {
	for _, c := range Curves {
		key := newKey(t, c)
		sec1, err := x509.MarshalECPrivateKey(key.key)
		require.NoError(t, err)
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key.key)
		require.NoError(t, err)
		for _, text := range []string{block(typeSEC1, sec1), block(typePKCS8, pkcs8), block(typeParams, []byte{6, 0}) + block(typeSEC1, sec1),
			"a comment\n" + block(typePKCS8, pkcs8)} {
			read, err := ParsePrivateKey([]byte(text))
			require.NoError(t, err)
			require.True(t, read.key.Equal(key.key))
		}
	}
}

// What openssl writes for other keys, and files that are something else.
func TestWrongKeysAreNamed(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		return block(typePKCS8, der)
	}
	spki := func(key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		require.NoError(t, err)
		return block(typePublic, der)
	}
	mine := newKey(t, P256)
	private := pkcs8(mine.key)
	const only = "only EC keys on P-256, P-384 and P-521 are supported"
	for name, c := range map[string]struct{ text, private, public string }{
		"P-224":             {pkcs8(p224), "it is an EC key on the curve P-224: " + only, "it is a private key, where the public one is needed"},
		"P-224, public":     {spki(&p224.PublicKey), "it is a public key, where the private one is needed", "it is an EC key on the curve P-224: " + only},
		"secp256k1":         {testdata(t, "secp256k1.pem"), only, "a private key"},
		"secp256k1, public": {testdata(t, "secp256k1.pub"), "a public key", only},
		"RSA":               {pkcs8(rsaKey), "it is an RSA key: " + only, "a private key"},
		"RSA, public":       {spki(&rsaKey.PublicKey), "a public key", "it is an RSA key: " + only},
		"RSA, old":          {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "it is an RSA key: " + only, "it is an RSA key"},
		"Ed25519":           {pkcs8(ed), "it is an Ed25519 key: " + only, "a private key"},
		"Ed25519, public":   {spki(edPublic), "a public key", "it is an Ed25519 key: " + only},
		"password":          {testdata(t, "password.pem"), "protected by a password", "a private key"},
		"old password":      {testdata(t, "password-old.pem"), "protected by a password", "a private key"},
		"OpenSSH":           {block("OPENSSH PRIVATE KEY", []byte{1}), "a key of OpenSSH", "a key of OpenSSH"},
		"certificate":       {block("CERTIFICATE", []byte{1}), "it is a certificate", "it is a certificate"},
		"something":         {block("X509 CRL", []byte{1}), `type "X509 CRL", which is no key`, "which is no key"},
		"two keys":          {private + private, "one key to a file", "one key to a file"},
		"a pair":            {private + spki(mine.public.key), "one key to a file", "one key to a file"},
		"empty":             {"", "no PEM file", "no PEM file"},
		"cut":               {private[:len(private)-20], "no PEM file", "no PEM file"},
		"rubbish inside":    {block(typePKCS8, []byte("rubbish")), only, "a private key"},
		"rubbish, public":   {block(typePublic, []byte("rubbish")), "a public key", only},
		"rubbish, SEC 1":    {block(typeSEC1, []byte("rubbish")), only, "a private key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParsePrivateKey([]byte(c.text))
			require.ErrorContains(t, err, c.private)
			_, err = ParsePublicKey([]byte(c.text))
			require.ErrorContains(t, err, c.public)
		})
	}
}

func TestPrivateKeysThatAreNotPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k.pem")
	require.NoError(t, WritePair(newKey(t, P256), path, path+".pub"))
	for mode, want := range map[os.FileMode]string{
		0o600: "", 0o400: "", 0o440: "", 0o640: "",
		0o644: "open to everybody on this machine (mode -rw-r--r--): chmod 600 it",
		0o604: "open to everybody", 0o602: "open to everybody",
		0o660: "its group may replace it (mode -rw-rw----)",
	} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := ReadPrivateKey(path)
		if want == "" {
			require.NoError(t, err, mode)
		} else {
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, path)
		}
	}
	require.NoError(t, os.Chmod(path+".pub", 0o666))
	_, err := ReadPublicKey(path + ".pub")
	require.NoError(t, err, "a public key is for everybody")
}

func TestKeysThatAreNoFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	large := filepath.Join(dir, "large")
	require.NoError(t, os.WriteFile(large, make([]byte, maxKeyFile+1), 0o600))
	for path, want := range map[string]string{dir: "no regular file", pipe: "no regular file", large: "more than the 65536 bytes", dir + "/absent": "no such file"} {
		_, err := ReadPrivateKey(path)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, path)
		_, err = ReadPublicKey(path)
		require.ErrorContains(t, err, want)
	}
}

func TestCurves(t *testing.T) {
	for _, name := range []string{"P-384", "p384", "P384", "p-384"} {
		c, err := ParseCurve(name)
		require.NoError(t, err)
		require.Equal(t, P384, c)
	}
	_, err := ParseCurve("P-224")
	require.ErrorContains(t, err, `curve "P-224" is not one of`)
}
