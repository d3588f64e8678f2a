package layout

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// family are candidates whose names have one shape, wherever in the tree they are.
type family struct {
	shape string
	isDir bool
	parts []part // of one name
	units []*unit
	slots []slot
}

// unit are the members of a family in one directory.
type unit struct {
	family  *family
	dir     string
	entries []entry
	values  [][]string // of the slots, by entry
	keys    map[string]bool
	sample  sample
}

// slot is what differs between the names of a family.
type slot struct {
	use  use
	text string // of a constant
	name string // of a capture
}

type use int

const (
	captured use = iota
	constant     // the same in all names
	metric       // a number that is not in the key, such as a loss
)

// families groups the candidates.
func families(all []entry) []*family {
	byShape := make(map[string]*family)
	units := make(map[string]*unit)
	var list []*family
	for _, e := range all {
		parts := split(e.name)
		id := shape(parts) + "\x01" + e.kind
		f := byShape[id]
		if f == nil {
			f = &family{shape: shape(parts), isDir: e.kind != "", parts: parts}
			byShape[id], list = f, append(list, f)
		}
		u := units[id+"\x01"+e.dir]
		if u == nil {
			u = &unit{family: f, dir: e.dir}
			units[id+"\x01"+e.dir], f.units = u, append(f.units, u)
		}
		u.entries = append(u.entries, e)
		u.values = append(u.values, slotValues(parts))
	}
	for _, f := range list {
		f.nameSlots()
		for _, u := range f.units {
			u.findKeys()
		}
	}
	return list
}

func slotValues(parts []part) []string {
	values := []string{}
	for _, p := range parts {
		if p.slot {
			values = append(values, p.text)
		}
	}
	return values
}

var (
	metricWords = regexp.MustCompile(`(?i)(loss|acc|accuracy|fid|psnr|ssim|score|metric|bleu|wer|reward|auc|map|f1|val|lr|error|mse|mae|iou)[-_=./]*$`)
	words       = regexp.MustCompile(`[A-Za-z]+`)
	slotNames   = map[string]string{
		"epoch": "epoch", "epochs": "epoch", "ep": "epoch", "e": "epoch", "step": "step", "steps": "step", "s": "step", "iter": "iter",
		"it": "iter", "iters": "iter", "iteration": "iter", "iterations": "iter", "i": "iter", "round": "round", "fold": "fold", "rank": "rank", "seed": "seed",
	}
)

// nameSlots decides what each slot is for.
func (f *family) nameSlots() {
	n := 0
	for i, p := range f.parts {
		if !p.slot {
			continue
		}
		before, after := f.around(i)
		s := slot{text: p.text, name: slotName(before, after)}
		values := f.slotTexts(n)
		if s.name == "step" && !slices.ContainsFunc(values, number.MatchString) {
			s.name = "name"
		}
		same := !slices.ContainsFunc(values, func(v string) bool { return v != p.text })
		attached := regexp.MustCompile(`[A-Za-z]$`).MatchString(before) && !isSlotWord(before) && number.MatchString(p.text)
		fraction := slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, ".") })
		switch {
		case same && (len(values) > 1 && number.MatchString(p.text) && (fraction || attached || f.otherVaries(n)) || attached):
			s.use = constant
		case number.MatchString(p.text) && (fraction || metricWords.MatchString(before)):
			s.use = metric
		}
		f.slots = append(f.slots, s)
		n++
	}
	if n > 0 && !slices.ContainsFunc(f.slots, func(s slot) bool { return s.use == captured }) {
		for i := range f.slots { // nothing else tells the files apart
			if f.slots[i].use == metric {
				f.slots[i].use = captured
			}
		}
	}
	f.uniqueNames()
}

// uniqueNames makes the names of the captures different.
func (f *family) uniqueNames() {
	var taken []string
	for i := range f.slots {
		s := &f.slots[i]
		if s.use != captured {
			continue
		}
		if slices.Contains(taken, s.name) {
			s.name = fmt.Sprintf("%s_%d", s.name, i+1)
		}
		taken = append(taken, s.name)
	}
}

// otherVaries tells whether another slot than the n-th has different values.
func (f *family) otherVaries(n int) bool {
	for i := range slotValues(f.parts) {
		values := f.slotTexts(i)
		if i != n && slices.ContainsFunc(values, func(v string) bool { return v != values[0] }) {
			return true
		}
	}
	return false
}

func (f *family) slotTexts(n int) []string {
	var all []string
	for _, u := range f.units {
		for _, v := range u.values {
			all = append(all, v[n])
		}
	}
	return all
}

