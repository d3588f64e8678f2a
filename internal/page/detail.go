package page

import (
	"encoding/json"
	"maps"
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
	page    int // that is asked for
	found   int
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
	p.Tensors = chooseTensors(m, p.Place, values)
	for i := range m.Members {
		p.Members = append(p.Members, viewMember(&m.Members[i], now))
		p.Members[i].Weight = p.Tensors.weigh(&m.Members[i])
	}
	p.Params, p.ParamsMore = flatten(m.Params, maxRows)
	p.Notes = m.Notes[:min(len(m.Notes), maxNotes)]
	p.NotesMore = len(m.Notes) - len(p.Notes)
	if raw, err := json.Marshal(m.Provenance); err == nil {
		p.Provenance, _ = flatten(raw, maxRows)
	}
}

func viewMember(m *bundle.Member, now time.Time) memberView {
	v := memberView{Member: *m, Count: m.Tensors.Len(), Entries: len(m.Files)}
	v.Member.Tensors, v.Member.Files = checkpoint.TensorList{}, nil
	v.Dropped, v.Imports, v.LeftBehind = some(m.Dropped), some(m.Imports), some(m.LeftBehind)
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

// chooseTensors decides whose tensors are shown; nil when there are none.
func chooseTensors(m *bundle.Manifest, place string, asked url.Values) *tensorsView {
	v := &tensorsView{Query: asked.Get("q"), place: place, page: pageOf(asked.Get("page"))}
	for i := range m.Members {
		if m.Members[i].Tensors.Len() > 0 {
			v.Roles = append(v.Roles, m.Members[i].Role)
		}
	}
	if len(v.Roles) == 0 {
		return nil
	}
	if v.Role = asked.Get("role"); !slices.Contains(v.Roles, v.Role) {
		v.Role = v.Roles[0]
	}
	return v
}

// weigh returns how many bytes the tensors of a member have, and takes those that are to be shown. A list of
// tensors costs time each time that it is gone through, so this does it once.
func (v *tensorsView) weigh(m *bundle.Member) (bytes int64) {
	chosen, seen := v != nil && m.Role == v.Role, make(map[string]bool)
	_ = m.Tensors.Each(func(t checkpoint.Tensor) error { // it went well when the manifest was read
		bytes += max(0, t.Bytes)
		if chosen {
			tied := t.Storage != "" && seen[t.Storage]
			seen[t.Storage] = true
			v.take(t, tied)
		}
		return nil
	})
	if chosen {
		v.Pages, _, _ = slice(v.found, tensorsOnPage, v.page)
	}
	return bytes
}

// take keeps the tensors of the page that is asked for, or of the last one when there are not so many.
func (v *tensorsView) take(t checkpoint.Tensor, tied bool) {
	if v.Query != "" && !strings.Contains(strings.ToLower(t.Name), strings.ToLower(v.Query)) {
		return
	}
	if page := v.found/tensorsOnPage + 1; page <= v.page {
		if v.found%tensorsOnPage == 0 {
			v.Tensors = nil
		}
		v.Tensors = append(v.Tensors, tensorView{Tensor: t, Shape: shape(t.Shape), Tied: tied})
	}
	v.found++
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
