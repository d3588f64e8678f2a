package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// Difference is what differs between two bundles, archives or checkpoints, A and B.
type Difference struct {
	A       string       `json:"a"`
	B       string       `json:"b"`
	Same    bool         `json:"same"`
	Params  []ParamDiff  `json:"params"`
	Roles   []RoleDiff   `json:"roles"`
	Tensors []TensorDiff `json:"tensors"`
	// Equal counts the tensors that are equal in name, dtype, shape and content.
	Equal int      `json:"equal_tensors"`
	Notes []string `json:"notes,omitempty"` // what was not compared
}

// ParamDiff is a param that differs, as JSON; absent where the side does not have it.
type ParamDiff struct {
	Key string          `json:"key"` // with dots between the keys of nested dicts
	A   json.RawMessage `json:"a,omitempty"`
	B   json.RawMessage `json:"b,omitempty"`
}

// RoleDiff is a role that one side has alone.
type RoleDiff struct {
	Role string `json:"role"`
	In   string `json:"in"` // "a" or "b"
}

// TensorDiff is a tensor that differs.
type TensorDiff struct {
	Role   string      `json:"role,omitempty"`
	Name   string      `json:"name"`
	Differ []string    `json:"differ"` // "missing", "dtype", "shape", "content"
	A      *TensorSide `json:"a,omitempty"`
	B      *TensorSide `json:"b,omitempty"`
}

// TensorSide is what one side has of a tensor.
type TensorSide struct {
	DType  string  `json:"dtype"`
	Shape  []int64 `json:"shape"`
	SHA256 string  `json:"sha256,omitempty"` // of the elements in the order of the indexes; "" where that is not known
}

// Compare tells how two bundles, archives or checkpoint files differ. A checkpoint is held against the role
// of the other side that is named, or that is the only one with weights, or the only one with the same tensors.
func Compare(ctx context.Context, a, b Location, role string) (*Difference, error) {
	x, err := openSide(a)
	if err != nil {
		return nil, fmt.Errorf("compare %q: %w", a.String(), err)
	}
	defer x.close()
	y, err := openSide(b)
	if err != nil {
		return nil, fmt.Errorf("compare %q: %w", b.String(), err)
	}
	defer y.close()
	if err := matchRoles(x, y, role); err != nil {
		return nil, fmt.Errorf("compare %q with %q: %w", a.String(), b.String(), err)
	}
	d := &Difference{A: a.String(), B: b.String(), Params: []ParamDiff{}, Roles: []RoleDiff{}, Tensors: []TensorDiff{}}
	if err := d.compareParams(x, y); err != nil {
		return nil, err
	}
	if err := d.compareRoles(ctx, x, y); err != nil {
		return nil, fmt.Errorf("compare %q with %q: %w", a.String(), b.String(), err)
	}
	d.Same = len(d.Params) == 0 && len(d.Roles) == 0 && len(d.Tensors) == 0
	return d, nil
}

// side is one of the two that are compared.
type side struct {
	models  []*model
	params  any // nil of a checkpoint
	single  bool
	closers []func()
}

// model is a state_dict, or what else there is of a role.
type model struct {
	role     string
	tensors  []checkpoint.Tensor
	file     *checkpoint.Checkpoint // nil for a directory
	sentinel bool
	digest   string // of a directory's files
}

func (s *side) close() {
	for _, c := range slices.Backward(s.closers) {
		c()
	}
}

func openSide(at Location) (_ *side, err error) {
	s := &side{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	o, err := at.open()
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, o.close)
	if a, err := openArchive(o, o.size); err == nil {
		return s, s.readArchive(a)
	}
	if o.bundle {
		return nil, fmt.Errorf("its %s is no archive", ArchiveName)
	}
	c, err := checkpoint.Open(o, o.size)
	if err != nil {
		return nil, err
	}
	s.single = true
	m, err := newModel("", c)
	s.models = []*model{m}
	return s, err
}

func newModel(role string, c *checkpoint.Checkpoint) (*model, error) {
	m := &model{role: role, file: c}
	if c.IsTorch() {
		if d, err := c.StateDict(""); err == nil {
			m.sentinel = d.Sentinel != ""
			m.tensors = d.Tensors()
			return m, nil
		}
	}
	var err error
	m.tensors, err = c.AllTensors()
	return m, err
}

