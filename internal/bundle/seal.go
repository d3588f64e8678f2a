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
)

// Seal writes the manifest and the digests beside a packed archive and syncs them. It may be called
// again with another manifest.
func Seal(dir string, m *Manifest) error {
	for _, name := range []string{ManifestName, SumsName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	manifest, err := m.save(filepath.Join(dir, ManifestName))
	if err != nil {
		return fmt.Errorf("write %s: %w", ManifestName, err)
	}
	tree, err := os.ReadFile(filepath.Join(dir, TreeName))
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, SumsName), renderSums([]Digest{digest(TreeName, tree), manifest, m.Archive}))
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
		if err := writeList(w, manifestIndent, len(m.Members), func(i int) error { return m.Members[i].write(w) }); err != nil {
			return err
		}
	}
	w.Write(after)
	return w.WriteByte('\n')
}

func (m *Member) write(w *bufio.Writer) error {
	const indent = manifestIndent + manifestIndent
	outline := *m
	if len(m.Tensors) > 0 {
		outline.Tensors = []checkpoint.Tensor{}
	}
	before, after, err := marshalAround(outline, indent, "tensors")
	if err != nil {
		return err
	}
	w.Write(before)
	if after != nil {
		tensors := newTensorWriter(w, indent+manifestIndent+manifestIndent)
		if err := writeList(w, indent+manifestIndent, len(m.Tensors), func(i int) error { return tensors.write(&m.Tensors[i]) }); err != nil {
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

// writeList writes a list in an object with that indent.
func writeList(w *bufio.Writer, indent string, n int, write func(i int) error) error {
	if n == 0 {
		_, err := w.WriteString("[]")
		return err
	}
	for i := range n {
		separator := ",\n"
		if i == 0 {
			separator = "[\n"
		}
		w.WriteString(separator + indent + manifestIndent)
		if err := write(i); err != nil {
			return err
		}
	}
	_, err := w.WriteString("\n" + indent + "]")
	return err
}

// tensorWriter writes tensors as JSON.
type tensorWriter struct {
	out  *bufio.Writer
	text bytes.Buffer
	json *json.Encoder
}

func newTensorWriter(w *bufio.Writer, indent string) *tensorWriter {
	t := &tensorWriter{out: w}
	t.json = json.NewEncoder(&t.text)
	t.json.SetIndent(indent, manifestIndent)
	return t
}

func (t *tensorWriter) write(v *checkpoint.Tensor) error {
	t.text.Reset()
	if err := t.json.Encode(v); err != nil {
		return err
	}
	_, err := t.out.Write(bytes.TrimSuffix(t.text.Bytes(), []byte("\n")))
	return err
}
