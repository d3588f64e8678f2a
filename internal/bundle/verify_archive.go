package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// verifyArchive proves an archive that was scanned: its structure, every CRC, every pickle, and the manifests against
// the content. m is the manifest beside it, nil when there is none, listed is what [takeTensors] took of it, and tree the
// path of the list beside it.
func (r *Report) verifyArchive(ctx context.Context, s *scan, m *Manifest, listed []tensorSum, tree string) error {
	r.Bytes = s.size
	if s.broken != nil {
		r.problem("%s: %v", ArchiveName, s.broken)
		return nil
	}
	v := &archiveVerifier{Report: r, scan: s, listed: listed, digests: make(map[string]Digest)}
	if err := v.readEntries(ctx); err != nil {
		return err
	}
	if !s.ours() {
		r.Kind = "foreign archive"
		return v.verifyForeign()
	}
	return v.verifyOurs(m, tree)
}

// archiveVerifier adds what is wrong with an archive to a report.
type archiveVerifier struct {
	*Report
	*scan
	listed  []tensorSum       // by member; nil without a manifest beside the archive
	digests map[string]Digest // of the entries
}

func (v *archiveVerifier) readEntries(ctx context.Context) error {
	for i := range v.directory.Entries {
		e := &v.directory.Entries[i]
		d, err := v.digest(ctx, e)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.problem("%s: %s: %v", ArchiveName, e.Name, err)
		}
		v.digests[e.Name] = d
	}
	v.Entries = len(v.directory.Entries)
	return nil
}

// verifyOurs proves an archive of this program. m and the tree's path are only of use beside a manifest.
func (v *archiveVerifier) verifyOurs(m *Manifest, tree string) error {
	at, err := v.layoutDiffers()
	if err != nil {
		return err
	}
	if at >= 0 {
		v.problem("%s: byte %d is not what this program writes there", ArchiveName, at)
	}
	inner := v.readInner()
	if inner == nil {
		return nil
	}
	if m != nil {
		v.compareManifests(m, inner)
		v.compareTree(tree)
	}
	v.checkEntrySet(inner)
	params := v.verifyRoles(inner)
	if m != nil {
		v.compareParams(params, m)
	}
	v.verifyScaling()
	return nil
}

func (v *archiveVerifier) readInner() *innerManifest {
	data, err := v.read(v.directory.Find(innerName))
	inner := &innerManifest{}
	if err == nil {
		err = parseManifest(data, inner)
	}
	if err == nil && inner.Schema != Schema {
		err = fmt.Errorf("schema version %d; this program knows %d", inner.Schema, Schema)
	}
	if err != nil {
		v.problem("%s: %v", innerName, err)
		return nil
	}
	return inner
}

// compareManifests holds the manifest beside the archive against the one in it, and against the entries.
func (v *archiveVerifier) compareManifests(m *Manifest, inner *innerManifest) {
	outer := m.inner()
	a, errA := json.Marshal(outer)
	b, errB := json.Marshal(inner)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		v.problem("%s and %s contradict each other", ManifestName, innerName)
	}
	inFirst := func(e zipfile.Entry) bool { return strings.HasPrefix(e.Name, firstFolder) }
	if !m.ConfigChanged && slices.ContainsFunc(v.directory.Entries, inFirst) {
		v.problem("%s says that the config did not change, the archive has two versions of it", ManifestName)
	}
	for _, member := range m.Members {
		if sentinel := member.Payload == PayloadSentinel; sentinel != (member.Source == nil) || sentinel != (member.Evidence == nil) {
			v.problem("%s: %q does not have the source and the evidence that its payload %q needs", ManifestName, member.Role, member.Payload)
		}
	}
}

// compareTree makes sure that the list beside the archive is that of its entries.
func (v *archiveVerifier) compareTree(path string) {
	var entries []Digest
	for _, e := range v.directory.Entries {
		entries = append(entries, Digest{Name: e.Name, Bytes: e.Size})
	}
	want := renderTree(entries, v.Bytes)
	f, size, err := openFile(path)
	if err != nil {
		return // named by verifyDirectory
	}
	defer f.Close()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(f, got); err != nil || size != int64(len(want)) || !bytes.Equal(got, want) {
		v.problem("%s does not list the entries of the archive", TreeName)
	}
}

