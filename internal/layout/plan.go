package layout

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// Plan is what a run tree looks like, and the watches that bundle it.
type Plan struct {
	Root    string // absolute
	Entries int    // that were looked at
	Watches []Watch
	Notes   []string // about the tree: what was passed over, and why
}

// Watch is a [[watch]] to be written.
type Watch struct {
	Name     string
	Root     string // absolute
	Layout   string // for people
	Members  []Member
	Files    []string // patterns of config files
	Metrics  []string // patterns of CSV files
	Preset   string   // "" for none
	Keep     string   // "" for the default
	Select   string
	Notes    []string // for the whole watch
	Unsure   []string // what a person should look at, for the whole watch
	Examples []string // of paths that match
}

// Member is a line of [watch.members].
type Member struct {
	Role     string
	Pattern  string
	Sentinel bool
	Files    int    // that match
	Unsure   string // what a person should look at
}

// maxSamples bounds how many files are opened.
const maxSamples = 600

// Look recognises the layout of the tree below root. It changes nothing.
func Look(ctx context.Context, root string) (*Plan, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("look at run tree %q: %w", root, err)
	}
	return look(ctx, abs, 0)
}

// maxApart is how deep directories are looked at apart from each other.
const maxApart = 3

// look makes one plan for a tree or, where the layouts in it are in each other's way, one for each directory in it.
func look(ctx context.Context, abs string, depth int) (*Plan, error) {
	t, err := scan(ctx, abs)
	if err != nil {
		return nil, err
	}
	all := t.candidates()
	l := &looker{tree: t, all: all, plan: &Plan{Root: abs, Entries: t.entries}}
	usable, err := l.sample(ctx, families(all))
	if err != nil {
		return nil, err
	}
	for _, c := range group(usable) {
		l.propose(c)
	}
	l.checkMatches()
	if l.conflict && depth < maxApart && !slices.ContainsFunc(all, func(e entry) bool { return e.dir == "" }) {
		return l.apart(ctx, depth)
	}
	l.plan.Notes = append(l.plan.Notes, t.notes...)
	return l.plan, nil
}

// apart looks at each directory of the tree on its own.
func (l *looker) apart(ctx context.Context, depth int) (*Plan, error) {
	whole := &Plan{Root: l.plan.Root, Entries: l.plan.Entries}
	named := &looker{plan: whole}
	for _, sub := range l.tree.folders[""].subs {
		p, err := look(ctx, filepath.Join(l.plan.Root, sub), depth+1)
		if err != nil {
			return nil, err
		}
		for _, w := range p.Watches {
			named.add(w)
		}
		whole.Notes = append(whole.Notes, p.Notes...)
	}
	return whole, nil
}

// looker makes a plan.
type looker struct {
	tree *tree
	all  []entry
	plan *Plan
	// dirs are those that hold checkpoints: no place for configs of other runs.
	dirs map[string]bool
	// conflict tells that a pattern takes files that it is not meant for.
	conflict bool
}

// sample opens one file of each family in each directory, and leaves out what is no checkpoint of a model.
func (l *looker) sample(ctx context.Context, all []*family) ([]*family, error) {
	var usable []*family
	l.dirs = make(map[string]bool)
	opened := 0
	for _, f := range all {
		var units []*unit
		for _, u := range f.units {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if opened++; opened > maxSamples && len(units) > 0 {
				u.sample = units[0].sample
			} else {
				u.sample = l.readUnit(u)
			}
			if l.isUsable(u) {
				units = append(units, u)
				l.dirs[u.dir] = true
			}
		}
		if f.units = units; len(units) > 0 {
			usable = append(usable, f)
		}
	}
	return usable, nil
}

// readUnit opens the newest file, or another when that is not whole.
func (l *looker) readUnit(u *unit) sample {
	s := read(l.tree.root, u.newest())
	if s.err != nil {
		for _, e := range u.entries[:min(3, len(u.entries))] {
			if again := read(l.tree.root, e); again.err == nil {
				return again
			}
		}
	}
	return s
}

