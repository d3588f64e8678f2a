package signature

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func newKey(t testing.TB, c Curve) *PrivateKey {
	t.Helper()
	key, err := Generate(c)
	require.NoError(t, err)
	return key
}

func file(name, content string) File { return File{Name: name, SHA256: sha256.Sum256([]byte(content))} }

func statement() Statement {
	return Statement{Subject: "00", Ignored: []string{FileName}, Files: []File{file("wts.h5.zip", "zip"), file("SHA256SUMS", "sums"), file("a/b", "ab")}}
}

func TestSignedOnEveryCurve(t *testing.T) {
	for _, c := range Curves {
		key := newKey(t, c)
		text, err := Sign(key, statement())
		require.NoError(t, err)
		e, err := Parse(text)
		require.NoError(t, err)
		require.Equal(t, key.Public().Fingerprint(), e.Hint)
		s, err := e.Verify(key.Public())
		require.NoError(t, err)
		require.Equal(t, &Statement{Subject: "00", Ignored: []string{FileName},
			Files: []File{file("SHA256SUMS", "sums"), file("a/b", "ab"), file("wts.h5.zip", "zip")}}, s, "sorted by name")

		_, err = e.Verify(newKey(t, c).Public())
		require.ErrorIs(t, err, ErrSignature)
		require.ErrorContains(t, err, key.Public().Fingerprint())
	}
}

// The file as the specification describes it, read with nothing of this package.
func TestFormat(t *testing.T) {
	key := newKey(t, P256)
	text, err := Sign(key, statement())
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(text, &got))
	envelope := got["dsseEnvelope"].(map[string]any)
	payload, err := base64.StdEncoding.DecodeString(envelope["payload"].(string))
	require.NoError(t, err)
	signature := envelope["signatures"].([]any)[0].(map[string]any)
	require.Equal(t, map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": fmt.Sprintf("%x", sha256.Sum256(key.public.text))}, "tlogEntries": []any{}},
		"dsseEnvelope": map[string]any{"payload": envelope["payload"], "payloadType": "application/vnd.in-toto+json",
			"signatures": []any{map[string]any{"sig": signature["sig"], "keyid": ""}}},
	}, got)

	sig, err := base64.StdEncoding.DecodeString(signature["sig"].(string))
	require.NoError(t, err)
	signed := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 28 application/vnd.in-toto+json %d %s", len(payload), payload))
	require.True(t, ecdsa.VerifyASN1(key.public.key, signed[:], sig))

	sum := func(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }
	raw, err := hex.DecodeString(sum("sums") + sum("ab") + sum("zip"))
	require.NoError(t, err)
	resource := func(name, content string) any {
		return map[string]any{"name": name, "digest": sum(content), "algorithm": "sha256"}
	}
	var said map[string]any
	require.NoError(t, json.Unmarshal(payload, &said))
	require.Equal(t, map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"name": "00", "digest": map[string]any{"sha256": sum(string(raw))}}},
		"predicateType": "https://model_signing/signature/v1.0",
		"predicate": map[string]any{
			"serialization": map[string]any{"hash_type": "sha256", "method": "files", "allow_symlinks": false, "ignore_paths": []any{"model.sig"}},
			"resources":     []any{resource("SHA256SUMS", "sums"), resource("a/b", "ab"), resource("wts.h5.zip", "zip")},
		},
	}, said)
}

// Written by model-signing 1.1.1 (testdata/make.sh).
func TestReadsWhatTheReferenceWrote(t *testing.T) {
	for _, c := range Curves {
		key, err := ReadPublicKey(filepath.Join("testdata", string(c)+".pub"))
		require.NoError(t, err)
		require.Equal(t, c, key.Curve())
		e, err := ReadFile(filepath.Join("testdata", string(c)+".sig"))
		require.NoError(t, err)
		require.Equal(t, key.Fingerprint(), e.Hint)
		s, err := e.Verify(key)
		require.NoError(t, err)
		require.Equal(t, "model", s.Subject)
		require.Equal(t, []File{file("a", "a\n"), file("b/c", "c\n")}, s.Files)
	}
}

