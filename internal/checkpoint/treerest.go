package checkpoint

import (
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
)

// temporary are names that writers use until a file or folder is finished: safetensors, orbax,
// torch.distributed.checkpoint, TensorFlow (tensor_bundle, saved_model), tensorstore, older versions of Trainer,
// and those that many programs use.
var temporary = regexp.MustCompile(`^\.tmp[A-Za-z0-9]{6}$|\.orbax-checkpoint-tmp|^variables_temp$|\.tempstate[0-9]+$|\.pb\.tmp[0-9a-f]+$|\.__lock$|^tmp-checkpoint-[0-9]+$|\.(tmp|partial|incomplete)$`)

func (t *treeReader) checkTemporary() error {
	if temporary.MatchString(t.name) {
		return &Incomplete{Reason: fmt.Sprintf("the directory has the name %.200q, which is temporary: its writer renames it when it is finished", t.name)}
	}
	for _, f := range t.tree.Files {
		if segments := strings.Split(f.Path, "/"); slices.ContainsFunc(segments, temporary.MatchString) {
			return &Incomplete{Reason: fmt.Sprintf("%.200q has the name of a file that is still written (remove it if no job writes here: a writer that was killed leaves it)", f.Path)}
		}
	}
	return nil
}

// proveRest proves the files that no format has claimed.
func (t *treeReader) proveRest() error {
	root := folder{t, ""}
	if t.tree.Format == Directory && !slices.ContainsFunc(t.tree.Files, func(f TreeFile) bool { return !isDescription(f.Path) }) {
		return &Incomplete{Reason: "there are only descriptions, and no weights yet"}
	}
	checked := false
	for _, file := range t.tree.Files {
		if t.done[file.Path] || t.claimedBelow(file.Path) {
			continue
		}
		if err := root.proveLoose(file); err != nil {
			return err
		}
		checked = true
	}
	switch {
	case t.tree.Format == Directory:
		t.say("no format of this directory is known: each file that is recognised is whole, none is empty. This is the weakest evidence: whether files are missing cannot be told")
	case checked:
		t.say("each other file that is recognised is whole; whether other files are missing cannot be told")
	}
	return nil
}

func (f folder) proveLoose(file TreeFile) error {
	switch {
	case file.Size == 0 && f.tree.Format != Directory && mayBeEmpty(file.Path):
		return nil
	case file.Size == 0:
		return f.broken(file.Path, "it is empty")
	case f.tree.Format != Directory && strings.HasSuffix(file.Path, ".json"):
		return f.proveJSON(file)
	}
	return f.prove(file.Path, nil)
}

// mayBeEmpty tells whether a file means something without content: a Python package, a lock, a list.
func mayBeEmpty(name string) bool {
	switch path.Ext(name) {
	case ".py", ".txt", ".md", ".lock":
		return true
	}
	return strings.HasPrefix(path.Base(name), ".")
}

// isDescription tells whether a file, by its name, is text that is no checkpoint without other files.
func isDescription(name string) bool {
	switch path.Ext(name) {
	case ".json", ".yaml", ".yml", ".toml":
		return true
	}
	return mayBeEmpty(name) || path.Base(name) == latestName
}

func (f folder) proveJSON(file TreeFile) error {
	if file.Size > maxDescription {
		return f.read(file.Path, func(io.ReaderAt, int64) error { return nil })
	}
	return f.checkJSON(file.Path)
}
