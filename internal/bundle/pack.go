package bundle

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// Contents is what goes into an archive.
type Contents struct {
	Watch, Key string
	// Parts are the roles in the order of the config.
	Parts []Part
	// Params is a plain dict, the same for every role.
	Params       *pickle.Dict
	ParamsSource string
	// Scaling is torch_scaling_metadata.pt; nil when the run's configs are not known well enough.
	Scaling *checkpoint.Payload
	// Config is the run's config when the set was completed. FirstConfig is what it was when the first
	// member appeared, where ConfigChanged says that it was not the same; there may have been none.
	Config, FirstConfig []File
	ConfigChanged       bool
	// HyperParameters of members, as JSON, named after the role.
	HyperParameters []File
	Notes           []string
	// PartSize asks for digests of parts of so many bytes, or more where there would be too many; 0 for none.
	PartSize int64
}

// File is a small file that is carried as it is.
type File struct {
	Name string // with slashes, relative
	Data []byte
}

// Part is what one role contributes: its entries, and what the manifest says of it. The digests are
// filled in by [Pack].
type Part struct {
	Entries []PartEntry
	// Tree tells that the entries are the files of a directory, whose name they begin with.
	Tree   bool
	Member Member
}

// PartEntry is one file below the folder of a role.
type PartEntry struct {
	Name    string // with slashes, relative to the role's folder
	Payload *checkpoint.Payload
}

// Model is the part of a role that has one torch file.
func Model(p *checkpoint.Payload, m Member) Part {
	return Part{Entries: []PartEntry{{Name: ModelName, Payload: p}}, Member: m}
}

// Fingerprint identifies the content of the part, see [checkpoint.Payload.Fingerprint].
func (p *Part) Fingerprint() string {
	if !p.Tree && len(p.Entries) == 1 {
		return p.Entries[0].Payload.Fingerprint()
	}
	var lines []Digest
	for _, e := range p.Entries {
		lines = append(lines, Digest{Name: e.Name, SHA256: e.Payload.Fingerprint()})
	}
	return digest("", renderSums(lines)).SHA256
}

// Size returns how many bytes the payloads have.
func (c *Contents) Size() int64 {
	var n int64
	for _, p := range c.Parts {
		for _, e := range p.Entries {
			n += e.Payload.Size
		}
	}
	return n
}

// partSize allows for what the archive has besides payloads.
func (c *Contents) partSize() int64 {
	if c.PartSize == 0 {
		return 0
	}
	return PartSize(c.Size()+c.Size()/10+maxSmall, c.PartSize)
}

// entry is one file of the archive, laid out.
type entry struct {
	name    string
	payload *checkpoint.Payload
	member  *Member // that the entry belongs to
	tree    bool    // as one of the files of a directory
}

func bytesEntry(name string, data []byte) entry {
	return entry{name: name, payload: checkpoint.Literal(data)}
}

// Pack writes the archive and its tree into dir, which must be empty, and syncs them. The returned
// manifest is complete but for Tool, Version and Provenance. A payload whose bytes are not those that
// were saved is an error for which [checkpoint.IsCorrupt] is true.
func Pack(ctx context.Context, dir string, c *Contents, progress Progress) (*Manifest, error) {
	m, err := c.manifest()
	if err != nil {
		return nil, err
	}
	entries, err := c.entries(m)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, ArchiveName)
	o, err := newOutput(ctx, path, c.Size(), c.partSize(), progress)
	if err != nil {
		return nil, fmt.Errorf("create %q: %w", path, err)
	}
	w := &archiveWriter{output: o}
	size, err := o.finish(w.write(entries, m))
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	m.Archive = Digest{Name: ArchiveName, Bytes: size, SHA256: hex.EncodeToString(o.archive.Sum(nil))}
	m.Parts = o.parts.finish()
	m.Provenance.Shared = o.file.Shared()
	return m, writeFile(filepath.Join(dir, TreeName), renderTree(w.listed, size))
}

// manifest is what is known before the payloads are read.
func (c *Contents) manifest() (*Manifest, error) {
	params, err := pickle.AppendJSON(nil, c.Params)
	if err != nil {
		return nil, fmt.Errorf("write params: %w", err)
	}
	m := &Manifest{Schema: Schema, Watch: c.Watch, Key: c.Key, Params: params, ParamsSource: c.ParamsSource,
		ConfigChanged: c.ConfigChanged, Notes: append([]string{}, c.Notes...), Config: []Digest{}}
	for _, p := range c.Parts {
		member := p.Member
		member.Fingerprint = p.Fingerprint()
		m.Members = append(m.Members, member)
	}
	return m, nil
}

// placeOf asks for torch zips, and for all that is large, to begin at a multiple of 4096 bytes, the block
// of most file systems: so that records keep the alignment that torch gave them, and extents can be
// shared.
func placeOf(name string, size int64) zipfile.Place {
	if size >= 64<<10 || name == scalingName || strings.HasSuffix(name, "/"+ModelName) {
		return zipfile.Place{Modulus: 4096}
	}
	return zipfile.Place{}
}

