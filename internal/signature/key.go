package signature

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// PrivateKey signs.
type PrivateKey struct {
	key    *ecdsa.PrivateKey
	public *PublicKey
}

// Public returns the half of the key that signatures are checked with.
func (k *PrivateKey) Public() *PublicKey { return k.public }

// PublicKey checks signatures.
type PublicKey struct {
	key   *ecdsa.PublicKey
	curve Curve
	text  []byte // PEM
}

// Curve returns the curve that the key is on.
func (k *PublicKey) Curve() Curve { return k.curve }

// Fingerprint names the key: the SHA-256, in hex, of the PEM text of the public key. Signatures carry it as the
// hint.
func (k *PublicKey) Fingerprint() string {
	sum := sha256.Sum256(k.text)
	return hex.EncodeToString(sum[:])
}

// Generate makes a new key.
func Generate(c Curve) (*PrivateKey, error) {
	key, err := ecdsa.GenerateKey(c.elliptic(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key on %s: %w", c, err)
	}
	return newPrivateKey(key)
}

func newPrivateKey(key *ecdsa.PrivateKey) (*PrivateKey, error) {
	public, err := newPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &PrivateKey{key: key, public: public}, nil
}

func newPublicKey(key *ecdsa.PublicKey) (*PublicKey, error) {
	curve, err := curveOf(key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	return &PublicKey{key: key, curve: curve, text: pem.EncodeToMemory(&pem.Block{Type: typePublic, Bytes: der})}, nil
}

// maxKeyFile is the size in bytes above which a file is no key.
const maxKeyFile = 64 << 10

// ReadPrivateKey reads the private key in a PEM file. A file that everybody may read, or that others than its
// owner may write, is refused.
func ReadPrivateKey(path string) (*PrivateKey, error) {
	data, mode, err := readFile(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	key, err := ParsePrivateKey(data)
	if err == nil {
		err = checkMode(mode)
	}
	if err != nil {
		return nil, fmt.Errorf("read private key %q: %w", path, err)
	}
	return key, nil
}

// checkMode makes sure that a private key is private. Its group may read it: that is how a service gets a key
// that root owns.
func checkMode(mode fs.FileMode) error {
	switch {
	case mode&0o007 != 0:
		return fmt.Errorf("it is open to everybody on this machine (mode %s): chmod 600 it, and make a new key if somebody may have copied it", mode)
	case mode&0o020 != 0:
		return fmt.Errorf("its group may replace it (mode %s): chmod g-w it", mode)
	}
	return nil
}

// ReadPublicKey reads the public key in a PEM file.
func ReadPublicKey(path string) (*PublicKey, error) {
	data, _, err := readFile(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	key, err := ParsePublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("read public key %q: %w", path, err)
	}
	return key, nil
}

// readFile reads a regular file of at most so many bytes. It never waits for a pipe.
func readFile(path string, most int64) ([]byte, fs.FileMode, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular():
		return nil, 0, fmt.Errorf("open %q: it is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("read %q: it has more than the %d bytes that are read", path, most)
	}
	return data, info.Mode(), err
}

// WritePair writes a key and its public half into two new files, the private one readable by its owner alone.
// Nothing is overwritten; where the second cannot be written, the first is taken away again.
func WritePair(key *PrivateKey, private, public string) error {
	der, err := x509.MarshalPKCS8PrivateKey(key.key)
	if err != nil {
		return fmt.Errorf("encode the private key: %w", err)
	}
	if err := WriteNew(private, pem.EncodeToMemory(&pem.Block{Type: typePKCS8, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("write private key: %w", err)
	}
	if err := WriteNew(public, key.public.text, 0o644); err != nil {
		return errors.Join(fmt.Errorf("write public key: %w", err), os.Remove(private))
	}
	return nil
}

// WriteNew writes a file that must not exist yet, and syncs it and its directory. After an error there is none.
func WriteNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: it is never overwritten; name another file, or move that one away", err)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