// checkEntrySet makes sure that the archive holds what its manifest lists, and nothing else.
func (v *archiveVerifier) checkEntrySet(inner *innerManifest) {
	expected := map[string]Digest{rootManifestName: {}, innerName: {}}
	for _, m := range inner.Members {
		for _, d := range m.entries() {
			expected[d.Name] = d
		}
		expected[m.Role+"/"+paramsName] = Digest{}
	}
	for _, c := range inner.Config {
		expected[c.Name] = c
	}
	for _, e := range v.directory.Entries {
		want, ok := expected[e.Name]
		if !ok && e.Name != scalingName {
			v.problem("%s: the entry %q is in no manifest", ArchiveName, e.Name)
		}
		if want.SHA256 != "" && want != v.digests[e.Name] {
			v.problem("%s: the entry %q has the SHA-256 %s, the manifest says %s", ArchiveName, e.Name, v.digests[e.Name].SHA256, want.SHA256)
		}
		delete(expected, e.Name)
	}
	for name := range expected {
		v.problem("%s: the entry %q is missing", ArchiveName, name)
	}
}

// verifyRoles checks manifest.dill, and model.pth and params.dill of every role. It returns the params.
func (v *archiveVerifier) verifyRoles(inner *innerManifest) any {
	roles, err := v.roles()
	if err != nil {
		v.problem("%s: %v", rootManifestName, err)
	}
	v.checkRootManifest(roles)
	var params any
	for i, member := range inner.Members {
		if i >= len(roles) || roles[i] != member.Role {
			v.problem("%s lists the models %q, the manifest has %q in place %d", rootManifestName, roles, member.Role, i+1)
		}
		v.verifyModel(i, member)
		p := v.checkPlain(member.Role + "/" + paramsName)
		if i > 0 && v.digests[member.Role+"/"+paramsName].SHA256 != v.digests[inner.Members[0].Role+"/"+paramsName].SHA256 {
			v.problem("%s of %q and %q differ", paramsName, inner.Members[0].Role, member.Role)
		}
		params = p
	}
	if len(roles) != len(inner.Members) {
		v.problem("%s lists %d models, the manifest %d", rootManifestName, len(roles), len(inner.Members))
	}
	return params
}

// checkRootManifest makes sure that manifest.dill is what this program writes for the roles.
func (v *archiveVerifier) checkRootManifest(roles []string) {
	want, err := rootManifest(roles)
	if _, got, readErr := v.pickle(rootManifestName); err != nil || readErr != nil || !bytes.Equal(got, want) {
		v.problem("%s is not what this program writes for the models %q", rootManifestName, roles)
	}
}

// checkPlain makes sure that an entry is a pickle in our own form that imports nothing.
func (v *archiveVerifier) checkPlain(name string) any {
	p, data, err := v.pickle(name)
	if err != nil {
		v.problem("%s: %v", name, err)
		return nil
	}
	again, err := pickle.EncodePlain(p.Value)
	if err != nil || len(p.Imports) > 0 || !bytes.Equal(again, data) {
		v.problem("%s is not the plain pickle that this program writes", name)
	}
	return p.Value
}

// verifyModel proves the torch zip of a role and compares its tensors with the manifest's.
func (v *archiveVerifier) verifyModel(i int, member innerMember) {
	if len(member.Files) > 0 {
		v.verifyTree(i, member)
		return
	}
	e := v.directory.Find(member.Name)
	if e == nil {
		return // named by checkEntrySet
	}
	c, err := v.openModel(e)
	if err != nil {
		v.problem("%s: %v", e.Name, err)
		return
	}
	if foreign := checkpoint.NameList(checkpoint.Foreign(c.Imports)); !slices.Equal(foreign, member.Imports) {
		v.problem("%s: its pickle imports %q besides what tensors need, the manifest says %q", e.Name, foreign, member.Imports)
	}
	v.warnOfImports(e.Name, c.Imports)
	found, err := c.ListAll()
	if err != nil {
		v.problem("%s: %v", e.Name, err)
		return
	}
	v.compareTensors(i, e.Name, found)
}

// compareTensors holds the tensors of a member against those that the manifest beside the archive lists for it.
func (v *archiveVerifier) compareTensors(i int, name string, found checkpoint.TensorList) {
	v.Tensors += found.Len()
	if v.listed == nil {
		return
	}
	sum, err := sumTensors(found)
	if err != nil || i >= len(v.listed) || v.listed[i] != sum {
		v.problem("%s: its tensors are not those that the manifest lists", name)
	}
}

// tensorSum is the SHA-256 of tensors as JSON, one per line.
type tensorSum [sha256.Size]byte

func sumTensors(l checkpoint.TensorList) (sum tensorSum, err error) {
	h := sha256.New()
	lines := json.NewEncoder(h)
	err = l.Each(func(t checkpoint.Tensor) error { return lines.Encode(&t) })
	return tensorSum(h.Sum(nil)), err
}

// takeTensors takes the tensors out of a manifest, of which they are the most, and returns what they are compared by; nil
// without a manifest.
func takeTensors(m *Manifest) []tensorSum {
	if m == nil {
		return nil
	}
	listed := make([]tensorSum, len(m.Members))
	for i := range m.Members {
		listed[i], _ = sumTensors(m.Members[i].Tensors) // parsed before
		m.Members[i].Tensors = checkpoint.TensorList{}
	}
	return listed
}

