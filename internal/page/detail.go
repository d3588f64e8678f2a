package page

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// bundlePage is one bundle. It holds no more tensors than it shows.
type bundlePage struct {
	frame
	shelf.Bundle
	Crumbs     []crumb
	When       *moment
	MadeBy     string
	Members    []memberView
	Tensors    *tensorsView
	Params     []row
	ParamsMore int
	ParamsFrom string
	Config     []bundle.Digest
	Changed    bool // the config changed on the way
	Notes      []string
	NotesMore  int
	Provenance []row
	Load       howTo
	Unread     string // why there is nothing of the manifest
}

type memberView struct {
	bundle.Member
	Count   int   // tensors
	Values  int64 // numbers in them
	Weight  int64 // their bytes
	Entries int   // files of a directory
	Metrics []row
	Written *moment
	Steps   []row // of the evidence
}

// tensorsView is one page of the tensors of a member.
type tensorsView struct {
	Role    string
	Roles   []string
	Query   string
	Tensors []tensorView
	Pages   pager
	place   string
}

type tensorView struct {
	checkpoint.Tensor
	Shape string
	Tied  bool // an earlier tensor has the same storage
}

const (
	tensorsOnPage = 100
	maxNotes      = 100
	maxListed     = 100 // names of what was dropped or imported
)

func (s *Site) showBundle(w http.ResponseWriter, r *http.Request) {
	values := asked(r)
	place := values.Get("at")
	p, err := reading(s, func(on *shelf.Shelf) (*bundlePage, error) { return s.describe(on, place, values) })
	if err != nil {
		s.refuse(w, "There is no bundle to show at "+strconv.Quote(place), err)
		return
	}
	s.show(w, http.StatusOK, "bundle.html", p)
}

func (s *Site) describe(on *shelf.Shelf, place string, values url.Values) (*bundlePage, error) {
	b, m, err := on.Manifest(place)
	if b.Place == "" {
		return nil, err
	}
	p := &bundlePage{frame: s.frame(b.Key, "bundles"), Bundle: b, Crumbs: crumbs(parent(place)), When: at(s.now(), b.Published), Load: howToLoad(b.Path)}
	if err != nil {
		p.Unread = err.Error()
		return p, nil
	}
	p.take(m, s.now(), values)
	return p, nil
}

func (p *bundlePage) take(m *bundle.Manifest, now time.Time, values url.Values) {
	p.MadeBy, p.Config, p.Changed, p.ParamsFrom = m.Tool, m.Config, m.ConfigChanged, m.ParamsSource
	for i := range m.Members {
		p.Members = append(p.Members, viewMember(&m.Members[i], now))
	}
	p.Tensors = viewTensors(m, p.Place, values)
	p.Params, p.ParamsMore = flatten(m.Params, maxRows)
	p.Notes = m.Notes[:min(len(m.Notes), maxNotes)]
	p.NotesMore = len(m.Notes) - len(p.Notes)
	if raw, err := json.Marshal(m.Provenance); err == nil {
		p.Provenance, _ = flatten(raw, maxRows)
	}
}

func viewMember(m *bundle.Member, now time.Time) memberView {
	v := memberView{Member: *m, Count: len(m.Tensors), Entries: len(m.Files)}
	v.Member.Tensors, v.Member.Files = nil, nil
	v.Dropped, v.Imports, v.LeftBehind = some(m.Dropped), some(m.Imports), some(m.LeftBehind)
	for _, t := range m.Tensors {
		v.Weight += max(0, t.Bytes)
		v.Values += values(t.Shape)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Metrics)) {
		v.Metrics = append(v.Metrics, row{name, strconv.FormatFloat(m.Metrics[name], 'g', 6, 64)})
	}
	if m.Source != nil {
		v.Written = at(now, m.Source.ModTime)
	}
	if e := m.Evidence; e != nil {
		for _, step := range []row{{"Quiet", e.Quiet}, {"Closed", e.Closed}, {"Whole", e.Whole}, {"Marker", e.Marker}, {"Unchanged", e.Unchanged}} {
			if step.Value != "" {
				v.Steps = append(v.Steps, step)
			}
		}
	}
	return v
}

func some(names []string) []string {
	if more := len(names) - maxListed; more > 0 {
		return append(slices.Clone(names[:maxListed]), "and "+strconv.Itoa(more)+" more")
	}
	return names
}

// values is how many numbers a tensor of that shape has; 0 for a shape that cannot be.
func values(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		if d < 0 || d > 0 && n > math.MaxInt32*int64(math.MaxInt32)/d {
			return 0
		}
		n *= d
	}
	return n
}

// viewTensors chooses the tensors that are asked for.
func viewTensors(m *bundle.Manifest, place string, asked url.Values) *tensorsView {
	v := &tensorsView{Role: asked.Get("role"), Query: asked.Get("q"), place: place}
	var of *bundle.Member
	for i := range m.Members {
		member := &m.Members[i]
		if len(member.Tensors) == 0 {
			continue
		}
		v.Roles = append(v.Roles, member.Role)
		if of == nil || member.Role == v.Role {
			of = member
		}
	}
	if of == nil {
		return nil
	}
	v.Role = of.Role
	var chosen []int
	for i := range of.Tensors {
		if v.Query == "" || strings.Contains(strings.ToLower(of.Tensors[i].Name), strings.ToLower(v.Query)) {
			chosen = append(chosen, i)
		}
	}
	var from, to int
	v.Pages, from, to = slice(len(chosen), tensorsOnPage, asked.Get("page"))
	first := firstOf(of.Tensors)
	for _, i := range chosen[from:to] {
		t := of.Tensors[i]
		v.Tensors = append(v.Tensors, tensorView{Tensor: t, Shape: shape(t.Shape), Tied: t.Storage != "" && first[t.Storage] != i})
	}
	return v
}

// firstOf is the first tensor of each storage.
func firstOf(tensors []checkpoint.Tensor) map[string]int {
	first := make(map[string]int)
	for i, t := range tensors {
		if _, known := first[t.Storage]; !known {
			first[t.Storage] = i
		}
	}
	return first
}

func shape(dimensions []int64) string {
	if len(dimensions) == 0 {
		return "scalar"
	}
	texts := make([]string, len(dimensions))
	for i, d := range dimensions {
		texts[i] = strconv.FormatInt(d, 10)
	}
	return cut(strings.Join(texts, " × "))
}

// Address returns the address of another page of the same list.
func (v *tensorsView) Address(page int) string {
	return address("bundle", "at", v.place, "role", v.Role, "q", v.Query, "page", strconv.Itoa(page)) + "#tensors"
}

// Of returns the address of the tensors of another member.
func (v *tensorsView) Of(role string) string {
	return address("bundle", "at", v.place, "role", role) + "#tensors"
}