func (l *looker) isUsable(u *unit) bool {
	example := "./" + u.newest().path()
	switch {
	case u.sample.err != nil:
		l.tree.note("left out: %s like %q: not a whole checkpoint: %v", files(len(u.entries)), example, u.sample.err)
	case u.sample.optimizer:
		l.tree.note("left out: %s like %q: the state of an optimizer, no model", files(len(u.entries)), example)
	case !u.sample.weights && u.sample.format != "unknown" && u.sample.format != "npz" && u.sample.format != "hdf5":
		l.tree.note("left out: %s like %q: a %s without weights of a model that could be found", files(len(u.entries)), example, u.sample.format)
	}
	return u.sample.err == nil && u.sample.weights
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// propose makes the watch of a class.
func (l *looker) propose(c *class) {
	w := l.watch(c)
	if more, _ := l.extra(&w); c.named && more > 0 { // other files have such names, too
		l.conflict = true
		for _, r := range c.roles {
			l.add(l.watch(&class{roles: []roleUnits{r}}))
		}
		return
	}
	l.add(w)
}

func (l *looker) add(w Watch) {
	w.Name = l.freeName(w.Name)
	l.plan.Watches = append(l.plan.Watches, w)
}

func (l *looker) watch(c *class) Watch {
	w := Watch{Root: l.plan.Root}
	bases := make([]string, 0, len(c.units()))
	for _, r := range c.roles {
		for _, u := range r.units {
			bases = append(bases, base(u.dir, r))
		}
	}
	slices.Sort(bases)
	bases = slices.Compact(bases)
	if c.named {
		bases = outermost(bases)
	}
	skip := func(dir string) bool { return l.dirs[dir] && !slices.Contains(bases, dir) }
	tail, runs := l.tree.splitRun(bases, skip)
	prefix := "{run...}/" + inPattern(tail)
	l.members(&w, c, prefix, bases)
	l.configs(&w, runs, skip)
	l.payload(&w, c)
	l.describe(&w, c, runs)
	return w
}

// base is the directory above what stands for the role.
func base(dir string, r roleUnits) string {
	segs := segments(dir)
	return strings.Join(segs[:len(segs)-r.depth], "/")
}

// outermost leaves out directories that are below others.
func outermost(dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(d string) bool {
		return slices.ContainsFunc(dirs, func(other string) bool { return other != d && below(other, d) })
	})
}

func inPattern(segs []string) string {
	var b strings.Builder
	for _, s := range segs {
		b.WriteString(literal(s) + "/")
	}
	return b.String()
}

func (l *looker) members(w *Watch, c *class, prefix string, bases []string) {
	if c.named {
		l.namedMember(w, c, prefix, bases)
		return
	}
	names := roleNamesOf(c)
	captures := c.roles[0].family.captures()
	for i, r := range c.roles {
		m := Member{Role: names[i]}
		dir := prefix
		if r.segment != "" {
			dir += literal(r.segment) + "/" + inPattern(segments(r.rest))
		}
		m.Pattern = dir + r.family.pattern(captures)
		for _, u := range r.units {
			m.Files += len(u.entries)
		}
		m.Unsure = unsureRole(c, r)
		w.Members = append(w.Members, m)
		w.Examples = append(w.Examples, r.units[0].newest().path())
	}
}

// unsureRole says what is not certain of a role.
func unsureRole(c *class, r roleUnits) string {
	if len(c.roles) < 2 {
		return ""
	}
	for _, other := range c.roles {
		if other.family == r.family && other.segment == r.segment || isKnownRole(r) && isKnownRole(other) {
			continue
		}
		same := r.units[0].sample.signature != "" && r.units[0].sample.signature == other.units[0].sample.signature
		if same && !isTwin(r.family.shape+r.segment) && !isTwin(other.family.shape+other.segment) {
			return fmt.Sprintf("unsure: it has the same tensors as files like %q; if these are not two models that belong together, watch them apart", other.units[0].newest().name)
		}
	}
	if len(r.family.captures()) == 0 && len(c.roles) > 2 {
		return "unsure: the files of a set were put together because they lie in one directory; take out what does not belong"
	}
	return ""
}

