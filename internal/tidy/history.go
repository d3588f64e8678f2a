package tidy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// past is a record and the directory that it lies in.
type past struct {
	record
	dir string // relative to the root, or absolute, as targets are
}

// history is what the records of a block say, oldest first.
type history []past

const (
	maxRecordDirs = 100_000 // directories that are looked into for records
	deepest       = 16      // levels that one placeholder of a watch may stand for
)

// readHistory finds the records of a block by the shape of its move_to.
func (t *Tidier) readHistory(ctx context.Context, root *tree.Dir) (history, error) {
	h := &historian{ctx: ctx, block: t.block, seen: make(map[string]bool)}
	fixed := filepath.Join(t.block.MoveTo.Fixed()...)
	base, err := root.Descend(fixed)
	if t.block.MoveTo.Absolute() {
		fixed = "/" + fixed
		base, err = tree.Open(fixed)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for records of moves: %w", err)
	}
	defer base.Close()
	if err := h.visit(base, fixed, t.block.MoveTo.Segments()[len(t.block.MoveTo.Fixed()):], 0); err != nil {
		return nil, fmt.Errorf("look for records of moves: %w", err)
	}
	slices.SortStableFunc(h.found, func(a, b past) int { return a.Time.Compare(b.Time) })
	return h.found, nil
}

type historian struct {
	ctx   context.Context
	block config.Tidy
	dirs  int
	seen  map[string]bool
	found history
}

// visit goes down the rest of the template.
func (h *historian) visit(dir *tree.Dir, path string, rest [][]config.TemplatePart, stayed int) error {
	if err := h.ctx.Err(); err != nil {
		return err
	}
	if h.dirs++; h.dirs > maxRecordDirs {
		return fmt.Errorf("more than %d directories are where strays are moved to: give them a move_to with fewer beside", maxRecordDirs)
	}
	if len(rest) == 0 {
		return h.read(dir, path)
	}
	shape, deep := segmentShape(rest[0])
	names, err := dir.Names()
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EBADF) {
		return nil // others' directories, into which nothing of ours was moved
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		fits := shape.MatchString(name)
		if !fits && !deep {
			continue
		}
		if err := h.enter(dir, name, filepath.Join(path, name), fits, deep && stayed < deepest, rest, stayed); err != nil {
			return err
		}
	}
	return nil
}

func (h *historian) enter(dir *tree.Dir, name, path string, fits, deep bool, rest [][]config.TemplatePart, stayed int) error {
	sub, err := dir.Sub(name)
	if err != nil {
		return nil // a file, a link, or not ours
	}
	defer sub.Close()
	if fits {
		if err := h.visit(sub, path, rest[1:], 0); err != nil {
			return err
		}
	}
	if deep {
		return h.visit(sub, path, rest, stayed+1)
	}
	return nil
}

func (h *historian) read(dir *tree.Dir, path string) error {
	records, _, err := readJournal(dir)
	if errors.Is(err, fs.ErrNotExist) || h.seen[path] {
		return nil
	}
	if err != nil {
		return err
	}
	h.seen[path] = true
	for _, r := range records {
		if string(r.Root) == h.block.Root {
			h.found = append(h.found, past{r, path})
		}
	}
	return nil
}

// segmentShape returns what the names of directories that a segment of a move_to became look like, and whether one
// of its placeholders may stand for several levels.
func segmentShape(parts []config.TemplatePart) (shape *regexp.Regexp, deep bool) {
	var text strings.Builder
	for _, p := range parts {
		switch {
		case !p.Placeholder:
			text.WriteString(regexp.QuoteMeta(p.Text))
		case p.Text == "utc":
			text.WriteString(`\d{4}-\d\d-\d\dT\d{6}Z`)
		case p.Text == "date":
			text.WriteString(`\d{4}-\d\d-\d\d`)
		case p.Text == "host", p.Text == "name":
			text.WriteString(`(?s:.+)`)
		default:
			text.WriteString(`(?s:.+)`)
			deep = true
		}
	}
	return regexp.MustCompile("^" + text.String() + "$"), deep
}

// moves counts the moves since a time, and since a person let the block go on.
func (h history) moves(since time.Time) int {
	for _, p := range h {
		if p.State == stateResumed && p.Time.After(since) {
			since = p.Time
		}
	}
	n := 0
	for _, p := range h {
		switch p.State {
		case stateResumed, stateStopped, stateNotMoved:
		default:
			if !p.Time.Before(since) {
				n++
			}
		}
	}
	return n
}

// stop returns the record by which the storm guard stopped the block; nil when it has not, or a person let it go
// on since, by saying so or by another limit.
func (h history) stop(limit int) *past {
	for i := len(h) - 1; i >= 0; i-- {
		switch {
		case h[i].State == stateResumed:
			return nil
		case h[i].State == stateStopped:
			if h[i].Limit != limit {
				return nil
			}
			return &h[i]
		}
	}
	return nil
}

// unfinished returns the records whose end a crash prevented.
func (h history) unfinished() []past {
	var open []past
	for _, p := range h {
		if p.State == stateIntent {
			open = append(open, p)
		}
	}
	return open
}
