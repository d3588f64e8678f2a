package tidy

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// removeListed removes what was set aside and copied: exactly the entries that were copied. What else somebody puts
// there meanwhile is an error, and stays.
func removeListed(above *tree.Dir, name string, inside []entry) (removed int, err error) {
	st, err := above.Stat(name)
	if err != nil {
		return 0, err
	}
	if !st.IsDir() {
		return 0, above.Remove(name)
	}
	top, err := above.Sub(name)
	if err != nil {
		return 0, err
	}
	defer top.Close()
	for _, e := range slices.Backward(inside) {
		if err := removeEntry(top, e); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, above.RemoveDir(name)
}

func removeEntry(top *tree.Dir, e entry) error {
	dir, err := top.Descend(path.Dir(e.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(e.path)
	st, err := dir.Stat(name)
	switch {
	case err != nil:
		return err
	case !st.SameContent(e.stat):
		return fmt.Errorf("remove the original %q: %w", dir.Join(name), tree.ErrChanged)
	case st.IsDir():
		return dir.RemoveDir(name)
	}
	return dir.Remove(name)
}

// removeAll removes what this package has made under a name of its own, or a copy of what is there.
func removeAll(above *tree.Dir, name string) error {
	st, err := above.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return above.Remove(name)
	}
	dir, err := above.Sub(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeAll(dir, name); err != nil {
			return err
		}
	}
	return above.RemoveDir(name)
}
