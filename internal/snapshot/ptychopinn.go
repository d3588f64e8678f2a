package snapshot

import (
	"path"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// runFiles are the parsed files of a run, told apart by what PtychoPINN makes of them.
type runFiles struct {
	sections   *merger // the torch configs, by section
	others     *merger // a canonical training config, or anything else
	statistics *pickle.Dict
}

// candidate is a source that may give the params.
type candidate struct {
	source string
	tree   *pickle.Dict
	flat   bool       // tree is one mapping, not one per section
	hyper  *flatHyper // nil for files
	files  *merger    // nil for hyper_parameters
}

func (t *translator) ptychopinn() (*Snapshot, error) {
	files := t.sortFiles()
	chosen := t.choose(files)
	sections, used := t.sections(files, chosen)
	snapshot := &Snapshot{Source: chosen.source, Scaling: t.scaling(sections, files.statistics)}
	if !chosen.flat {
		chosen.tree = sections
	}
	params, err := t.params(chosen)
	if err != nil {
		return nil, err
	}
	snapshot.Params = params
	if chosen.flat && snapshot.Scaling == nil {
		used = nil
	}
	if chosen.flat && chosen.files != nil {
		used = append(slices.Clip(used), chosen.files.used...)
	}
	snapshot.Used = t.inMergeOrder(names(used))
	t.noteUnused(files, snapshot.Used)
	return snapshot, nil
}

func (t *translator) sortFiles() runFiles {
	files := runFiles{sections: newMerger(t.notes), others: newMerger(t.notes)}
	for _, file := range t.parsed {
		base := path.Base(file.origin.path)
		name := strings.TrimSuffix(base, path.Ext(base))
		switch {
		case base == "full_config.json":
			t.noteNotMerged(file.origin, "it repeats the other configs")
		case base == "ci_statistics.json":
			t.noteNotMerged(file.origin, "it holds ci_statistics, not params")
			files.statistics = t.plain(file.tree, file.origin.name)
		case slices.Contains(sectionNames, name):
			files.sections.add(pickle.NewDict(name, file.tree), file.origin)
		case sectionsOf(file.tree).Len() > 0:
			files.sections.add(sectionsOf(file.tree), file.origin)
		default:
			files.others.add(file.tree, file.origin)
		}
	}
	return files
}

func (t *translator) noteNotMerged(file origin, why string) {
	t.notes.put(Note{Kind: NoteNotMerged, Source: file.name, Text: "frozen, but not merged: " + why})
}

// sectionsOf returns the torch configs that a mapping holds beside other keys, as
// hyper_parameters and Lightning's hparams.yaml do.
func sectionsOf(tree *pickle.Dict) *pickle.Dict {
	sections := &pickle.Dict{}
	for _, name := range sectionNames {
		if dict := section(tree, name); dict != nil {
			sections.Set(name, dict)
		}
	}
	return sections
}

// choose returns the first source that gives N: files before hyper_parameters, and among files a
// canonical config before torch configs before anything else. When none does, the first that
// gives anything is as good as it gets.
func (t *translator) choose(files runFiles) candidate {
	candidates := t.candidates(files)
	for _, c := range candidates {
		if c.givesN() {
			return c
		}
	}
	for _, c := range candidates {
		if c.tree.Len() > 0 {
			return c
		}
	}
	return candidate{tree: &pickle.Dict{}, flat: true}
}

func (t *translator) candidates(files runFiles) []candidate {
	sections := candidate{source: SourceFiles, tree: files.sections.tree, files: files.sections}
	others := candidate{source: SourceFiles, tree: liftModel(files.others.tree), flat: true, files: files.others}
	list := []candidate{sections, others}
	if section(files.others.tree, "model") != nil && others.givesN() {
		list = []candidate{others}
	}
	for _, hyper := range t.hypers {
		c := candidate{source: hyper.origin.name, tree: sectionsOf(hyper.tree), hyper: &hyper}
		if c.tree.Len() == 0 {
			c.tree, c.flat = liftModel(hyper.tree), true
		}
		list = append(list, c)
	}
	return list
}

func (c candidate) givesN() bool {
	from := c.tree
	if !c.flat {
		from = section(c.tree, dataConfig)
	}
	value, _ := from.Get("N")
	return value != nil
}

// where returns the path of the file that a value comes from.
func (c candidate) where(key string) string {
	if c.files != nil {
		for _, path := range []string{key, "model." + key} {
			if o, ok := c.files.origins[path]; ok {
				return o.path
			}
		}
	}
	return c.source
}

// liftModel moves the keys of a nested model to the end of the top level, where they win
// (ptycho/config/config.py, dataclass_to_legacy_dict).
func liftModel(tree *pickle.Dict) *pickle.Dict {
	model := section(tree, "model")
	if model == nil {
		return tree
	}
	lifted := &pickle.Dict{}
	for key, value := range tree.All() {
		if key != "model" {
			lifted.Set(key, value)
		}
	}
	for key, value := range model.All() {
		lifted.Set(key, value)
	}
	return lifted
}

// sections returns the torch configs of the side that was chosen, files or hyper_parameters, with
// what it lacks from the other, and the files among their origins.
func (t *translator) sections(files runFiles, chosen candidate) (*pickle.Dict, []origin) {
	hyper := t.hyperWithSections(chosen)
	if chosen.hyper == nil {
		sections := copySections(files.sections.tree)
		if hyper != nil && t.complete(sections, sectionsOf(hyper.tree), hyper.origin.name) {
			t.use(*hyper)
		}
		return sections, files.sections.used
	}
	t.use(*chosen.hyper)
	sections := sectionsOf(chosen.hyper.tree)
	if t.complete(sections, files.sections.tree, SourceFiles) {
		return sections, files.sections.used
	}
	return sections, nil
}

func (t *translator) hyperWithSections(chosen candidate) *flatHyper {
	if chosen.hyper != nil {
		return chosen.hyper
	}
	for i, hyper := range t.hypers {
		if sectionsOf(hyper.tree).Len() > 0 {
			return &t.hypers[i]
		}
	}
	return nil
}

func copySections(tree *pickle.Dict) *pickle.Dict {
	sections := &pickle.Dict{}
	for name, value := range tree.All() {
		dict := &pickle.Dict{}
		for key, value := range value.(*pickle.Dict).All() {
			dict.Set(key, value)
		}
		sections.Set(name, dict)
	}
	return sections
}

// complete adds to sections what only the other side knows: whole dicts, and tensors, which no
// text file can hold. It tells whether there was anything.
func (t *translator) complete(sections, other *pickle.Dict, from string) bool {
	completed := false
	for _, name := range sectionNames {
		theirs := section(other, name)
		if theirs == nil {
			continue
		}
		ours := section(sections, name)
		if ours == nil {
			sections.Set(name, theirs)
			t.notes.put(Note{Kind: NoteTaken, Source: from, Key: name, Text: "taken from here, the chosen source lacks it"})
			completed = true
			continue
		}
		completed = t.takeTensors(ours, theirs, Note{Source: from, Key: name}) || completed
	}
	return completed
}

func (t *translator) takeTensors(ours, theirs *pickle.Dict, at Note) bool {
	taken := false
	for key, value := range theirs.All() {
		if !isTensor(value) {
			continue
		}
		if mine, _ := ours.Get(key); mine == value {
			continue
		}
		ours.Set(key, value)
		taken = true
		t.notes.put(Note{
			Kind: NoteTaken, Source: at.Source, Key: at.Key + "." + clip(key.(string)),
			Text: "the tensor is taken from here, a config file cannot hold it",
		})
	}
	return taken
}

// inMergeOrder sorts names of files as they were given.
func (t *translator) inMergeOrder(used []string) []string {
	var sorted []string
	for _, file := range t.in.Files {
		if slices.Contains(used, file.Name) && !slices.Contains(sorted, file.Name) {
			sorted = append(sorted, file.Name)
		}
	}
	return sorted
}

func (t *translator) noteUnused(files runFiles, used []string) {
	for _, m := range []*merger{files.sections, files.others} {
		for _, file := range m.used {
			if !slices.Contains(used, file.name) {
				t.noteNotMerged(file, "another source gave the params")
			}
		}
	}
}
