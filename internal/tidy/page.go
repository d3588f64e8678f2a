package tidy

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

const pageHead = "# Moved files\n\nbundlewatch moved these files here. `bundlewatch tidy undo` with the path of this directory puts them back.\n\n"

// note adds a line for people to MOVED.md, unless it is there.
func note(dir *tree.Dir, line string) error {
	f, err := openOwn(dir, pageName)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil {
		return fmt.Errorf("read %q: %w", f.Name(), err)
	}
	if len(text) == 0 {
		line = pageHead + line
	} else if bytes.Contains(text, []byte(line)) {
		return nil
	} else if text[len(text)-1] != '\n' {
		line = "\n" + line
	}
	if _, err = f.WriteString(line); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", f.Name(), err)
	}
	return nil
}

// pageLine tells of a move. It is made of what the intent says, so that it is the same line after a crash.
func pageLine(r record) string {
	line := fmt.Sprintf("- %s %s: %s from %s, %d bytes, %s", r.Time.Format(time.RFC3339), code(filepath.Base(string(r.To))), r.Kind,
		code(string(r.From)), r.Size, r.Digest)
	if r.Git != GitNone {
		line += ", " + string(r.Git)
	}
	if len(r.Index) > 0 {
		line += ", removed from the index of git"
	}
	return line + fmt.Sprintf(" (%s)\n", r.ID)
}

func undoLine(r record) string {
	return fmt.Sprintf("- %s: put back to %s (%s)\n", code(filepath.Base(string(r.To))), code(string(r.From)), r.ID)
}

// code writes a name as a code span of Markdown that ends where the name ends, whatever is in the name.
func code(name string) string {
	text := visible(name)
	longest, run := 0, 0
	for _, r := range text {
		if r != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	fence := strings.Repeat("`", longest+1)
	if longest == 0 {
		return fence + text + fence
	}
	return fence + " " + text + " " + fence
}
