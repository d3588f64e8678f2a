package pattern

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// Expand lists the regular files below root that match, as paths relative to it, in natural order:
// version_2 before version_10. Symbolic links are neither followed nor listed. What does not exist
// is not an error; anything else that keeps a directory from being read is.
func (g Glob) Expand(root *os.Root) ([]string, error) {
	found := []string{""}
	for i, segment := range g.segments {
		wanted := fs.FileMode.IsDir
		if i == len(g.segments)-1 {
			wanted = fs.FileMode.IsRegular
		}
		var err error
		if found, err = descend(root, found, segment, wanted); err != nil {
			return nil, fmt.Errorf("list files of pattern %q in %q: %w", g.source, root.Name(), err)
		}
	}
	slices.SortFunc(found, CompareNatural)
	return found, nil
}

// descend returns the entries of dirs that match segment and are of the wanted kind.
func descend(root *os.Root, dirs []string, segment []token, wanted func(fs.FileMode) bool) ([]string, error) {
	var found []string
	for _, dir := range dirs {
		names, err := candidates(root, dir, segment)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			rel := join(dir, name)
			info, err := root.Lstat(rel)
			if err != nil && !isAbsent(err) {
				return nil, err
			}
			if err == nil && wanted(info.Mode()) {
				found = append(found, rel)
			}
		}
	}
	return found, nil
}

// candidates returns the names in dir that match segment; a name without wildcards is returned
// without a look whether it exists.
func candidates(root *os.Root, dir string, segment []token) ([]string, error) {
	if name, fixed := fixedName(segment); fixed {
		return []string{name}, nil
	}
	names, err := readNames(root, join(dir, "."))
	if isAbsent(err) {
		return nil, nil
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, ok := read(segment, name)
		return !ok
	}), err
}

// readNames opens dir as a directory or not at all: a pipe put in its place does not block.
func readNames(root *os.Root, dir string) ([]string, error) {
	f, err := root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
