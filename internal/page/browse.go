package page

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// pageSize is how many directories or bundles one page has, lookWithin how long it looks at them: the others are
// shown by their names alone.
const (
	pageSize   = 50
	lookWithin = 3 * time.Second
)

// shelfPage is one directory of the artifact directory.
type shelfPage struct {
	frame
	Place  string
	Crumbs []crumb
	Query  string
	Items  []item
	Pages  pager
	Lane   *lane // of the bundles that are on the page
	Dirs   bool  // there are directories among the items
	Books  bool  // there are bundles among the items
}

// crumb is a step on the way down to a place.
type crumb struct{ Name, Place string }

func crumbs(place string) []crumb {
	var all []crumb
	for i, segment := range strings.Split(place, "/") {
		if segment != "" {
			all = append(all, crumb{segment, strings.Join(strings.Split(place, "/")[:i+1], "/")})
		}
	}
	return all
}

func parent(place string) string {
	if dir := path.Dir(place); dir != "." {
		return dir
	}
	return ""
}

// item is a directory or a bundle.
type item struct {
	Name   string
	Place  string // "" when nothing can be shown of it
	Bundle *shelf.Bundle
	When   *moment
	Unseen bool // there was no time to look at it
}

// pager leads from page to page.
type pager struct {
	Total, From, To, Page, Last int // From and To count from 1
	Query                       string
}

// pageOf reads the number of a page, counted from 1.
func pageOf(asked string) int {
	page, err := strconv.Atoi(asked)
	if err != nil {
		return 1
	}
	return max(page, 1)
}

// slice returns the page that is asked for, or the last one, as bounds of a list.
func slice(total, size, page int) (pager, int, int) {
	last := max(1, (total+size-1)/size)
	page = min(page, last)
	from := (page - 1) * size
	to := min(from+size, total)
	return pager{Total: total, From: min(from+1, total), To: to, Page: page, Last: last}, from, to
}

// maxQuery bounds what is searched for.
const maxQuery = 200

func asked(r *http.Request) url.Values {
	values := r.URL.Query()
	if q := values.Get("q"); len(q) > maxQuery || !utf8.ValidString(q) {
		values.Del("q")
	}
	return values
}

func (s *Site) showShelf(w http.ResponseWriter, r *http.Request) {
	values := asked(r)
	place := values.Get("in")
	p, err := reading(s, func(on *shelf.Shelf) (*shelfPage, error) { return s.list(on, place, values) })
	if err != nil {
		s.refuse(w, "There is nothing to show of "+strconv.Quote(place), err)
		return
	}
	s.show(w, http.StatusOK, "bundles.html", p)
}

func (s *Site) list(on *shelf.Shelf, place string, values url.Values) (*shelfPage, error) {
	names, err := on.Below(place)
	if err != nil {
		return nil, err
	}
	p := &shelfPage{frame: s.frame("Bundles", "bundles"), Place: place, Crumbs: crumbs(place), Query: values.Get("q")}
	if p.Query != "" {
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.Contains(strings.ToLower(name), strings.ToLower(p.Query)) })
	}
	if place != "" {
		slices.Reverse(names) // what is newest has the highest number
	}
	var from, to int
	p.Pages, from, to = slice(len(names), pageSize, pageOf(values.Get("page")))
	p.Pages.Query = p.Query
	deadline := time.Now().Add(lookWithin)
	now := s.now()
	for _, name := range names[from:to] {
		p.Items = append(p.Items, lookAt(on, place, name, deadline, now))
	}
	p.sum(now)
	return p, nil
}

// lookAt finds out whether a directory is a bundle.
func lookAt(on *shelf.Shelf, place, name string, deadline, now time.Time) item {
	it := item{Name: name, Place: path.Join(place, name)}
	if !utf8.ValidString(name) {
		it.Place = "" // nothing that was published here
		return it
	}
	if place == "" {
		return it
	}
	if time.Now().After(deadline) {
		it.Unseen = true
		return it
	}
	if b, err := on.At(it.Place); err == nil {
		it.Bundle, it.When = &b, at(now, b.Published)
	}
	return it
}

// sum draws the bundles on the page.
func (p *shelfPage) sum(now time.Time) {
	var records []record
	for _, it := range p.Items {
		if it.Bundle == nil {
			p.Dirs = true
			continue
		}
		p.Books = true
		if !it.Bundle.Published.IsZero() {
			records = append(records, recordOf(*it.Bundle))
		}
	}
	if len(records) > 1 {
		l := draw(now, records)
		p.Lane = &l
	}
}

// Address returns the address of another page of the same list.
func (p *shelfPage) Address(page int) string {
	return address("bundles", "in", p.Place, "q", p.Query, "page", strconv.Itoa(page))
}

// address makes a relative link out of names and values, of which empty ones are left out.
func address(to string, pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(&b, "%s%s=%s", map[bool]string{true: "?", false: "&"}[b.Len() == 0], pairs[i], url.QueryEscape(pairs[i+1]))
		}
	}
	return to + b.String()
}
