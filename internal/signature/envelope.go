package signature

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Names that the format fixes (sections 4 and 5 of the specification; DSSE and sigstore bundles below it).
const (
	mediaType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadType = "application/vnd.in-toto+json"
)

// maxSize is the size in bytes above which a file is no signature: 16 MiB name some 60,000 files.
const maxSize = 16 << 20

// The JSON that is written. []byte becomes base64.
type bundleJSON struct {
	MediaType            string       `json:"mediaType"`
	VerificationMaterial materialJSON `json:"verificationMaterial"`
	Envelope             envelopeJSON `json:"dsseEnvelope"`
}

type materialJSON struct {
	PublicKey   hintJSON `json:"publicKey"`
	TlogEntries []any    `json:"tlogEntries"` // never nil: readers want an array
}

type hintJSON struct {
	Hint string `json:"hint"`
}

type envelopeJSON struct {
	Payload     []byte          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []signatureJSON `json:"signatures"`
}

type signatureJSON struct {
	Sig   []byte `json:"sig"`
	KeyID string `json:"keyid"`
}

// Sign signs a statement, and returns what belongs into a file such as model.sig. The bytes differ each time:
// ECDSA takes a random number.
func Sign(key *PrivateKey, s Statement) ([]byte, error) {
	payload, err := s.marshal()
	if err != nil {
		return nil, fmt.Errorf("sign %q: %w", s.Subject, err)
	}
	sig, err := ecdsa.SignASN1(rand.Reader, key.key, key.public.curve.digest(encode(payload)))
	if err != nil {
		return nil, fmt.Errorf("sign %q: %w", s.Subject, err)
	}
	text, err := json.Marshal(bundleJSON{
		MediaType:            mediaType,
		VerificationMaterial: materialJSON{PublicKey: hintJSON{key.public.Fingerprint()}, TlogEntries: []any{}},
		Envelope:             envelopeJSON{Payload: payload, PayloadType: payloadType, Signatures: []signatureJSON{{Sig: sig}}},
	})
	if err != nil {
		return nil, fmt.Errorf("sign %q: %w", s.Subject, err)
	}
	return append(text, '\n'), nil
}

// encode is DSSE's pre-authentication encoding of a payload: what is signed.
func encode(payload []byte) []byte {
	return append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload)), payload...)
}

// Envelope is a signature whose payload nobody has looked at.
type Envelope struct {
	Hint    string // fingerprint of the key, as the signature says; "" where it does not say
	payload []byte
	sig     []byte
}

// Parse reads a signature up to its payload, which it leaves alone. An error of [IsUnknown] is about something
// that other programs may know.
func Parse(text []byte) (*Envelope, error) {
	p := &parser{}
	o := p.parse(text)
	o.exactly("mediaType", mediaType)
	e := &Envelope{}
	if p.err == nil {
		e.readMaterial(o.object("verificationMaterial"))
	}
	if p.err == nil {
		o.only("mediaType", "verificationMaterial", "dsseEnvelope")
		e.readEnvelope(o.object("dsseEnvelope"))
	}
	if p.err != nil {
		return nil, p.err
	}
	return e, nil
}

// readMaterial looks for which key there is. A key itself, which old signatures have as rawBytes, is never taken.
func (e *Envelope) readMaterial(o object) {
	for _, other := range []string{"certificate", "x509CertificateChain"} {
		if o.members[other] != nil {
			o.refuse("the signing method", other, "publicKey")
		}
	}
	o.only("publicKey", "tlogEntries", "timestampVerificationData")
	if entries, ok := o.members["tlogEntries"].([]any); o.members["tlogEntries"] != nil && (!ok || len(entries) > 0) {
		o.refuse("a member", o.name("tlogEntries"), "an empty one")
	}
	if stamps, ok := o.members["timestampVerificationData"].(map[string]any); o.members["timestampVerificationData"] != nil && (!ok || len(stamps) > 0) {
		o.refuse("a member", o.name("timestampVerificationData"), "an empty one")
	}
	key := o.object("publicKey")
	if key.members["hint"] != nil || key.members["rawBytes"] == nil {
		e.Hint = key.text("hint")
	}
}

func (e *Envelope) readEnvelope(o object) {
	o.only("payload", "payloadType", "signatures")
	o.exactly("payloadType", payloadType)
	e.payload = o.bytes("payload")
	signatures := o.list("signatures")
	if len(signatures) != 1 {
		o.fail("it has %d signatures, not one", len(signatures))
		return
	}
	s := o.parser.object(signatures[0], o.name("signatures[0]"))
	s.only("sig", "keyid")
	if id := s.members["keyid"]; id != nil && id != "" {
		s.refuse("the "+s.name("keyid"), fmt.Sprint(id), "an empty one")
	}
	e.sig = s.bytes("sig")
}

// bytes returns what a member holds in base64, of which there is one spelling.
func (o object) bytes(name string) []byte {
	text := o.text(name)
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(data) != text || len(data) == 0 {
		o.fail("%s is no base64 of something", o.name(name))
	}
	return data
}

// ErrSignature tells that a signature does not hold: it was made with another key, or of something else.
var ErrSignature = errors.New("the signature does not hold")

// Verify checks the signature with a key, and returns what was signed.
func (e *Envelope) Verify(key *PublicKey) (*Statement, error) {
	if e.Hint != "" && e.Hint != key.Fingerprint() {
		return nil, fmt.Errorf("%w: it is of the key %.64q, not of %s, which was given", ErrSignature, e.Hint, key.Fingerprint())
	}
	if !ecdsa.VerifyASN1(key.key, key.curve.digest(encode(e.payload)), e.sig) {
		return nil, fmt.Errorf("%w: it was made with another key, or its payload was changed", ErrSignature)
	}
	return e.Claims()
}

// Claims returns what the payload says, whoever made it: only [Envelope.Verify] knows that.
func (e *Envelope) Claims() (*Statement, error) { return parseStatement(e.payload) }

// ReadFile reads the signature in a file up to its payload.
func ReadFile(path string) (*Envelope, error) {
	text, _, err := readFile(path, maxSize)
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	e, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read signature %q: %w", path, err)
	}
	return e, nil
}
