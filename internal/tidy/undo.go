package tidy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// Undo puts back what was moved to a directory and is still as it was moved; only what matches, unless only is nil.
// What happens to each is told by events, Restored and NotPut; the error is about the directory as a whole.
func Undo(ctx context.Context, path string, only *pattern.Pattern, opts Options) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("undo moves: %w", err)
	}
	dir, err := tree.Open(path)
	if err != nil {
		return fmt.Errorf("undo moves: %w", err)
	}
	defer dir.Close()
	records, broken, err := readJournal(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("undo moves: %q has no %s: name the directory that strays were moved to", path, journalName)
	}
	if err != nil {
		return fmt.Errorf("undo moves: %w", err)
	}
	j, err := openJournal(dir, opts)
	if err != nil {
		return fmt.Errorf("undo moves: %w", err)
	}
	defer j.close()
	u := &undo{opts: opts, dir: dir, journal: j}
	for _, r := range slices.Backward(records) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if u.wants(r, only) {
			u.one(ctx, r)
		}
	}
	if broken > 0 {
		opts.Emit(Event{Kind: NotPut, From: dir.Join(journalName), Reason: fmt.Sprintf("%d lines are no whole records", broken)})
	}
	return nil
}

// undo is one run over the records of a directory.
type undo struct {
	opts    Options
	dir     *tree.Dir
	journal *journal
}

// wants tells whether a record is of something that may have to be put back.
func (u *undo) wants(r record, only *pattern.Pattern) bool {
	switch r.State {
	case stateIntent, stateMoved, stateUndoing:
		name := filepath.Base(string(r.From))
		return only == nil || matches(only, name) && (!only.IsDir() || r.Kind == shapeDir)
	}
	return false
}

func (u *undo) one(ctx context.Context, r record) {
	err := u.putBack(ctx, &r)
	e := Event{Kind: Restored, Root: string(r.Root), From: u.dir.Join(filepath.Base(string(r.To))), To: string(r.From), Bytes: r.Size, Digest: r.Digest, Git: r.Git}
	if err != nil {
		e.Reason = err.Error()
	}
	if r.State != stateUndone {
		e.Kind = NotPut
	}
	if e.Kind == NotPut && err == nil {
		return // it was never moved
	}
	u.opts.Emit(e)
}

// putBack moves one file back. The record is of state undone when it is back; an error then tells what else there
// is to say.
func (u *undo) putBack(ctx context.Context, r *record) error {
	root, err := u.root(*r)
	if err != nil {
		return err
	}
	defer root.Close()
	unlock, err := lock(ctx, root)
	if err != nil {
		return err
	}
	defer unlock()
	if r.State == stateIntent {
		moved, err := u.settleMove(ctx, root, r)
		if err != nil || !moved {
			return err
		}
	}
	back, err := u.settleUndo(ctx, root, r)
	if err == nil && !back {
		err = u.move(ctx, root, r)
	}
	if err != nil {
		return err
	}
	return u.finish(ctx, r)
}

