package bundle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/signature"
)

// Seal writes the manifest and the digests beside a packed archive and syncs them. It may be called
// again with another manifest.
func Seal(dir string, m *Manifest) error {
	m.Provenance.SignedBy = ""
	_, err := seal(dir, m)
	return err
}

// SealSigned is Seal, and signs the bundle, whose directory is going to have that base name. Nothing is read for
// it: the digests are known.
func SealSigned(dir string, m *Manifest, name string, key *signature.PrivateKey) error {
	m.Provenance.SignedBy = key.Public().Fingerprint()
	files, err := seal(dir, m)
	if err != nil {
		return err
	}
	s := signature.Statement{Subject: name, Ignored: []string{SignatureName}}
	for _, d := range files {
		f, err := signature.NewFile(d.Name, d.SHA256)
		if err != nil {
			return err
		}
		s.Files = append(s.Files, f)
	}
	text, err := signature.Sign(key, s)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, SignatureName), text)
}

// seal returns the digests of all files but that of the signature.
func seal(dir string, m *Manifest) ([]Digest, error) {
	for _, name := range []string{ManifestName, SumsName, SignatureName} { // of an earlier manifest
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	manifest, err := m.save(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ManifestName, err)
	}
	tree, err := os.ReadFile(filepath.Join(dir, TreeName))
	if err != nil {
		return nil, err
	}
	files := []Digest{digest(TreeName, tree), manifest, m.Archive}
	sums := renderSums(files)
	return append(files, digest(SumsName, sums)), writeFile(filepath.Join(dir, SumsName), sums)
}

// save writes the manifest's file and syncs it.
func (m *Manifest) save(path string) (Digest, error) {
	f, err := create(path)
	if err != nil {
		return Digest{}, err
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, sum), 64<<10)
	err = errors.Join(m.write(w), w.Flush())
	return Digest{Name: ManifestName, SHA256: hex.EncodeToString(sum.Sum(nil))}, errors.Join(err, finish(f, err))
}

const manifestIndent = "  "

// write writes what json.MarshalIndent would return, and a newline. The tensors, which are most of it, are never
// all in memory as text.
func (m *Manifest) write(w *bufio.Writer) error {
	outline := *m
	if len(m.Members) > 0 {
		outline.Members = []Member{}
	}
	before, after, err := marshalAround(outline, "", "members")
	if err != nil {
		return err
	}
	w.Write(before)
	if after != nil {
		if err := m.writeMembers(w); err != nil {
			return err
		}
	}
	w.Write(after)
	return w.WriteByte('\n')
}

func (m *Member) write(w *bufio.Writer) error {
	const indent = manifestIndent + manifestIndent
	outline := *m
	if !m.Tensors.IsNil() {
		outline.Tensors = checkpoint.ListTensors([]checkpoint.Tensor{})
	}
	before, after, err := marshalAround(outline, indent, "tensors")
	if err != nil {
		return err
	}
	w.Write(before)
	if after != nil {
		if err := m.writeTensors(w, indent+manifestIndent); err != nil {
			return err
		}
	}
	_, err = w.Write(after)
	return err
}

// marshalAround returns an object, indented, in two parts: what precedes the value of a key of it that is an empty
// list, and what follows it. If it is none, all is in the first part, and after is nil. Texts in JSON have no newlines, so that a
// line which begins like this is the key.
func marshalAround(v any, indent, key string) (before, after []byte, err error) {
	text, err := json.MarshalIndent(v, indent, manifestIndent)
	if err != nil {
		return nil, nil, err
	}
	line := fmt.Appendf(nil, "\n%s%s%q: ", indent, manifestIndent, key)
	at := bytes.Index(text, append(line, "[]"...))
	if at < 0 {
		return text, nil, nil
	}
	return text[:at+len(line)], text[at+len(line)+len("[]"):], nil
}

func (m *Manifest) writeMembers(w *bufio.Writer) error {
	list := listWriter{w: w, indent: manifestIndent}
	for i := range m.Members {
		list.next()
		if err := m.Members[i].write(w); err != nil {
			return err
		}
	}
	return list.end()
}

func (m *Member) writeTensors(w *bufio.Writer, indent string) error {
	list := listWriter{w: w, indent: indent}
	var text []byte
	err := m.Tensors.Each(func(t checkpoint.Tensor) error {
		list.next()
		text = t.AppendIndented(text[:0], indent+manifestIndent)
		_, err := w.Write(text)
		return err
	})
	return errors.Join(err, list.end())
}

// listWriter writes what is around the items of a list in an object with that indent.
type listWriter struct {
	w      *bufio.Writer
	indent string
	items  int
}

func (l *listWriter) next() {
	separator := ",\n"
	if l.items == 0 {
		separator = "[\n"
	}
	l.items++
	for _, text := range []string{separator, l.indent, manifestIndent} {
		l.w.WriteString(text)
	}
}

func (l *listWriter) end() error {
	closing := "\n" + l.indent + "]"
	if l.items == 0 {
		closing = "[]"
	}
	_, err := l.w.WriteString(closing)
	return err
}