// isKnownRole tells whether a role has a name that is usual for one.
func isKnownRole(r roleUnits) bool {
	return roleWords.MatchString(strings.Trim(cleanRole.ReplaceAllString(r.family.text(), "_"), "._-"))
}

func (l *looker) namedMember(w *Watch, c *class, prefix string, bases []string) {
	deep := slices.ContainsFunc(c.units(), func(u *unit) bool { return !slices.Contains(bases, u.dir) })
	capture := "{name}"
	if deep {
		capture = "{name...}"
	}
	m := Member{Role: "model", Pattern: prefix + capture + literal(c.roles[0].family.ending())}
	for _, u := range c.units() {
		m.Files += len(u.entries)
		w.Examples = append(w.Examples, u.newest().path())
	}
	w.Members = []Member{m}
	w.Notes = append(w.Notes, "One model under several names, such as best and last: the name of the file is the key. All have the same tensors.")
}

// genericRoles are names of files that say nothing of the model in them.
var genericRoles = []string{"checkpoint", "ckpt", "weights", "global", "rl_model", "snapshot", "epoch", "step", "iter", "state", "net", "network", "save"}

var cleanRole = regexp.MustCompile(`[^A-Za-z0-9._]+`)

// roleNamesOf finds names for the roles of a class: what is left of the files' names without numbers, the words
// that stand before them, and what is the same in all.
func roleNamesOf(c *class) []string {
	texts := make([][]string, len(c.roles))
	for i, r := range c.roles {
		text := r.segment
		if text == "" {
			text = r.family.text()
		}
		texts[i] = strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("-_ =+", r) })
	}
	for cut := func() bool {
		for _, t := range texts {
			if len(t) < 2 || len(texts) < 2 || t[0] != texts[0][0] {
				return false
			}
		}
		return true
	}; cut(); {
		for i := range texts {
			texts[i] = texts[i][1:]
		}
	}
	var names []string
	for _, t := range texts {
		name := strings.Trim(cleanRole.ReplaceAllString(strings.Join(t, "_"), "_"), "._-")
		if known := map[string]string{"g": "generator", "d": "discriminator", "do": "discriminator"}[strings.ToLower(name)]; known != "" {
			name = known
		}
		if len(texts) == 1 && slices.Contains(genericRoles, strings.ToLower(name)) {
			name = "model"
		}
		if name == "" || slices.Contains([]string{"bundlewatch", "manifest.dill"}, name) {
			name = "model"
		}
		for n := 2; slices.Contains(names, name); n++ {
			name = fmt.Sprintf("%s_%d", strings.TrimSuffix(name, fmt.Sprintf("_%d", n-1)), n)
		}
		names = append(names, name)
	}
	return names
}

var slotWord = regexp.MustCompile(`(?i)(?:^|[^A-Za-z])(epochs?|ep|e|steps?|s|iters?|it|iterations?|i)[-_=.]*\x00|\x00[-_.]*(steps?|epochs?|iters?|iterations?)\b`)

var metricWord = regexp.MustCompile(`(?:[A-Za-z_/]+[-=.]*)?\x01`)

// text is what the names of a family have besides numbers, the words that name those, and the ending.
func (f *family) text() string {
	var b strings.Builder
	n := 0
	for _, p := range f.parts {
		switch {
		case !p.slot:
			b.WriteString(p.text)
		case f.slots[n].use == constant:
			b.WriteString(f.slots[n].text)
		case f.slots[n].use == metric:
			b.WriteByte(1)
		default:
			b.WriteByte(0)
		}
		if p.slot {
			n++
		}
	}
	text := strings.TrimSuffix(b.String(), f.ending())
	text = slotWord.ReplaceAllString(text, "-")
	text = metricWord.ReplaceAllString(text, "-")
	return strings.ReplaceAll(text, "\x00", "-")
}