// root opens the directory that a file came from. Whoever could write the record must own that directory too:
// else a record that somebody made up would have root move files to anywhere.
func (u *undo) root(r record) (*tree.Dir, error) {
	if filepath.Dir(string(r.From)) != string(r.Root) || !filepath.IsAbs(string(r.From)) || filepath.Clean(string(r.From)) != string(r.From) {
		return nil, fmt.Errorf("its record does not say where it came from: %q", r.From)
	}
	root, err := tree.Open(string(r.Root))
	if err != nil {
		return nil, err
	}
	at, err := root.Self()
	if err == nil && os.Geteuid() == 0 {
		err = u.mayWriteTo(at)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

func (u *undo) mayWriteTo(root tree.Stat) error {
	st, err := tree.StatFile(u.journal.file)
	if err != nil {
		return err
	}
	if st.UID != 0 && st.UID != root.UID {
		return fmt.Errorf("user %d, who owns %q, does not own the directory it came from: root does not put it back on that user's word", st.UID, u.journal.file.Name())
	}
	return nil
}

// settleMove finds out whether a move that a crash interrupted took place.
func (u *undo) settleMove(ctx context.Context, root *tree.Dir, r *record) (moved bool, err error) {
	c := &crossing{ctx: ctx, from: root, name: filepath.Base(string(r.From)), to: u.dir, as: filepath.Base(string(r.To)), r: *r}
	where, err := c.settle()
	if err != nil {
		return false, err
	}
	if where != arrived {
		return false, (&destination{journal: u.journal}).giveUp(*r, errors.New("a crash came before the move"))
	}
	r.State = stateMoved
	return true, nil
}

// settleUndo tells whether the file is back already, as after a crash in an earlier undo.
func (u *undo) settleUndo(ctx context.Context, root *tree.Dir, r *record) (back bool, err error) {
	if r.State != stateUndoing {
		return false, nil
	}
	c := &crossing{ctx: ctx, from: u.dir, name: filepath.Base(string(r.To)), to: root, as: filepath.Base(string(r.From)), r: *r}
	where, err := c.settle()
	return where == arrived, err
}

func (u *undo) move(ctx context.Context, root *tree.Dir, r *record) error {
	s, err := u.asMoved(ctx, *r)
	if err != nil {
		return err
	}
	again := *r
	again.State, again.Inode = stateUndoing, s.stat.Ino
	x := &transfer{stray: s, to: root, r: again, write: u.journal.add, name: func(n int) string {
		if n > 1 {
			return ""
		}
		return filepath.Base(string(r.From))
	}}
	err = x.run(ctx)
	if isUnfinished(err) {
		return fmt.Errorf("%w: say undo again", err)
	}
	if !hasArrived(err) {
		return errors.Join(err, u.journal.add(*r)) // it is moved still
	}
	return nil
}

// asMoved returns the moved file if it is still what it was.
func (u *undo) asMoved(ctx context.Context, r record) (*stray, error) {
	name := filepath.Base(string(r.To))
	s, err := look(u.dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q is not here any more", name)
	}
	if err != nil {
		return nil, err
	}
	if s.shape != r.Kind || s.bytes != r.Size {
		return nil, fmt.Errorf("it was changed since it was moved: %s with %d bytes instead of %s with %d", orOther(s.shape), s.bytes, r.Kind, r.Size)
	}
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	if s.digest != r.Digest {
		return nil, fmt.Errorf("it was changed since it was moved: its digest is %s instead of %s", s.digest, r.Digest)
	}
	return s, nil
}

func orOther(s shape) string {
	if s == "" {
		return "something else"
	}
	return string(s)
}

// finish restores the index entry and writes the end of the record.
func (u *undo) finish(ctx context.Context, r *record) error {
	var remark error
	if len(r.Index) > 0 {
		if err := u.restoreIndex(ctx, *r); err != nil {
			remark = fmt.Errorf("the index of git is left as it is: %w", err)
		}
	}
	remark = errors.Join(remark, note(u.dir, undoLine(*r)))
	if r.State = stateUndone; remark != nil {
		r.Note = remark.Error()
	}
	// The inode is that of the file which was put back: the next pass knows it by that and leaves it alone.
	if root, err := tree.Open(string(r.Root)); err == nil {
		if st, err := root.Stat(filepath.Base(string(r.From))); err == nil {
			r.Inode = st.Ino
		}
		root.Close()
	}
	return errors.Join(remark, u.journal.add(*r))
}

func (u *undo) restoreIndex(ctx context.Context, r record) error {
	repo, err := findRepository(string(r.Root))
	if err != nil {
		return err
	}
	if repo == nil || repo.top != string(r.Top) {
		return fmt.Errorf("the repository %q is gone", r.Top)
	}
	for _, item := range r.Index {
		if !within(strings.TrimPrefix(string(r.From), repo.top+"/"), string(item.Path)) {
			return fmt.Errorf("the entry %q is not of this file", item.Path)
		}
	}
	now, err := repo.tracked(ctx, []string{filepath.Base(string(r.From))})
	if err != nil {
		return err
	}
	if len(now) > 0 && !slices.Equal(now, r.Index) {
		return fmt.Errorf("it has entries for %q again", r.From)
	}
	return repo.reindex(ctx, r.Index)
}
