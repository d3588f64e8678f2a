package layout

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// class is what becomes one watch.
type class struct {
	roles []roleUnits
	named bool // the whole name is the key: files of one model under different names
}

// roleUnits are the files of one role.
type roleUnits struct {
	family  *family
	units   []*unit
	segment string // the directory that stands for the role, "" when its name does
	depth   int    // of that directory, counted from the end
	rest    string // the directories below it
}

func (c *class) units() []*unit {
	var all []*unit
	for _, r := range c.roles {
		all = append(all, r.units...)
	}
	return all
}

// group puts families together: roles of one set, one model under several names, roles by directory.
func group(all []*family) []*class {
	var classes []*class
	paired := join(all, func(a, b *family) bool { return anyUnits(a, b, companions) })
	var single []*family
	for _, g := range paired {
		if len(g) == 1 {
			single = append(single, g[0])
			continue
		}
		c := &class{}
		for _, f := range g {
			c.roles = append(c.roles, roleUnits{family: f, units: f.units})
		}
		classes = append(classes, c)
	}
	byDirectory, single := rolesByDirectory(single)
	classes = append(classes, byDirectory...)
	for _, g := range join(single, func(a, b *family) bool { return anyUnits(a, b, sameModel) }) {
		c := &class{named: len(g) > 1 || isNested(g[0])}
		for _, f := range g {
			c.roles = append(c.roles, roleUnits{family: f, units: f.units})
		}
		classes = append(classes, c)
	}
	return classes
}

// join returns the connected groups of families, in their order.
func join(all []*family, linked func(a, b *family) bool) [][]*family {
	parent := make([]int, len(all))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			i = parent[i]
		}
		return i
	}
	for i := range all {
		for k := range i {
			if find(i) != find(k) && linked(all[k], all[i]) {
				parent[find(i)] = find(k)
			}
		}
	}
	groups := make(map[int][]*family)
	for i, f := range all {
		groups[find(i)] = append(groups[find(i)], f)
	}
	var list [][]*family
	for _, root := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, groups[root])
	}
	return list
}

func anyUnits(a, b *family, holds func(x, y *unit) bool) bool {
	for _, x := range a.units {
		for _, y := range b.units {
			if holds(x, y) {
				return true
			}
		}
	}
	return false
}

// sameModel tells whether two units are one model under different names, in one place or one below the other.
func sameModel(a, b *unit) bool {
	return !a.family.isDir && !b.family.isDir && a.sample.signature != "" && a.sample.signature == b.sample.signature &&
		a.family.ending() == b.family.ending() && a.family.ending() != "" && isTwin(a.family.shape) == isTwin(b.family.shape) &&
		(below(a.dir, b.dir) || below(b.dir, a.dir))
}

// isNested tells whether files of a family lie in a directory and in one below it.
func isNested(f *family) bool {
	for _, a := range f.units {
		for _, b := range f.units {
			if a != b && below(a.dir, b.dir) && !f.isDir && f.ending() != "" && a.sample.signature == b.sample.signature {
				return true
			}
		}
	}
	return false
}

// roleWords are names of directories that are roles rather than runs.
var roleWords = regexp.MustCompile(`(?i)^(net_?)?(g|d|gen|disc|dis|generator|discriminator|actor|critic|policy|value|encoder|decoder|autoencoder|student|teacher|ema|target|model|online|q|q\d|vae|unet|text_?encoder|prior|critic\d)(_?net|_?model)?$`)

// place is a directory with one segment left out.
type place struct {
	depth        int // of the segment left out, counted from the end
	before, rest string
}

// rolesByDirectory finds sets whose roles are directories beside each other: gen/step_1.pt, disc/step_1.pt.
// Directories that are roles hold different models with the same numbers; they are taken for runs unless
// their names are those of roles, or the same names are found in several places.
func rolesByDirectory(single []*family) (classes []*class, rest []*family) {
	places := make(map[place]map[string]*unit)
	for _, f := range single {
		for _, u := range f.units {
			segs := segments(u.dir)
			for i := range segs {
				p := place{len(segs) - i, strings.Join(segs[:i], "/"), strings.Join(segs[i+1:], "/")}
				if places[p] == nil {
					places[p] = make(map[string]*unit)
				}
				if _, twice := places[p][segs[i]]; twice {
					places[p][segs[i]] = nil // several families: not told apart
				} else {
					places[p][segs[i]] = u
				}
			}
		}
	}
	found := make(map[string][]place)
	for p, units := range places {
		if names := roleNames(units); names != nil {
			id := strings.Join(names, "/") + "\x00" + p.rest
			found[id] = append(found[id], p)
		}
	}
	taken := make(map[*unit]bool)
	for _, id := range slices.Sorted(maps.Keys(found)) {
		names := strings.Split(strings.Split(id, "\x00")[0], "/")
		known := !slices.ContainsFunc(names, func(n string) bool { return !roleWords.MatchString(n) })
		if !known && len(found[id]) < 2 {
			continue
		}
		c := &class{}
		for _, name := range names {
			r := roleUnits{segment: name, depth: found[id][0].depth, rest: found[id][0].rest}
			for _, p := range found[id] {
				u := places[p][name]
				r.family, r.units, taken[u] = u.family, append(r.units, u), true
			}
			slices.SortFunc(r.units, byDir)
			c.roles = append(c.roles, r)
		}
		classes = append(classes, c)
	}
	for _, f := range single {
		left := slices.DeleteFunc(slices.Clone(f.units), func(u *unit) bool { return taken[u] })
		if len(left) > 0 {
			f.units = left
			rest = append(rest, f)
		}
	}
	return classes, rest
}

// roleNames returns the names of directories that hold different models with the same numbers, nil when
// they do not.
func roleNames(units map[string]*unit) []string {
	names := slices.SortedFunc(maps.Keys(units), pattern.CompareNatural)
	if len(names) < 2 || len(names) > 6 {
		return nil
	}
	seen := make(map[string]bool)
	for i, name := range names {
		u := units[name]
		if u == nil || u.sample.signature == "" || seen[u.sample.signature] && !isTwin(name) {
			return nil
		}
		seen[u.sample.signature] = true
		if first := units[names[0]]; i > 0 && (len(u.family.captures()) != len(first.family.captures()) || 2*overlap(u, first) < max(1, min(len(u.keys), len(first.keys)))) {
			return nil
		}
	}
	return names
}