// around returns the texts next to a part.
func (f *family) around(i int) (before, after string) {
	if i > 0 {
		before = f.parts[i-1].text
	}
	if i+1 < len(f.parts) {
		after = f.parts[i+1].text
	}
	return before, after
}

func slotName(before, after string) string {
	if w := words.FindAllString(before, -1); len(w) > 0 {
		if name := slotNames[strings.ToLower(w[len(w)-1])]; name != "" {
			return name
		}
	}
	if w := words.FindAllString(after, -1); len(w) > 0 && !strings.HasPrefix(after, ".") {
		if name := slotNames[strings.ToLower(w[0])]; name != "" {
			return name
		}
	}
	return "step"
}

func isSlotWord(text string) bool {
	w := words.FindAllString(text, -1)
	if len(w) == 0 {
		return false
	}
	last := strings.ToLower(w[len(w)-1])
	return slotNames[last] != "" || slices.Contains([]string{"model", "ckpt", "checkpoint", "opt", "ema", "net", "weights", "g", "d"}, last)
}

// findKeys notes the captures of each entry.
func (u *unit) findKeys() {
	u.keys = make(map[string]bool)
	for _, values := range u.values {
		u.keys[u.family.key(values)] = true
	}
}

func (f *family) key(values []string) string {
	var parts []string
	for i, s := range f.slots {
		if s.use == captured {
			parts = append(parts, values[i])
		}
	}
	return strings.Join(parts, "\x00")
}

// captures returns the names of the captures, in order.
func (f *family) captures() []string {
	var names []string
	for _, s := range f.slots {
		if s.use == captured {
			names = append(names, s.name)
		}
	}
	return names
}

// pattern writes the last segment of a member's pattern with the given names of captures.
func (f *family) pattern(names []string) string {
	var b strings.Builder
	n := 0
	for _, p := range f.parts {
		if !p.slot {
			b.WriteString(literal(p.text))
			continue
		}
		switch s := f.slots[n]; s.use {
		case constant:
			b.WriteString(literal(s.text))
		case metric:
			b.WriteByte('*')
		default:
			b.WriteString("{" + names[0] + "}")
			names = names[1:]
		}
		n++
	}
	if f.isDir {
		b.WriteByte('/')
	}
	return b.String()
}

// ending is the ending that all files of a family have.
func (f *family) ending() string {
	if last := f.parts[len(f.parts)-1]; !last.slot {
		return ending.FindString(last.text)
	}
	return ""
}

// newest returns the entry with the highest numbers.
func (u *unit) newest() entry {
	return slices.MaxFunc(u.entries, func(a, b entry) int { return pattern.CompareNatural(a.name, b.name) })
}

// overlap counts the keys that two units have both.
func overlap(a, b *unit) int {
	n := 0
	for key := range a.keys {
		if b.keys[key] {
			n++
		}
	}
	return n
}

// companions tells whether two units in one directory are roles of the same sets.
func companions(a, b *unit) bool {
	return a.dir == b.dir && alike(a, b)
}

func alike(a, b *unit) bool {
	if a.family == b.family || a.family.isDir != b.family.isDir || a.family.isDir && len(a.family.captures()) == 0 || len(a.family.captures()) != len(b.family.captures()) {
		return false
	}
	n := overlap(a, b)
	if n == 0 || 2*n < min(len(a.keys), len(b.keys)) {
		return false
	}
	if a.sample.signature == "" || a.sample.signature != b.sample.signature {
		return true
	}
	return len(a.family.captures()) > 0 || isTwin(a.family.shape) != isTwin(b.family.shape)
}

// twins are words for a second copy of one model.
var twins = []string{"ema", "teacher", "student", "target", "swa", "avg", "average", "momentum", "shadow", "online"}

func isTwin(name string) bool {
	for _, w := range words.FindAllString(strings.ToLower(name), -1) {
		if slices.Contains(twins, w) {
			return true
		}
	}
	return false
}

// segments splits a path; the root has none.
func segments(dir string) []string {
	if dir == "" {
		return nil
	}
	return strings.Split(dir, "/")
}

// below tells whether a path is in or below a directory.
func below(dir, p string) bool { return dir == "" || p == dir || strings.HasPrefix(p, dir+"/") }

func byDir(a, b *unit) int {
	return cmp.Or(pattern.CompareNatural(a.dir, b.dir), strings.Compare(a.family.shape, b.family.shape))
}