func (s *side) readArchive(a *archive) error {
	roles, err := a.roles()
	if err != nil {
		return fmt.Errorf("read %s: %w", rootManifestName, err)
	}
	inner := innerManifest{}
	if a.ours() {
		data, err := a.read(a.directory.Find(innerName))
		if err == nil {
			err = json.Unmarshal(data, &inner)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", innerName, err)
		}
	}
	for _, role := range roles {
		m, err := s.readRole(a, role, inner)
		if err != nil {
			return fmt.Errorf("read role %q: %w", role, err)
		}
		s.models = append(s.models, m)
	}
	if len(roles) > 0 {
		p, _, err := a.pickle(roles[0] + "/" + paramsName)
		if err != nil {
			return fmt.Errorf("read %s/%s: %w", roles[0], paramsName, err)
		}
		s.params = p.Value
	}
	return nil
}

func (s *side) readRole(a *archive, role string, inner innerManifest) (*model, error) {
	name := role + "/" + ModelName
	for _, m := range inner.Members {
		if m.Role != role {
			continue
		}
		name = m.Name
		if len(m.Files) > 0 {
			t, err := a.tree(m)
			if err != nil {
				return nil, err
			}
			return &model{role: role, tensors: t.Tensors, digest: m.SHA256}, nil
		}
	}
	e := a.directory.Find(name)
	if e == nil {
		return nil, fmt.Errorf("there is no entry %q", name)
	}
	c, done, err := a.checkpoint(e)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, done)
	return newModel(role, c)
}

// matchRoles gives a checkpoint the role that it is held against, and leaves out the others.
func matchRoles(x, y *side, role string) error {
	switch {
	case x.single && y.single:
		return nil
	case x.single:
		return y.choose(role, x.models[0])
	case y.single:
		return x.choose(role, y.models[0])
	case role == "":
		return nil
	}
	for _, s := range []*side{x, y} {
		if err := s.choose(role, &model{}); err != nil {
			return err
		}
	}
	return nil
}

// choose leaves the one model that other is held against.
func (s *side) choose(role string, other *model) error {
	var real, alike, named []*model
	for _, m := range s.models {
		if m.role == role {
			named = append(named, m)
		}
		if !m.sentinel {
			real = append(real, m)
			if slices.Equal(sortedNames(m), sortedNames(other)) {
				alike = append(alike, m)
			}
		}
	}
	for _, found := range [][]*model{named, real, alike} {
		if len(found) == 1 {
			other.role, s.models = found[0].role, found
			return nil
		}
		if role != "" {
			break
		}
	}
	var roles []string
	for _, m := range s.models {
		roles = append(roles, m.role)
	}
	if role != "" {
		return fmt.Errorf("there is no role %q, only %s", role, strings.Join(roles, ", "))
	}
	return errors.New("it is not clear which role the checkpoint belongs to: name one with --role: " + strings.Join(roles, ", "))
}