// verifyTree proves the directory of a role by the rules of its format.
func (v *archiveVerifier) verifyTree(i int, member innerMember) {
	var sum int64
	for _, d := range member.Files {
		sum += d.Bytes
	}
	if lines := digest("", renderSums(member.Files)); sum != member.Bytes || lines.SHA256 != member.SHA256 {
		v.problem("%s: the manifest's digest of the directory is not that of its files", member.Name)
	}
	t, err := v.tree(member)
	if err != nil {
		v.problem("%s: %v", member.Name, err)
		return
	}
	if foreign := checkpoint.NameList(t.ForeignImports()); !slices.Equal(foreign, member.Imports) {
		v.problem("%s: its pickles import %q besides what tensors need, the manifest says %q", member.Name, foreign, member.Imports)
	}
	v.warnOfImports(member.Name, t.ForeignImports())
	v.compareTensors(i, member.Name, checkpoint.ListTensors(t.Tensors))
}

// warnOfImports names what a pickle imports besides what tensors need: to unpickle it is to run that.
func (v *archiveVerifier) warnOfImports(name string, imports []pickle.Import) {
	if foreign := checkpoint.Foreign(imports); len(foreign) > 0 {
		v.Warnings = append(v.Warnings, fmt.Sprintf("%s imports %s", name, checkpoint.Names(foreign)))
	}
}

// openModel opens a torch zip in the archive and reads all its records.
func (v *archiveVerifier) openModel(e *zipfile.Entry) (*checkpoint.Checkpoint, error) {
	c, done, err := v.checkpoint(e)
	if err != nil {
		return nil, err
	}
	defer done()
	return c, c.CheckRecords()
}

func (v *archiveVerifier) compareParams(params any, m *Manifest) {
	got, err := pickle.AppendJSON(nil, params)
	var want bytes.Buffer
	if err == nil {
		err = json.Compact(&want, m.Params)
	}
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		v.problem("%s: the params are not those of %s", ManifestName, paramsName)
	}
}

// verifyScaling proves torch_scaling_metadata.pt, where there is one.
func (v *archiveVerifier) verifyScaling() {
	e := v.directory.Find(scalingName)
	if e == nil {
		return
	}
	c, err := v.openModel(e)
	if err != nil {
		v.problem("%s: %v", e.Name, err)
		return
	}
	if foreign := checkpoint.Foreign(c.Imports); len(foreign) > 0 {
		v.problem("%s: its pickle imports %s", e.Name, checkpoint.Names(foreign))
	}
}

// verifyForeign checks an archive that another program wrote, such as upstream's trainer: every model
// and every pickle is read. Imports are shown, not refused.
func (v *archiveVerifier) verifyForeign() error {
	roles, err := v.roles()
	if err != nil {
		v.problem("%s: %v", rootManifestName, err)
	}
	for _, role := range roles {
		v.verifyForeignRole(role)
	}
	if e := v.directory.Find(scalingName); e != nil {
		v.verifyForeignModel(e)
	}
	return nil
}

// verifyForeignRole reads all that is in the folder of a role: upstream's torch side has model.pth and
// params.dill in it, its TensorFlow side model.keras, custom_objects.dill and params.dill.
func (v *archiveVerifier) verifyForeignRole(role string) {
	models := 0
	for i := range v.directory.Entries {
		e := &v.directory.Entries[i]
		switch {
		case !strings.HasPrefix(e.Name, role+"/"), strings.HasSuffix(e.Name, "/"):
		case strings.HasSuffix(e.Name, ".dill"):
			v.verifyForeignPickle(e.Name)
		default:
			models++
			v.verifyForeignModel(e)
		}
	}
	if models == 0 {
		v.problem("%s: there is no model in its folder", role)
	}
	if v.directory.Find(role+"/"+paramsName) == nil {
		v.problem("%s/%s: it is missing", role, paramsName)
	}
}

func (v *archiveVerifier) verifyForeignPickle(name string) {
	p, _, err := v.pickle(name)
	if err != nil {
		v.problem("%s: %v", name, err)
	} else if len(p.Imports) > 0 {
		v.Warnings = append(v.Warnings, fmt.Sprintf("%s imports %s", name, checkpoint.Names(p.Imports)))
	}
}

func (v *archiveVerifier) verifyForeignModel(e *zipfile.Entry) {
	c, err := v.openModel(e)
	if err != nil {
		v.problem("%s: %v", e.Name, err)
		return
	}
	v.warnOfImports(e.Name, c.Imports)
	tensors, err := c.ListAll()
	if err != nil {
		v.problem("%s: %v", e.Name, err)
	}
	v.Tensors += tensors.Len()
}
