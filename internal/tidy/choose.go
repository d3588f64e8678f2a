package tidy

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// candidates returns the names in the root that match, in order.
func (t *Tidier) candidates(root *tree.Dir) ([]string, error) {
	names, err := root.Names()
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(name, ownPrefix) || !slices.ContainsFunc(t.block.Match, func(p *pattern.Pattern) bool { return matches(p, name) })
	})
	slices.Sort(names)
	return names, nil
}

func matches(p *pattern.Pattern, name string) bool {
	_, ok := p.Match(name, "")
	return ok
}

// matched tells whether the patterns choose a stray of this shape.
func matched(patterns []*pattern.Pattern, name string, isDir bool) bool {
	return slices.ContainsFunc(patterns, func(p *pattern.Pattern) bool { return p.IsDir() == isDir && matches(p, name) })
}

// kept tells whether a keep pattern protects the name: without a slash at its end it protects directories too.
func (t *Tidier) kept(name string, isDir bool) bool {
	return matched(t.block.Keep, name, false) || isDir && matched(t.block.Keep, name, true)
}

// choose looks at what has a name in the root. It returns nil where that is not meant at all, and a [*leftError]
// where it is left alone.
func (t *Tidier) choose(root *tree.Dir, name string) (*stray, error) {
	st, err := root.Stat(name)
	if err != nil {
		return nil, ifThere(err)
	}
	if !matched(t.block.Match, name, st.IsDir()) {
		return nil, nil
	}
	if err := t.allowed(name, st); err != nil {
		return nil, err
	}
	s, err := look(root, name)
	if err != nil {
		return nil, ifThere(err)
	}
	return s, t.judge(s)
}

// ifThere drops the error of something that is not there any more: a normal outcome between listing and look.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return err
}

// allowed judges what the name and the first look tell.
func (t *Tidier) allowed(name string, st tree.Stat) error {
	switch {
	case t.kept(name, st.IsDir()):
		return leave("a keep pattern matches it")
	case name == ".git":
		return leave("it is git's")
	case shapeOf(st) == "":
		return leave("it is a pipe, a socket or a device")
	case st.IsLink() && !t.block.Symlinks:
		return leave("it is a symbolic link, and symlinks = true is not set")
	case st.Mount:
		return leave("something is mounted there")
	}
	return nil
}

// judge decides on everything but what git says and who has it open.
func (t *Tidier) judge(s *stray) error {
	if err := t.reserved.check(s); err != nil {
		return err
	}
	if err := s.checkInside(); err != nil {
		return err
	}
	if age := t.opts.now().Sub(s.newest); age < t.block.MinAge {
		t.wake(s.newest.Add(t.block.MinAge))
		return leave("it changed %s ago, and min_age is %s", max(age, 0).Round(time.Second), t.block.MinAge)
	}
	if limit := t.block.MaxSize; limit > 0 && s.bytes > limit {
		return leave("it has %d bytes, and max_size is %d", s.bytes, limit)
	}
	return nil
}

// checkInside refuses a directory with something mounted in it, and one that is a repository of its own or holds
// one: other work trees and .git files name it by its path.
func (s *stray) checkInside() error {
	heads := make(map[string]int)
	for _, e := range s.inside {
		dir, base := path.Split(e.path)
		switch {
		case e.stat.Mount || e.stat.Dev != s.stat.Dev:
			return leave("something is mounted in it, at %q", e.path)
		case base == ".git":
			return leave("a repository of git is in it, at %q", e.path)
		case base == "HEAD" || base == "objects" || base == "refs":
			if heads[dir]++; heads[dir] == 3 {
				return leave("a repository of git is in it, at %q", path.Clean(dir))
			}
		}
	}
	return nil
}

// askGit sets what git says of the strays. Those that are to be left alone for it come back with the reason; an
// error leaves all of them alone.
func (t *Tidier) askGit(ctx context.Context, repo *repository, strays []*stray) (map[*stray]error, error) {
	if repo == nil || len(strays) == 0 {
		return nil, nil
	}
	names := make([]string, len(strays))
	for i, s := range strays {
		names[i] = s.name
	}
	items, err := repo.tracked(ctx, names)
	if err != nil {
		return nil, err
	}
	ignored, err := repo.ignored(ctx, names)
	if err != nil && !errors.Is(err, errNoGit) && repo.mayRun() == nil {
		return nil, err
	}
	left := make(map[*stray]error)
	for _, s := range strays {
		s.classify(repo, items, ignored)
		if s.git == GitTracked {
			if err := t.judgeTracked(ctx, repo, s); err != nil {
				left[s] = err
			}
		}
	}
	return left, nil
}

func (s *stray) classify(repo *repository, items []indexItem, ignored map[string]bool) {
	at := repo.prefix + s.name
	for _, item := range items {
		if within(at, string(item.Path)) {
			s.index = append(s.index, item)
		}
	}
	switch {
	case len(s.index) > 0:
		s.git = GitTracked
	case ignored == nil:
		s.git = GitUnknown
	case ignored[s.name]:
		s.git = GitIgnored
	default:
		s.git = GitUntracked
	}
}

// judgeTracked decides whether a stray that git tracks may be moved and removed from the index. What only the
// index holds would be lost by that.
func (t *Tidier) judgeTracked(ctx context.Context, repo *repository, s *stray) error {
	if t.block.Tracked != config.TrackedGitRm {
		return leave("git tracks it")
	}
	if err := repo.mayRun(); err != nil {
		return leave("git tracks it, and %s", err)
	}
	committed, err := repo.committed(ctx, s.name)
	if errors.Is(err, errNoGit) {
		return leave("git tracks it, and there is no git in $PATH to remove it from the index")
	}
	if err != nil {
		return err
	}
	for _, item := range s.index {
		switch {
		case item.Mode == "160000":
			return leave("git tracks a submodule there, %q", item.Path)
		case item.Stage != 0:
			return leave("git tracks it, and a merge left a conflict in it")
		case !slices.Contains(committed, item) && !s.holds(ctx, repo, item):
			return leave("git tracks it, and the index has changes of %q that are in no commit: commit or unstage them", item.Path)
		}
	}
	return nil
}
