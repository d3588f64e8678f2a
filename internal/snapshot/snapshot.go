package snapshot

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// The presets that Translate knows.
const (
	PresetNone       = "none"       // the merged tree as it is
	PresetPtychoPINN = "ptychopinn" // the params that PtychoPINN's loaders read
)

// SourceFiles is a [Snapshot]'s Source when config files gave the params.
const SourceFiles = "config files"

// Hyper is the hyper_parameters of one member's checkpoint, as the pickle holds it.
type Hyper struct {
	Role  string
	Value any
}

// Input is all that is known of the config of a set.
type Input struct {
	Preset       string
	Files        []File // in the order in which they are merged
	Hypers       []Hyper
	CIStatistics any // the checkpoint's ci_statistics as a dict of lists of floats, or nil
	Required     []string
}

// Snapshot is what the sources of the config were translated to.
type Snapshot struct {
	Params  *pickle.Dict
	Source  string   // SourceFiles, whose hyper_parameters, or empty when there was nothing
	Used    []string // the names of the files that Params and Scaling were made of
	Notes   []Note
	Classes []string // the classes that were flattened, sorted
	Scaling *Scaling // nil unless the preset is ptychopinn and all four of its dicts are known
}

// Translate makes params of the config. The same input gives the same snapshot. Files that cannot
// be parsed are noted and the rest is used. Errors are [*MissingError] when a required key is
// absent or null, and [*RefusedError] when the preset cannot translate a value.
func Translate(in Input) (*Snapshot, error) {
	t := &translator{in: in, notes: &notebook{}, classes: make(map[string]bool)}
	t.parseFiles()
	t.flattenHypers()
	snapshot, err := t.translate()
	if err != nil {
		return nil, err
	}
	if err := t.checkRequired(snapshot.Params); err != nil {
		return nil, err
	}
	snapshot.Notes = t.notes.list()
	snapshot.Classes = slices.Sorted(maps.Keys(t.classes))
	return snapshot, nil
}

type translator struct {
	in      Input
	notes   *notebook
	classes map[string]bool
	parsed  []parsedFile
	hypers  []flatHyper
}

// parsedFile is a file whose top level is a mapping.
type parsedFile struct {
	origin origin
	tree   *pickle.Dict
}

// flatHyper is a member's hyper_parameters with tuples and tensors kept. Its notes matter only
// when it is used.
type flatHyper struct {
	origin  origin
	tree    *pickle.Dict
	notes   []Note
	classes map[string]bool
}

func (t *translator) translate() (*Snapshot, error) {
	switch t.in.Preset {
	case PresetNone:
		return t.none(), nil
	case PresetPtychoPINN:
		return t.ptychopinn()
	}
	return nil, fmt.Errorf("translate config: unknown preset %q; it is %q or %q", t.in.Preset, PresetNone, PresetPtychoPINN)
}

func (t *translator) parseFiles() {
	for _, file := range t.in.Files {
		value, notes, err := Decode(file)
		tree, isDict := value.(*pickle.Dict)
		switch {
		case err != nil:
			t.noteFile(NoteUnparsed, file, "frozen, but not merged: "+clip(err.Error()))
		case !isDict:
			t.noteFile(NoteNotMerged, file, "frozen, but not merged: its top level is not a mapping")
		default:
			t.parsed = append(t.parsed, parsedFile{origin{file.Name, file.Path}, tree})
		}
		t.notes.putAll(notes, file.Name)
	}
}

func (t *translator) noteFile(kind NoteKind, file File, text string) {
	t.notes.put(Note{Kind: kind, Source: file.Name, Text: text})
}

func (t *translator) flattenHypers() {
	for _, hyper := range t.in.Hypers {
		if hyper.Value == nil {
			continue
		}
		name := hyperSource(hyper.Role)
		f := newFlattener(&notebook{source: name}, true)
		value, _ := f.value(hyper.Value)
		tree, ok := value.(*pickle.Dict)
		if !ok {
			t.notes.put(Note{Kind: NoteNotMerged, Source: name, Text: "not merged: the top level is not a mapping"})
			continue
		}
		t.hypers = append(t.hypers, flatHyper{origin{name, name}, tree, f.notes.list(), f.classes})
	}
}

func hyperSource(role string) string { return "hyper_parameters of " + role }

// use takes over what is to be said of hyper_parameters that give something to the snapshot.
func (t *translator) use(hyper flatHyper) {
	t.notes.putAll(hyper.notes, hyper.origin.name)
	maps.Copy(t.classes, hyper.classes)
}

// plain makes plain values of a tree whose instances are flattened already.
func (t *translator) plain(tree *pickle.Dict, source string) *pickle.Dict {
	f := newFlattener(&notebook{source: source}, false)
	plain, _ := f.value(tree)
	t.notes.putAll(f.notes.list(), source)
	return plain.(*pickle.Dict)
}

// none merges the files, or without any the hyper_parameters.
func (t *translator) none() *Snapshot {
	files := newMerger(t.notes)
	for _, file := range t.parsed {
		files.add(t.plain(file.tree, file.origin.name), file.origin)
	}
	if files.tree.Len() > 0 || len(t.hypers) == 0 {
		return &Snapshot{Params: files.tree, Source: sourceOf(files), Used: names(files.used)}
	}
	hypers := newMerger(t.notes)
	for _, hyper := range t.hypers {
		t.use(hyper)
		hypers.add(t.plain(hyper.tree, hyper.origin.name), hyper.origin)
	}
	return &Snapshot{Params: hypers.tree, Source: strings.Join(names(hypers.used), ", ")}
}

func sourceOf(files *merger) string {
	if files.tree.Len() == 0 {
		return ""
	}
	return SourceFiles
}

func names(origins []origin) []string {
	var names []string
	for _, o := range origins {
		if !slices.Contains(names, o.name) {
			names = append(names, o.name)
		}
	}
	return names
}

func (t *translator) checkRequired(params *pickle.Dict) error {
	var missing []string
	for _, key := range t.in.Required {
		if !isSet(params, key) {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	e := &MissingError{Keys: missing}
	for _, file := range t.in.Files {
		e.Looked = append(e.Looked, path.Clean(file.Path))
	}
	for _, hyper := range t.in.Hypers {
		if hyper.Value != nil {
			e.Hypers = append(e.Hypers, hyper.Role)
		}
	}
	for _, n := range t.notes.list() {
		if n.Kind == NoteUnparsed {
			e.Unparsed = append(e.Unparsed, n.Source+": "+n.Text)
		}
	}
	return e
}

// isSet tells whether params have a value other than None at a key, or at a dotted path of keys.
func isSet(params *pickle.Dict, key string) bool {
	if value, ok := params.Get(key); ok {
		return value != nil
	}
	first, rest, dotted := strings.Cut(key, ".")
	if !dotted {
		return false
	}
	value, _ := params.Get(first)
	inner, ok := value.(*pickle.Dict)
	return ok && isSet(inner, rest)
}
