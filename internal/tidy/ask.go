package tidy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// namesArgs is how many paths one command line takes: 200 of 4 KiB are less than half of what a kernel allows.
const namesArgs = 200

// tracked returns the entries of the index at or below these paths, which are relative to the root.
func (r *repository) tracked(ctx context.Context, names []string) ([]indexItem, error) {
	var items []indexItem
	all := names
	for len(names) > 0 {
		n := min(len(names), namesArgs)
		args := []string{"--literal-pathspecs", "ls-files", "-z", "--stage", "--"}
		for _, name := range names[:n] {
			args = append(args, r.prefix+name)
		}
		out, err := r.read(ctx, "", args...)
		if errors.Is(err, errNoGit) || r.mayRun() != nil {
			return r.trackedByIndex(all)
		}
		if err != nil {
			return nil, err
		}
		found, err := parseStage(out)
		if err != nil {
			return nil, err
		}
		items, names = append(items, found...), names[n:]
	}
	return items, nil
}

// trackedByIndex is tracked without git.
func (r *repository) trackedByIndex(names []string) ([]indexItem, error) {
	return readIndex(filepath.Join(r.dir, "index"), func(path string) bool {
		below, ok := strings.CutPrefix(path, r.prefix)
		name, _, _ := strings.Cut(below, "/")
		return ok && slices.Contains(names, name)
	})
}

// parseStage reads the output of ls-files --stage -z and of ls-tree -z.
func parseStage(out string) ([]indexItem, error) {
	var items []indexItem
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if line == "" {
			continue
		}
		about, path, ok := strings.Cut(line, "\t")
		fields := strings.Fields(about)
		if !ok || len(fields) != 3 {
			return nil, fmt.Errorf("read the answer of git: %q is no entry", line)
		}
		item := indexItem{Mode: fields[0], Blob: fields[1], Path: bytesName(path)}
		if fields[1] == "blob" || fields[1] == "commit" {
			item.Blob = fields[2]
		} else if item.Stage, ok = stageNumber(fields[2]); !ok {
			return nil, fmt.Errorf("read the answer of git: %q has no stage", line)
		}
		items = append(items, item)
	}
	return items, nil
}

func stageNumber(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= 3
}

// ignored returns which of the names are ignored; nil when nobody can tell.
func (r *repository) ignored(ctx context.Context, names []string) (map[string]bool, error) {
	var input strings.Builder
	for _, name := range names {
		input.WriteString("./" + r.prefix + name + "\x00") // a name that begins with a colon means itself so
	}
	out, err := r.read(ctx, input.String(), "check-ignore", "-z", "--stdin")
	if err != nil && exitCode(err) != 1 { // 1: none is
		return nil, err
	}
	ignored := make(map[string]bool)
	for path := range strings.SplitSeq(out, "\x00") {
		ignored[strings.TrimPrefix(path, "./"+r.prefix)] = true
	}
	return ignored, nil
}

// committed returns the entries of the last commit at or below a path.
func (r *repository) committed(ctx context.Context, name string) ([]indexItem, error) {
	out, err := r.read(ctx, "", "--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", "HEAD", "--", r.prefix+name)
	if exitCode(err) == 128 { // there is no commit yet
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseStage(out)
}

// unindex removes entries from the index, and leaves the files alone.
func (r *repository) unindex(ctx context.Context, items []indexItem) error {
	var input strings.Builder
	for _, item := range items {
		input.WriteString(string(item.Path) + "\x00")
	}
	return r.locked(ctx, func() error {
		return r.write(ctx, input.String(), "--literal-pathspecs", "rm", "--cached", "--quiet", "--ignore-unmatch", "--pathspec-from-file=-", "--pathspec-file-nul")
	})
}

// reindex puts entries back into the index.
func (r *repository) reindex(ctx context.Context, items []indexItem) error {
	var input, blobs strings.Builder
	for _, item := range items {
		fmt.Fprintf(&input, "%s %s 0\t%s\x00", item.Mode, item.Blob, item.Path)
		blobs.WriteString(item.Blob + "\n")
	}
	out, err := r.read(ctx, blobs.String(), "cat-file", "--batch-check")
	if err != nil {
		return err
	}
	if strings.Contains(out, " missing\n") {
		return fmt.Errorf("the repository %q no longer has what the index held", r.top)
	}
	return r.locked(ctx, func() error { return r.write(ctx, input.String(), "update-index", "-z", "--index-info") })
}

// locked tries for a while when another git has the index locked.
func (r *repository) locked(ctx context.Context, change func() error) error {
	lock := filepath.Join(r.dir, "index.lock")
	for tries := 0; ; tries++ {
		err := change()
		if _, held := os.Lstat(lock); err == nil || tries == 10 || errors.Is(held, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}
