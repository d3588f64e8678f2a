package signature

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"
)

// Names that the format fixes (sections 5 and 6 of the specification). The version is part of the predicate
// type.
const (
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://model_signing/signature/v1.0"
	methodFiles   = "files"
	hashSHA256    = "sha256"
)

// Statement is what is signed: which files there are, and what they hold.
type Statement struct {
	Subject string // the base name of the directory, for people; it proves nothing
	Files   []File // at least one
	Ignored []string
}

// File is a file that is signed.
type File struct {
	Name   string // relative to the directory, with slashes
	SHA256 [sha256.Size]byte
}

// NewFile makes a File from a SHA-256 in hex.
func NewFile(name, sum string) (File, error) {
	raw, err := hex.DecodeString(sum)
	if err != nil || len(raw) != sha256.Size {
		return File{}, fmt.Errorf("sign %q: %.80q is no SHA-256", name, sum)
	}
	return File{Name: name, SHA256: [sha256.Size]byte(raw)}, nil
}

type statementJSON struct {
	Type          string        `json:"_type"`
	Subject       []subjectJSON `json:"subject"`
	PredicateType string        `json:"predicateType"`
	Predicate     predicateJSON `json:"predicate"`
}

type subjectJSON struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type predicateJSON struct {
	Serialization serializationJSON `json:"serialization"`
	Resources     []resourceJSON    `json:"resources"`
}

type serializationJSON struct {
	HashType      string   `json:"hash_type"`
	Method        string   `json:"method"`
	AllowSymlinks bool     `json:"allow_symlinks"`
	IgnorePaths   []string `json:"ignore_paths"`
}

type resourceJSON struct {
	Name      string `json:"name"`
	Digest    string `json:"digest"`
	Algorithm string `json:"algorithm"`
}

// marshal makes the payload, with the files sorted by name.
func (s Statement) marshal() ([]byte, error) {
	files := slices.Clone(s.Files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	if err := checkFiles(files); err != nil {
		return nil, err
	}
	root := rootDigest(files)
	out := statementJSON{Type: statementType, PredicateType: predicateType,
		Subject: []subjectJSON{{Name: s.Subject, Digest: map[string]string{hashSHA256: hex.EncodeToString(root[:])}}}}
	out.Predicate.Serialization = serializationJSON{HashType: hashSHA256, Method: methodFiles, IgnorePaths: append([]string{}, s.Ignored...)}
	for _, f := range files {
		out.Predicate.Resources = append(out.Predicate.Resources, resourceJSON{Name: f.Name, Digest: hex.EncodeToString(f.SHA256[:]), Algorithm: hashSHA256})
	}
	return json.Marshal(out)
}

// rootDigest is the digest of the raw digests of all files, in the order of the list (section 6.5.1).
func rootDigest(files []File) [sha256.Size]byte {
	sum := sha256.New()
	for _, f := range files {
		sum.Write(f.SHA256[:])
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// checkFiles makes sure that names are those of files below a directory, and that none is there twice or is
// the directory of another.
func checkFiles(files []File) error {
	if len(files) == 0 {
		return errors.New("it lists no file")
	}
	names := make(map[string]bool, len(files))
	for _, f := range files {
		if !fs.ValidPath(f.Name) || f.Name == "." || !utf8.ValidString(f.Name) || strings.ContainsRune(f.Name, 0) {
			return fmt.Errorf("it lists %.200q, which is no name of a file below the directory", f.Name)
		}
		if names[f.Name] {
			return fmt.Errorf("it lists %.200q twice", f.Name)
		}
		names[f.Name] = true
	}
	for _, f := range files {
		for i, c := range f.Name {
			if c == '/' && names[f.Name[:i]] {
				return fmt.Errorf("it lists %.200q as a file and as a directory", f.Name[:i])
			}
		}
	}
	return nil
}

// parseStatement reads a payload (section 8.3 of the specification).
func parseStatement(payload []byte) (*Statement, error) {
	p := &parser{}
	o := p.parse(payload)
	o.exactly("_type", statementType)
	o.exactly("predicateType", predicateType)
	o.only("_type", "subject", "predicateType", "predicate")
	s := &Statement{}
	var root []byte
	if p.err == nil {
		root = s.readSubject(o)
	}
	if p.err == nil {
		s.readPredicate(o.object("predicate"))
	}
	if p.err == nil {
		p.err = checkFiles(s.Files)
	}
	if got := rootDigest(s.Files); p.err == nil && string(root) != string(got[:]) {
		p.fail("the digest of the subject is not that of the files")
	}
	if p.err != nil {
		return nil, fmt.Errorf("what is signed: %w", p.err)
	}
	return s, nil
}

func (s *Statement) readSubject(o object) (root []byte) {
	subjects := o.list("subject")
	if len(subjects) != 1 {
		o.fail("it has %d subjects, not one", len(subjects))
		return nil
	}
	subject := o.parser.object(subjects[0], "subject[0]")
	if s.Subject = subject.text("name"); s.Subject == "" {
		o.fail("its subject has no name")
	}
	digest := subject.object("digest")
	digest.only(hashSHA256)
	return digest.digest(hashSHA256)
}

func (s *Statement) readPredicate(o object) {
	how := o.object("serialization")
	how.exactly("method", methodFiles)
	how.exactly("hash_type", hashSHA256)
	how.isFalse("allow_symlinks")
	how.only("method", "hash_type", "allow_symlinks", "ignore_paths")
	o.only("serialization", "resources")
	if how.members["ignore_paths"] != nil {
		s.readIgnored(how)
	}
	for i, item := range o.list("resources") {
		r := o.parser.object(item, fmt.Sprintf("resources[%d]", i))
		r.exactly("algorithm", hashSHA256)
		name, sum := r.text("name"), r.digest("digest")
		if o.err != nil {
			return
		}
		s.Files = append(s.Files, File{Name: name, SHA256: [sha256.Size]byte(sum)})
	}
}

// readIgnored reads what was left out. It excuses nothing: a directory has what is listed.
func (s *Statement) readIgnored(how object) {
	for _, item := range how.list("ignore_paths") {
		path, ok := item.(string)
		if !ok {
			how.fail("%s holds something else than strings", how.name("ignore_paths"))
		}
		s.Ignored = append(s.Ignored, path)
	}
}

// digest returns a SHA-256 that is written in hex, in small letters.
func (o object) digest(name string) []byte {
	text := o.text(name)
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != text {
		o.fail("%s is no SHA-256 in hex", o.name(name))
	}
	return sum
}