func sortedNames(m *model) []string {
	var names []string
	for _, t := range m.tensors {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names
}

func (d *Difference) compareParams(x, y *side) error {
	if x.single || y.single {
		d.Notes = append(d.Notes, "params were not compared: a checkpoint has none")
		return nil
	}
	a, b := make(map[string]json.RawMessage), make(map[string]json.RawMessage)
	if err := errors.Join(flatten("", x.params, a), flatten("", y.params, b)); err != nil {
		return fmt.Errorf("read params: %w", err)
	}
	keys := slices.Sorted(maps.Keys(a))
	for key := range b {
		if _, both := a[key]; !both {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if !bytes.Equal(a[key], b[key]) {
			d.Params = append(d.Params, ParamDiff{Key: key, A: a[key], B: b[key]})
		}
	}
	return nil
}

// flatten spells a tree of dicts as one level, with dots between the keys.
func flatten(prefix string, v any, into map[string]json.RawMessage) error {
	if dict, ok := v.(*pickle.Dict); ok && (prefix == "" || dict.Len() > 0) {
		for k, item := range dict.All() {
			key := fmt.Sprint(k)
			if prefix != "" {
				key = prefix + "." + key
			}
			if err := flatten(key, item, into); err != nil {
				return err
			}
		}
		return nil
	}
	text, err := pickle.AppendJSON(nil, v)
	into[prefix] = text
	return err
}

func (d *Difference) compareRoles(ctx context.Context, x, y *side) error {
	for _, m := range x.models {
		if y.find(m.role) == nil {
			d.Roles = append(d.Roles, RoleDiff{m.role, "a"})
		}
	}
	for _, m := range y.models {
		other := x.find(m.role)
		if other == nil {
			d.Roles = append(d.Roles, RoleDiff{m.role, "b"})
			continue
		}
		if err := d.compareModels(ctx, other, m); err != nil {
			return err
		}
	}
	return nil
}

func (s *side) find(role string) *model {
	for _, m := range s.models {
		if m.role == role {
			return m
		}
	}
	return nil
}

// compareModels goes through the tensors of A in their order, and then through those that only B has.
func (d *Difference) compareModels(ctx context.Context, a, b *model) error {
	inB := make(map[string]*checkpoint.Tensor, len(b.tensors))
	for i := range b.tensors {
		inB[b.tensors[i].Name] = &b.tensors[i]
	}
	unknown, inA := 0, make(map[string]bool, len(a.tensors))
	for i := range a.tensors {
		t := &a.tensors[i]
		inA[t.Name] = true
		if err := d.compareTensors(ctx, a, b, t, inB[t.Name], &unknown); err != nil {
			return err
		}
	}
	for i := range b.tensors {
		if t := &b.tensors[i]; !inA[t.Name] {
			d.Tensors = append(d.Tensors, TensorDiff{Role: a.role, Name: t.Name, Differ: []string{"missing"}, B: &TensorSide{DType: t.DType, Shape: t.Shape}})
		}
	}
	return d.compareFiles(a, b, unknown)
}

// compareTensors holds two tensors of one name against each other; unknown counts those whose content cannot be told.
func (d *Difference) compareTensors(ctx context.Context, a, b *model, ta, tb *checkpoint.Tensor, unknown *int) error {
	diff := TensorDiff{Role: a.role, Name: ta.Name, A: &TensorSide{DType: ta.DType, Shape: ta.Shape}}
	if tb == nil {
		diff.Differ = []string{"missing"}
		d.Tensors = append(d.Tensors, diff)
		return nil
	}
	diff.B = &TensorSide{DType: tb.DType, Shape: tb.Shape}
	if ta.DType != tb.DType {
		diff.Differ = append(diff.Differ, "dtype")
	}
	if !slices.Equal(ta.Shape, tb.Shape) {
		diff.Differ = append(diff.Differ, "shape")
	}
	var err error
	if diff.A.SHA256, err = a.tensorDigest(ctx, *ta); err != nil {
		return fmt.Errorf("read tensor %.200q: %w", ta.Name, err)
	}
	if diff.B.SHA256, err = b.tensorDigest(ctx, *tb); err != nil {
		return fmt.Errorf("read tensor %.200q: %w", tb.Name, err)
	}
	switch {
	case diff.A.SHA256 == "" || diff.B.SHA256 == "":
		*unknown++
	case diff.A.SHA256 != diff.B.SHA256:
		diff.Differ = append(diff.Differ, "content")
	case len(diff.Differ) == 0:
		d.Equal++
	}
	if len(diff.Differ) > 0 {
		d.Tensors = append(d.Tensors, diff)
	}
	return nil
}

func (m *model) tensorDigest(ctx context.Context, t checkpoint.Tensor) (string, error) {
	if m.file == nil {
		return "", nil
	}
	return m.file.TensorDigest(ctx, t)
}

// compareFiles holds the files as a whole against each other where the content of tensors cannot be told.
func (d *Difference) compareFiles(a, b *model, unknown int) error {
	if unknown == 0 && len(a.tensors)+len(b.tensors) > 0 {
		return nil
	}
	x, err := a.fileDigest()
	if err != nil {
		return err
	}
	y, err := b.fileDigest()
	if err != nil || x == y {
		d.Equal += unknown
		return err
	}
	d.Tensors = append(d.Tensors, TensorDiff{Role: a.role, Name: "(the file as a whole)", Differ: []string{"content"},
		A: &TensorSide{DType: "bytes", SHA256: x}, B: &TensorSide{DType: "bytes", SHA256: y}})
	d.Notes = append(d.Notes, fmt.Sprintf("%s: the content of %d tensors cannot be read one by one: the files were compared", a.role, unknown))
	return nil
}

func (m *model) fileDigest() (string, error) {
	if m.file == nil {
		return m.digest, nil
	}
	return m.file.Digest()
}
