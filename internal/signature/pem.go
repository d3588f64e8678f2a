package signature

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Types of PEM blocks (RFC 7468; of SEC 1 keys RFC 5915).
const (
	typePublic    = "PUBLIC KEY"
	typePKCS8     = "PRIVATE KEY"
	typeSEC1      = "EC PRIVATE KEY"
	typeParams    = "EC PARAMETERS" // which openssl ecparam writes before a key, and the key repeats
	typeEncrypted = "ENCRYPTED PRIVATE KEY"
)

// errWrongKey tells what keys there are.
var errWrongKey = errors.New("only EC keys on P-256, P-384 and P-521 are supported")

// errPassword tells of a key that a password protects, which a service cannot type.
var errPassword = errors.New("it is protected by a password: write it without one (openssl pkey -in KEY -out NEW), and keep it safe by its mode or as a systemd credential")

// blockTexts says what somebody has who gives the wrong file.
var blockTexts = map[string]string{
	typePublic:            "a public key, where the private one is needed",
	typePKCS8:             "a private key, where the public one is needed",
	typeSEC1:              "a private key, where the public one is needed",
	typeEncrypted:         "a private key, where the public one is needed",
	"RSA PRIVATE KEY":     "an RSA key: " + errWrongKey.Error(),
	"RSA PUBLIC KEY":      "an RSA key: " + errWrongKey.Error(),
	"DSA PRIVATE KEY":     "a DSA key: " + errWrongKey.Error(),
	"OPENSSH PRIVATE KEY": "a key of OpenSSH, which is in another format: bundlewatch keygen makes one",
	"CERTIFICATE":         "a certificate, where a key is needed",
}

// ParsePrivateKey reads a private key from PEM text, PKCS #8 or SEC 1.
func ParsePrivateKey(text []byte) (*PrivateKey, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return nil, err
	}
	switch {
	case block.Type == typeEncrypted, block.Headers["DEK-Info"] != "":
		return nil, errPassword
	case block.Type == typePKCS8:
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w; %w", errWrongKey, err)
		}
		ec, ok := key.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("it is %s: %w", kindOf(key), errWrongKey)
		}
		return newPrivateKey(ec)
	case block.Type == typeSEC1:
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w; %w", errWrongKey, err)
		}
		return newPrivateKey(key)
	}
	return nil, wrongBlock(block)
}

// ParsePublicKey reads a public key from PEM text.
func ParsePublicKey(text []byte) (*PublicKey, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return nil, err
	}
	if block.Type != typePublic {
		return nil, wrongBlock(block)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w; %w", errWrongKey, err)
	}
	ec, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("it is %s: %w", kindOf(key), errWrongKey)
	}
	return newPublicKey(ec)
}

// onlyBlock returns the PEM block of a file that has one. With two it would be a guess which is meant.
func onlyBlock(text []byte) (*pem.Block, error) {
	var found *pem.Block
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == typeParams:
		case found != nil:
			return nil, fmt.Errorf("it holds a %s and a %s: one key to a file", found.Type, block.Type)
		default:
			found = block
		}
	}
	if found == nil {
		return nil, errors.New("it is no PEM file: there is no whole -----BEGIN … KEY----- block in it")
	}
	return found, nil
}

func wrongBlock(b *pem.Block) error {
	if text, ok := blockTexts[b.Type]; ok {
		return fmt.Errorf("it is %s", text)
	}
	return fmt.Errorf("it is a PEM block of the type %.40q, which is no key", b.Type)
}

// kindOf names a key of another algorithm.
func kindOf(key any) string {
	switch key.(type) {
	case *rsa.PrivateKey, *rsa.PublicKey:
		return "an RSA key"
	case ed25519.PrivateKey, ed25519.PublicKey:
		return "an Ed25519 key"
	case *ecdh.PrivateKey, *ecdh.PublicKey:
		return "an X25519 key"
	}
	return fmt.Sprintf("a key of the type %T", key)
}