// entries lays out everything but the in-archive manifest, which can only be written when the
// members' digests are known.
func (c *Contents) entries(m *Manifest) ([]entry, error) {
	var roles []string
	for _, p := range c.Parts {
		roles = append(roles, p.Member.Role)
	}
	root, err := rootManifest(roles)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", rootManifestName, err)
	}
	params, err := pickle.EncodePlain(c.Params)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", paramsName, err)
	}
	all := []entry{bytesEntry(rootManifestName, root)}
	for i := range c.Parts {
		p, member := &c.Parts[i], &m.Members[i]
		for _, e := range p.Entries {
			all = append(all, entry{name: member.Role + "/" + e.Name, payload: e.Payload, member: member, tree: p.Tree})
		}
		all = append(all, bytesEntry(member.Role+"/"+paramsName, params))
	}
	if c.Scaling != nil {
		all = append(all, entry{name: scalingName, payload: c.Scaling})
	}
	for _, group := range []struct {
		folder string
		files  []File
	}{{configFolder, c.Config}, {firstFolder, c.FirstConfig}, {hyperFolder, c.HyperParameters}} {
		for _, f := range group.files {
			e := bytesEntry(group.folder+f.Name, f.Data)
			all = append(all, e)
			m.Config = append(m.Config, digest(e.name, f.Data))
		}
	}
	return all, nil
}

// rootManifest is manifest.dill.
func rootManifest(roles []string) ([]byte, error) {
	models := &pickle.List{}
	for _, role := range roles {
		models.Items = append(models.Items, role)
	}
	return pickle.EncodePlain(pickle.NewDict("models", models, "version", archiveVersion, "backend", "pytorch"))
}

// EntryName writes what some reader of zips could stumble over (control characters, backslashes, bytes
// that are not UTF-8) as %XX.
func EntryName(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); {
		r, size := utf8.DecodeRuneInString(path[i:])
		if r == '\\' || r == '%' || unicode.IsControl(r) || (r == utf8.RuneError && size == 1) {
			for _, c := range []byte(path[i : i+size]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteString(path[i : i+size])
		}
		i += size
	}
	return b.String()
}

// archiveWriter writes entries one after the other.
type archiveWriter struct {
	*output
	layout zipfile.Layout
	listed []Digest
}

func (w *archiveWriter) write(entries []entry, m *Manifest) error {
	sums := make([]hash.Hash, len(entries))
	for i, e := range entries {
		var err error
		if sums[i], err = w.add(e); err != nil {
			return err
		}
	}
	w.settle()
	for i, e := range entries {
		d := w.list(e, sums[i])
		switch {
		case e.tree:
			e.member.addFile(d)
		case e.member != nil:
			e.member.Digest = d
		}
	}
	return w.writeInner(m)
}

// writeInner writes the in-archive manifest, which holds the digests of all else, and the end of the archive.
func (w *archiveWriter) writeInner(m *Manifest) error {
	inner, err := json.MarshalIndent(m.inner(), "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", innerName, err)
	}
	e := bytesEntry(innerName, append(inner, '\n'))
	sum, err := w.add(e)
	if err != nil {
		return err
	}
	w.settle()
	w.list(e, sum)
	return w.append(w.layout.End())
}

// add writes an entry. Its digest is complete when the output has settled.
func (w *archiveWriter) add(e entry) (hash.Hash, error) {
	header := w.layout.Add(zipfile.Header{Name: e.name, Size: e.payload.Size, CRC32: e.payload.CRC32, Place: placeOf(e.name, e.payload.Size)})
	if err := w.append(header); err != nil {
		return nil, err
	}
	sum := w.begin()
	defer w.end()
	err := w.copy(e.payload)
	if err != nil && e.member != nil {
		err = &MemberError{Role: e.member.Role, Err: err}
	}
	return sum, err
}

func (w *archiveWriter) list(e entry, sum hash.Hash) Digest {
	d := Digest{Name: e.name, Bytes: e.payload.Size, SHA256: hex.EncodeToString(sum.Sum(nil))}
	w.listed = append(w.listed, d)
	return d
}

// MemberError says which role's payload could not be copied.
type MemberError struct {
	Role string
	Err  error
}

func (e *MemberError) Error() string { return fmt.Sprintf("copy member %q: %v", e.Role, e.Err) }

func (e *MemberError) Unwrap() error { return e.Err }

// renderTree lists an archive's entries, largest sizes aligned, in the order of the archive.
func renderTree(entries []Digest, size int64) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%14d  %s\n", size, ArchiveName)
	for _, e := range entries {
		fmt.Fprintf(&b, "%14d    %s\n", e.Bytes, e.Name)
	}
	return []byte(b.String())
}

// create makes a file that nobody is to write again.
func create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
}

// finish syncs and closes a file that was written without an error.
func finish(f *os.File, err error) error {
	if err != nil {
		return f.Close()
	}
	return errors.Join(f.Sync(), f.Close())
}

func writeFile(path string, data []byte) error {
	f, err := create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, finish(f, err))
}