func TestNothingIsSignedThatCannotBeChecked(t *testing.T) {
	key := newKey(t, P256)
	for want, files := range map[string][]File{
		"no file":         nil,
		`"../x"`:          {file("../x", "")},
		`"/x"`:            {file("/x", "")},
		`"a//x"`:          {file("a//x", "")},
		`"."`:             {file(".", "")},
		`""`:              {file("", "")},
		`"\xff"`:          {file("\xff", "")},
		`"x" twice`:       {file("x", ""), file("x", "y")},
		`"x" as a file`:   {file("x/y", ""), file("x", "")},
		`"x/y" as a file`: {file("x/y", ""), file("x/y/z/w", "")},
	} {
		_, err := Sign(key, Statement{Subject: "s", Files: files})
		require.ErrorContains(t, err, want)
	}
}

// envelopes changes one thing after the other in a good signature.
var envelopes = []struct{ name, old, new, want string }{
	{"media type", "v0.3+json", "v0.4+json", `the mediaType "application/vnd.dev.sigstore.bundle.v0.4+json" is not known here`},
	{"no media type", `"mediaType"`, `"mediaTyp"`, "mediaType is no string"},
	{"media type in other letters", `"mediaType"`, `"mediatype"`, "mediaType is no string"},
	{"media type twice", `{"mediaType"`, `{"mediaType":"","mediaType"`, `"mediaType" twice`},
	{"a member too many", `{"mediaType"`, `{"x":1,"mediaType"`, `a member "x" is not known here`},
	{"no material", `"verificationMaterial"`, `"other"`, "verificationMaterial is no object"},
	{"a certificate", `"publicKey"`, `"x509CertificateChain"`, `the signing method "x509CertificateChain" is not known here, only publicKey`},
	{"a certificate of a log", `"publicKey"`, `"certificate":{},"publicKey"`, `the signing method "certificate" is not known here`},
	{"material too many", `"tlogEntries"`, `"extra":[],"tlogEntries"`, `a member "verificationMaterial.extra" is not known here`},
	{"log entries", `"tlogEntries":[]`, `"tlogEntries":[{}]`, `"verificationMaterial.tlogEntries" is not known here`},
	{"log entries of another type", `"tlogEntries":[]`, `"tlogEntries":{}`, `"verificationMaterial.tlogEntries" is not known here`},
	{"time stamps", `"tlogEntries":[]`, `"timestampVerificationData":{"rfc3161Timestamps":[]}`, `"verificationMaterial.timestampVerificationData" is not known here`},
	{"no key", `"hint"`, `"hnt"`, "verificationMaterial.publicKey.hint is no string"},
	{"hint of another type", `"hint":"`, `"hint":1,"other":"`, "verificationMaterial.publicKey.hint is no string"},
	{"hint of another key", `"hint":"`, `"hint":"0`, "it is of the key"},
	{"hint empty", `"hint":"`, `"hint":"","other":"`, ""},
	{"no envelope", `"dsseEnvelope"`, `"messageSignature"`, `a member "messageSignature" is not known here`},
	{"envelope is none", `"dsseEnvelope":{`, `"dsseEnvelope":[{`, "no JSON"},
	{"a member of the envelope too many", `"payloadType"`, `"x":0,"payloadType"`, `a member "dsseEnvelope.x" is not known here`},
	{"payload type", "vnd.in-toto+json", "vnd.in-toto+xml", `the dsseEnvelope.payloadType "application/vnd.in-toto+xml" is not known here`},
	{"payload empty", `"payload":"`, `"payload":"","x":"`, `a member "dsseEnvelope.x" is not known here`},
	{"payload with a newline", `"payload":"`, `"payload":"\n`, "dsseEnvelope.payload is no base64"},
	{"payload with a space", `"payload":"`, `"payload":" `, "dsseEnvelope.payload is no base64"},
	{"no signature", `"signatures":[{`, `"signatures":[],"y":[{`, `a member "dsseEnvelope.y" is not known here`},
	{"two signatures", `"signatures":[`, `"signatures":[{"sig":"AA==","keyid":""},`, "2 signatures, not one"},
	{"signature is none", `"signatures":[{`, `"signatures":["x",{`, "2 signatures, not one"},
	{"key id", `"keyid":""`, `"keyid":"x"`, `the dsseEnvelope.signatures[0].keyid "x" is not known here`},
	{"key id of another type", `"keyid":""`, `"keyid":1`, `keyid "1" is not known here`},
	{"key id null", `"keyid":""`, `"keyid":null`, ""},
	{"no key id", `,"keyid":""`, ``, ""},
	{"no log entries", `,"tlogEntries":[]`, ``, ""},
	{"a member of the signature too many", `"keyid":""`, `"keyid":"","cert":""`, `a member "dsseEnvelope.signatures[0].cert" is not known here`},
	{"no sig", `"sig"`, `"sgi"`, `a member "dsseEnvelope.signatures[0].sgi" is not known here`},
	{"sig empty", `"sig":"`, `"sig":"","keyid":"`, "twice"},
	{"something behind it", "}\n", "}{}", "no JSON"},
	{"an array around it", `{"mediaType"`, `[{"mediaType"`, "no JSON"},
	{"not UTF-8", `"keyid":""`, "\"keyid\":\"\xff\"", "not UTF-8"},
}

