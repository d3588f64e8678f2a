package snapshot

import (
	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// translation makes the params of one candidate.
type translation struct {
	candidate
	params   *pickle.Dict
	consumed map[*pickle.Dict]map[string]bool // keys that the table has translated, by section
	notes    *notebook
	plain    *flattener // its notes are notes
}

// params translates a candidate: the table first, then what the table does not name.
func (t *translator) params(c candidate) (*pickle.Dict, error) {
	notes := &notebook{source: c.source}
	tr := &translation{
		candidate: c,
		params:    &pickle.Dict{},
		consumed:  make(map[*pickle.Dict]map[string]bool),
		notes:     notes,
		plain:     newFlattener(notes, false),
	}
	for _, row := range table {
		for _, key := range row.matches(tr.section(row.section)) {
			if err := tr.apply(row, key); err != nil {
				return nil, err
			}
		}
	}
	tr.addConstants()
	tr.addLeftovers()
	tr.addBundleKeys()
	t.notes.putAll(notes.list(), c.source)
	return tr.params, nil
}

// section returns one of the torch configs; of a flat source, which has but one dict, that.
func (tr *translation) section(name string) *pickle.Dict {
	if tr.flat {
		return tr.tree
	}
	return section(tr.tree, name)
}

// path is the dotted path of a key in the source.
func (tr *translation) path(section, key string) string {
	if tr.flat {
		return key
	}
	return section + "." + key
}

func (tr *translation) apply(r row, key string) error {
	config := tr.section(r.section)
	value, exists := config.Get(key)
	if !exists && r.rule == nil {
		return nil
	}
	to, rule := r.to, r.rule
	if to == r.from { // a wildcard's keys keep their names
		to = key
	}
	if rule == nil {
		rule = asIs
	}
	var out outcome
	tr.plain.within(tr.path(r.section, key), func() (any, bool) {
		out = rule(tr, value)
		return nil, false
	})
	if out.refuse != "" {
		path := tr.path(r.section, key)
		return &RefusedError{Source: tr.where(path), Key: path, Found: show(value), Reason: out.refuse}
	}
	if !out.keep {
		tr.consume(config, key)
	}
	if out.set && (exists || r.derives()) {
		tr.params.Set(renamed(to), out.value)
	}
	return nil
}

// derives tells whether the row gives a value even where its key is absent.
func (r row) derives() bool { return r.to == "C" || r.to == "probe_mask" }

func (tr *translation) consume(config *pickle.Dict, key string) {
	if tr.consumed[config] == nil {
		tr.consumed[config] = make(map[string]bool)
	}
	tr.consumed[config][key] = true
}

func (tr *translation) addConstants() {
	if !tr.flat {
		tr.params.Set("backend", "pytorch")
	}
}

// addLeftovers keeps what has no translation under its own name, unless that is taken.
func (tr *translation) addLeftovers() {
	if tr.flat {
		tr.addLeftoversOf("", tr.tree)
		return
	}
	for _, name := range sectionNames {
		tr.addLeftoversOf(name, section(tr.tree, name))
	}
}

func (tr *translation) addLeftoversOf(section string, config *pickle.Dict) {
	for key, value := range config.All() {
		name := key.(string)
		if tr.consumed[config][name] {
			continue
		}
		path := tr.path(section, name)
		plain, ok := tr.plain.within(path, func() (any, bool) { return tr.plain.value(value) })
		if !ok {
			continue
		}
		if taken, exists := tr.params.Get(renamed(name)); !exists {
			tr.params.Set(renamed(name), plain)
		} else if !equal(taken, plain) {
			tr.notes.add(NoteConflict, clip(path), "%s is not in the params: %s is %s there",
				show(plain), quote(renamed(name)), show(taken))
		}
	}
}

// addBundleKeys sets what every bundle's params have (ptycho_torch/model_manager.py, save_torch_bundle).
func (tr *translation) addBundleKeys() {
	if scale, _ := tr.params.Get("intensity_scale"); scale == nil {
		tr.params.Set("intensity_scale", 1.0)
	}
	tr.params.Set("_version", bundleVersion)
	for _, key := range []string{"N", "gridsize"} {
		if value, _ := tr.params.Get(key); value == nil {
			tr.notes.add(NoteWarning, key, "no source gives it: upstream's loader refuses the bundle")
		}
	}
}
