package tidy

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// activeRun returns the captures of the run that is active: that of the member of the watch which was written
// last. Where the tidied root lies inside the root of the watch, only members at or below the tidied root count,
// so that a run directory is tidied into its own reports. It is nil where there is no such member.
func activeRun(w config.Watch, root string) (*pattern.Captures, error) {
	top := resolved(w.Root)
	a := &activeSearch{watch: w, top: top, base: filepath.Base(top)}
	from := top
	if root != top && within(top, root) {
		from = root
	}
	if err := filepath.WalkDir(from, a.visit); err != nil {
		return nil, fmt.Errorf("look for the active run of watch %q: %w", w.Name, err)
	}
	return a.found, nil
}

type activeSearch struct {
	watch     config.Watch
	top, base string
	newest    time.Time
	found     *pattern.Captures
}

// visit is a fs.WalkDirFunc. What cannot be read cannot be the active run.
func (a *activeSearch) visit(path string, d fs.DirEntry, err error) error {
	if err != nil || path == a.top {
		return nil
	}
	rel, err := filepath.Rel(a.top, path)
	if err != nil || d.Type()&fs.ModeType&^fs.ModeDir != 0 {
		return nil
	}
	for _, m := range a.watch.Members {
		if m.Pattern == nil || m.Pattern.IsDir() != d.IsDir() {
			continue
		}
		captures, ok := m.Pattern.Match(filepath.ToSlash(rel), a.base)
		if !ok {
			continue
		}
		info, err := d.Info()
		if err == nil && (a.found == nil || info.ModTime().After(a.newest)) {
			a.newest, a.found = info.ModTime(), &captures
		}
	}
	return nil
}