func TestEnvelopes(t *testing.T) {
	key := newKey(t, P256)
	good, err := Sign(key, statement())
	require.NoError(t, err)
	for _, c := range envelopes {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, string(good), c.old)
			e, err := Parse([]byte(strings.Replace(string(good), c.old, c.new, 1)))
			if err == nil {
				_, err = e.Verify(key.Public())
			}
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// Every byte of the payload and of the signature, and every place of their base64.
func TestEveryFlipIsSeen(t *testing.T) {
	for _, c := range Curves {
		key := newKey(t, c)
		text, err := Sign(key, Statement{Subject: "s", Files: []File{file("f", "")}})
		require.NoError(t, err)
		holds := func(text []byte) bool {
			e, err := Parse(text)
			if err != nil {
				return false
			}
			_, err = e.Verify(key.Public())
			return err == nil
		}
		require.True(t, holds(text))
		flips, step := []byte{0x01}, 23 // the larger curves take their time
		if c == P256 {
			flips, step = []byte{0x01, 0x02, 0x20, 0x80}, 1
		}
		for i := 0; i < len(text); i += step {
			for _, flip := range flips {
				changed := slices.Clone(text)
				changed[i] ^= flip
				require.False(t, holds(changed), "at byte %d of %d: %q became %q", i, len(text), text[i], changed[i])
			}
		}
		for i := range bytes.TrimSpace(text) {
			require.False(t, holds(text[:i]), "cut at byte %d", i)
		}
	}
}

// payloads changes one thing after the other in a good payload, which is then signed with the true key.
var payloads = []struct{ name, old, new, want string }{
	{"type", "Statement/v1", "Statement/v2", `the _type "https://in-toto.io/Statement/v2" is not known here`},
	{"predicate type", "signature/v1.0", "signature/v1.1", `the predicateType "https://model_signing/signature/v1.1" is not known here, only https://model_signing/signature/v1.0`},
	{"old predicate type", "signature/v1.0", "Digests/v0.1", "is not known here"},
	{"a member too many", `"predicateType"`, `"x":1,"predicateType"`, `a member "x" is not known here`},
	{"no predicate", `"predicate":`, `"predicat":`, `a member "predicat" is not known here`},
	{"no subject", `"subject":[{`, `"subject":[],"x":[{`, `a member "x" is not known here`},
	{"two subjects", `"subject":[`, `"subject":[{},`, "2 subjects, not one"},
	{"subject without a name", `"name":"00"`, `"name":""`, "its subject has no name"},
	{"subject with another digest", `"digest":{"sha256":"`, `"digest":{"blake2b":"`, `a member "subject[0].digest.blake2b" is not known here`},
	{"wrong root", `"digest":{"sha256":"`, `"digest":{"sha256":"` + strings.Repeat("0", 64) + `"},"x":{"y":"`, "the digest of the subject is not that of the files"},
	{"shards", `"method":"files"`, `"method":"shards","shard_size":1000`, `the predicate.serialization.method "shards" is not known here, only files`},
	{"another hash", `"hash_type":"sha256"`, `"hash_type":"blake3"`, `the predicate.serialization.hash_type "blake3" is not known here, only sha256`},
	{"another hash of a file", `"algorithm":"sha256"`, `"algorithm":"blake2b"`, `the resources[0].algorithm "blake2b" is not known here, only sha256`},
	{"links", `"allow_symlinks":false`, `"allow_symlinks":true`, `the predicate.serialization.allow_symlinks "true" is not known here, only false`},
	{"no word on links", `"allow_symlinks":false,`, ``, `allow_symlinks "<nil>" is not known here`},
	{"a way of serialization too many", `"method":"files"`, `"method":"files","shard_size":1`, `a member "predicate.serialization.shard_size" is not known here`},
	{"a member of the predicate too many", `"resources"`, `"x":1,"resources"`, `a member "predicate.x" is not known here`},
	{"no word on what was left out", `,"ignore_paths":["model.sig"]`, ``, ""},
	{"left out what is no text", `["model.sig"]`, `[1]`, "ignore_paths holds something else than strings"},
	{"no files", `"resources":[{`, `"resources":[],"x":[{`, `a member "predicate.x" is not known here`},
	{"empty list of files", `"resources":[`, `"resources":[],"":[`, `a member "predicate." is not known here`},
	{"name outside", `"a/b"`, `"../b"`, "no name of a file below the directory"},
	{"absolute name", `"a/b"`, `"/b"`, "no name of a file below the directory"},
	{"name not clean", `"a/b"`, `"a/./b"`, "no name of a file below the directory"},
	{"name twice", `"a/b"`, `"SHA256SUMS"`, "twice"},
	{"digest in capitals", `"digest":"`, `"digest":"A`, "is no SHA-256 in hex"},
	{"digest is a number", `"digest":"`, `"digest":1,"x":"`, "resources[0].digest is no string"},
	{"digest too short", `"digest":"`, `"digest":"ab","x":"`, "resources[0].digest is no SHA-256"},
	{"a member of a file too many", `"algorithm"`, `"annotations":{},"algorithm"`, ""},
	{"a name twice in one object", `"algorithm"`, `"name":"x","algorithm"`, `"name" twice`},
	{"too deep", `"algorithm"`, `"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `,"algorithm"`, "levels deep"},
	{"no JSON", `"resources"`, `resources`, "no JSON"},
}

func TestPayloads(t *testing.T) {
	key := newKey(t, P384)
	good, err := statement().marshal()
	require.NoError(t, err)
	for _, c := range payloads {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, string(good), c.old)
			e := signed(t, key, strings.Replace(string(good), c.old, c.new, 1))
			_, err := e.Verify(key.Public())
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			_, err = e.Verify(newKey(t, P384).Public())
			require.ErrorIs(t, err, ErrSignature, "nothing is parsed before the signature holds")
		})
	}
}

// Files in another order than that of their names, with the root that belongs to it: some programs sort by
// the parts of a path.
func TestAnyOrderOfFiles(t *testing.T) {
	key := newKey(t, P256)
	a, b := file("a-b/c", "1"), file("a/c", "2")
	root := rootDigest([]File{b, a})
	e := signed(t, key, fmt.Sprintf(`{"_type":%q,"predicateType":%q,"subject":[{"name":"m","digest":{"sha256":"%x"}}],"predicate":{
		"serialization":{"method":"files","hash_type":"sha256","allow_symlinks":false},"resources":[
		{"name":"a/c","digest":"%x","algorithm":"sha256"},{"name":"a-b/c","digest":"%x","algorithm":"sha256"}]}}`,
		statementType, predicateType, root, b.SHA256, a.SHA256))
	s, err := e.Verify(key.Public())
	require.NoError(t, err)
	require.Equal(t, []File{b, a}, s.Files)
}

// Signatures of before version 1.1 bring the public key with them. It is not asked: only the user's is.
func TestKeyOfTheSignatureIsNeverTaken(t *testing.T) {
	mine, stranger := newKey(t, P256), newKey(t, P256)
	old := func(key *PrivateKey) *Envelope {
		text, err := Sign(key, statement())
		require.NoError(t, err)
		own := base64.StdEncoding.EncodeToString(key.public.text)
		e, err := Parse([]byte(strings.Replace(string(text), `"hint":"`+key.Public().Fingerprint(), `"rawBytes":"`+own, 1)))
		require.NoError(t, err)
		require.Empty(t, e.Hint)
		return e
	}
	_, err := old(mine).Verify(mine.Public())
	require.NoError(t, err)
	_, err = old(stranger).Verify(mine.Public())
	require.ErrorIs(t, err, ErrSignature)

	// Neither does the hint help: a stranger writes mine.
	text, err := Sign(stranger, statement())
	require.NoError(t, err)
	e, err := Parse([]byte(strings.Replace(string(text), stranger.Public().Fingerprint(), mine.Public().Fingerprint(), 1)))
	require.NoError(t, err)
	_, err = e.Verify(mine.Public())
	require.EqualError(t, err, "the signature does not hold: it was made with another key, or its payload was changed")
}

func signed(t testing.TB, key *PrivateKey, payload string) *Envelope {
	sig, err := ecdsa.SignASN1(rand.Reader, key.key, key.public.curve.digest(encode([]byte(payload))))
	require.NoError(t, err)
	return &Envelope{Hint: key.Public().Fingerprint(), payload: []byte(payload), sig: sig}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadFile(filepath.Join(dir, "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = ReadFile(dir)
	require.ErrorContains(t, err, "no regular file")
	large := filepath.Join(dir, "large")
	require.NoError(t, os.WriteFile(large, nil, 0o644))
	require.NoError(t, os.Truncate(large, maxSize+1))
	_, err = ReadFile(large)
	require.ErrorContains(t, err, "more than the 16777216 bytes")
	require.NoError(t, os.Truncate(large, 100))
	_, err = ReadFile(large)
	require.ErrorContains(t, err, "no JSON")
	require.False(t, IsUnknown(err))
}

func FuzzParse(f *testing.F) {
	key := newKey(f, P256)
	good, err := Sign(key, statement())
	require.NoError(f, err)
	f.Add(good)
	for _, c := range envelopes {
		f.Add([]byte(strings.Replace(string(good), c.old, c.new, 1)))
	}
	payload, err := statement().marshal()
	require.NoError(f, err)
	for _, c := range payloads {
		f.Add([]byte(strings.Replace(string(payload), c.old, c.new, 1)))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if e, err := Parse(text); err == nil {
			if s, err := e.Verify(key.Public()); err == nil && !slices.Equal(s.Files, mustRead(t, good).Files) {
				t.Fatalf("it holds for %v, which nobody signed", s)
			}
			_, _ = e.Claims()
		}
		// The same bytes as a payload that is signed: whatever is taken can be written again.
		s, err := parseStatement(text)
		if err != nil {
			return
		}
		again, err := s.marshal()
		require.NoError(t, err)
		read, err := parseStatement(again)
		require.NoError(t, err)
		require.ElementsMatch(t, s.Files, read.Files)
	})
}

func mustRead(t testing.TB, text []byte) *Statement {
	e, err := Parse(text)
	require.NoError(t, err)
	s, err := e.Claims()
	require.NoError(t, err)
	return s
}
