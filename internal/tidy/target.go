package tidy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// utcFormat is how {utc} is written: no colon, so that every tool takes it.
const utcFormat = "2006-01-02T150405Z"

// errNoRun tells that no run of the watch is there whose captures could be used.
var errNoRun = errors.New("no run of the watch has a member yet")

// values are what the placeholders of a move_to stand for in one pass.
type values struct {
	time time.Time
	host string
	run  *pattern.Captures // nil where none is active
}

// target returns the directory that a stray goes to, relative to the root unless move_to is absolute.
func (t *Tidier) target(v values, name string) (string, error) {
	missing := ""
	path := t.block.MoveTo.Expand(func(placeholder string) string {
		text, ok := v.of(placeholder, name)
		if !ok {
			missing = placeholder
		}
		return text
	})
	if missing != "" {
		return "", fmt.Errorf("move_to needs {%s}: %w %q", missing, errNoRun, t.block.Watch)
	}
	for element := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if element == "" || element == "." || element == ".." {
			return "", fmt.Errorf("move_to became %q, which is no path that stays below its beginning", path)
		}
	}
	return path, nil
}

func (v values) of(placeholder, name string) (string, bool) {
	switch placeholder {
	case "utc":
		return v.time.UTC().Format(utcFormat), true
	case "date":
		return v.time.UTC().Format(time.DateOnly), true
	case "host":
		return v.host, true
	case "name":
		return name, true
	}
	if v.run == nil {
		return "", false
	}
	return v.run.Value(placeholder)
}

func hostname() string {
	host, err := os.Hostname()
	if err != nil || host == "" || strings.ContainsAny(host, "/\x00") {
		return "localhost"
	}
	return host
}

// absolute returns where a target is.
func (t *Tidier) absolute(target string) string {
	if filepath.IsAbs(target) {
		return target
	}
	return filepath.Join(t.block.Root, target)
}

// open makes the target and all that is missing above it.
func open(root *tree.Dir, target string) (*tree.Dir, error) {
	var dir *tree.Dir
	var err error
	if filepath.IsAbs(target) {
		dir, err = makeAbsolute(target)
	} else {
		dir, err = root.MakeAll(target)
	}
	if err != nil {
		return nil, fmt.Errorf("make the directory for strays: %w", err)
	}
	return dir, nil
}

// makeAbsolute goes from the longest part of the path that exists.
func makeAbsolute(path string) (*tree.Dir, error) {
	var missing []string
	for here := path; ; here = filepath.Dir(here) {
		dir, err := tree.Open(here)
		if errors.Is(err, fs.ErrNotExist) && here != "/" {
			missing = append(missing, filepath.Base(here))
			continue
		}
		if err != nil || len(missing) == 0 {
			return dir, err
		}
		slices.Reverse(missing)
		defer dir.Close()
		return dir.MakeAll(strings.Join(missing, "/"))
	}
}

// maxName is how many bytes a name has at most.
const maxName = 255

// freeName returns the n-th name to try for a stray: name, name-2, name-3, …. The names of the records are never
// free.
func freeName(name string, n int) string {
	if name == journalName || name == pageName {
		n++
	}
	if n == 1 {
		return name
	}
	suffix := fmt.Sprintf("-%d", n)
	return name[:min(len(name), maxName-len(suffix))] + suffix
}