// configs finds the config files of the runs.
func (l *looker) configs(w *Watch, runs []string, skip func(string) bool) {
	count, metrics := make(map[string]int), make(map[string]int)
	var order, orderMetrics []string
	for _, run := range runs {
		found, csv := l.tree.configs(run, skip)
		for _, f := range found {
			if count[f]++; count[f] == 1 {
				order = append(order, f)
			}
		}
		for _, f := range csv {
			if metrics[f]++; metrics[f] == 1 {
				orderMetrics = append(orderMetrics, f)
			}
		}
	}
	for _, f := range order {
		w.Files = append(w.Files, "{run...}/"+f)
	}
	for _, f := range orderMetrics {
		w.Metrics = append(w.Metrics, "{run...}/"+f)
	}
	w.Files, w.Metrics = unique(w.Files), unique(w.Metrics)
	if len(w.Files) == 0 {
		if w.Files = l.tree.shared(runs[0]); len(w.Files) > 0 {
			w.Unsure = append(w.Unsure, "unsure: the runs have no config files of their own; these lie above them and are frozen with every set")
		}
	}
}

// payload decides what of a checkpoint is archived.
func (l *looker) payload(w *Watch, c *class) {
	plain, selects := true, [][]string{}
	for _, u := range c.units() {
		s := u.sample
		if s.archive {
			w.Keep = "verbatim"
			w.Notes = append(w.Notes, "The files are zips of several checkpoints: they are carried as they are.")
			return
		}
		if !s.plain {
			plain, selects = false, append(selects, s.selects)
		}
		if note := "these checkpoints import " + s.foreign + ", which tensors do not need: they are refused unless you trust them and set imports = \"warn\" under [watch.payload]"; s.foreign != "" && !slices.Contains(w.Unsure, note) {
			w.Unsure = append(w.Unsure, note)
		}
	}
	if plain {
		return
	}
	for _, key := range selects[0] {
		if len(selects) == len(c.units()) && !slices.ContainsFunc(selects, func(s []string) bool { return !slices.Contains(s, key) }) {
			w.Select = key
			if len(selects[0]) > 1 {
				w.Unsure = append(w.Unsure, fmt.Sprintf("unsure: the checkpoints hold weights under %q; select says which are archived", selects[0]))
			}
			return
		}
	}
	w.Keep = "verbatim"
	w.Unsure = append(w.Unsure, "unsure: the weights lie under different names in the members, so the files are carried as they are, optimizers and all; to archive weights alone, watch the members apart with a select of their own")
}

// describe names the layout, and adds what is special about it.
func (l *looker) describe(w *Watch, c *class, runs []string) {
	u := c.units()[0]
	roles := make([]string, len(w.Members))
	for i, m := range w.Members {
		roles[i] = m.Role
	}
	ptycho := slices.ContainsFunc(c.units(), func(u *unit) bool { return u.sample.ptycho }) || slices.ContainsFunc(runs, l.tree.ptychoFiles)
	switch {
	case ptycho && !u.family.isDir:
		l.describePtycho(w, c)
	case u.family.isDir:
		w.Name, w.Layout = "checkpoints", "directory checkpoints: "+u.entries[0].kind
	case u.sample.archive:
		w.Name, w.Layout = "policies", "stable-baselines3"
	case len(w.Members) > 1 && slices.Contains(roles, "generator") && slices.Contains(roles, "discriminator"):
		w.Name, w.Layout = "gan", "a GAN: generator and discriminator"
	case len(w.Members) > 1:
		w.Name, w.Layout = "sets", "sets of "+strings.Join(roles, ", ")
	case slices.ContainsFunc(c.units(), func(u *unit) bool { return strings.Contains(u.dir, "version_") }):
		w.Name, w.Layout = "lightning", "Lightning, with a CSV or TensorBoard logger"
	default:
		w.Name, w.Layout = "checkpoints", "one model"
	}
	if len(w.Members) == 1 && len(c.roles) == 1 && c.roles[0].family.captures() == nil && len(c.units()) > 0 && !c.named {
		w.Notes = append(w.Notes, "The name of the file never changes: each run has one bundle, and a new version whenever the file is written anew.")
	}
}

func (l *looker) describePtycho(w *Watch, c *class) {
	w.Preset = "ptychopinn"
	if len(w.Members) > 1 {
		w.Name, w.Layout = "pairs", "PtychoPINN, a file for each model"
		for i := range w.Members {
			if m := &w.Members[i]; m.Role != "autoencoder" && m.Role != "diffraction_to_obj" && m.Unsure == "" {
				m.Unsure = "unsure: PtychoPINN's loaders want the roles autoencoder and diffraction_to_obj; rename this one if it is one of them"
			}
		}
		return
	}
	w.Name, w.Layout = "unified", "PtychoPINN, one Lightning module for both models"
	w.Members[0].Role = "diffraction_to_obj"
	w.Members = slices.Insert(w.Members, 0, Member{Role: "autoencoder", Sentinel: true})
}

// freeName makes the name of a watch unique.
func (l *looker) freeName(name string) string {
	free := name
	for n := 2; slices.ContainsFunc(l.plan.Watches, func(w Watch) bool { return w.Name == free }); n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	return free
}

// checkMatches holds every pattern against the whole tree: what it takes besides what it was made for is said.
func (l *looker) checkMatches() {
	for i := range l.plan.Watches {
		w := &l.plan.Watches[i]
		if more, _ := l.extra(w); more > 0 {
			l.tighten(w)
		}
		for k := range w.Members {
			m := &w.Members[k]
			if m.Sentinel || m.Unsure != "" {
				continue
			}
			if more, example := l.extraOf(*m); more > 0 {
				l.conflict = true
				m.Unsure = fmt.Sprintf("unsure: the pattern takes %d more files than it was made for, such as %q", more, example)
			}
		}
	}
}

// extra counts the files that the members of a watch take besides those that they were made for.
func (l *looker) extra(w *Watch) (n int, example string) {
	for _, m := range w.Members {
		if more, e := l.extraOf(m); more > 0 {
			n, example = n+more, e
		}
	}
	return n, example
}

func (l *looker) extraOf(m Member) (more int, example string) {
	if m.Sentinel {
		return 0, ""
	}
	p, err := pattern.Compile(m.Pattern)
	if err != nil {
		return 1, err.Error()
	}
	n := 0
	for _, path := range l.paths(p.IsDir()) {
		if _, ok := p.Match(path, filepath.Base(l.plan.Root)); ok {
			if n++; n > m.Files {
				example = path
			}
		}
	}
	return n - m.Files, example
}

// paths lists the directories that are checkpoints, or all files.
func (l *looker) paths(dirs bool) []string {
	var paths []string
	if dirs {
		for _, e := range l.all {
			if e.kind != "" {
				paths = append(paths, e.path())
			}
		}
		return paths
	}
	for _, rel := range l.tree.order {
		for _, name := range l.tree.folders[rel].files {
			paths = append(paths, path.Join(rel, name))
		}
	}
	return paths
}

// tighten lets a run be one directory only, where that takes exactly the files that are meant.
func (l *looker) tighten(w *Watch) {
	tight := *w
	tight.Members, tight.Files, tight.Metrics = slices.Clone(w.Members), slices.Clone(w.Files), slices.Clone(w.Metrics)
	for i := range tight.Members {
		tight.Members[i].Pattern = strings.Replace(tight.Members[i].Pattern, "{run...}", "{run}", 1)
		if more, _ := l.extraOf(tight.Members[i]); more != 0 {
			return
		}
	}
	for _, list := range [][]string{tight.Files, tight.Metrics} {
		for i := range list {
			list[i] = strings.Replace(list[i], "{run...}", "{run}", 1)
		}
	}
	*w = tight
}
