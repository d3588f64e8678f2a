package tidy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

const (
	journalName = "moved.jsonl"
	pageName    = "MOVED.md"
	// maxJournal is the size in bytes above which moved.jsonl is not taken for a record of moves.
	maxJournal = 256 << 20
)

// journal is the moved.jsonl of one directory, open for appending.
type journal struct {
	dir  *tree.Dir
	file *os.File
	tool string
	now  func() time.Time
}

func openJournal(dir *tree.Dir, opts Options) (*journal, error) {
	f, err := openOwn(dir, journalName)
	if err != nil {
		return nil, err
	}
	return &journal{dir: dir, file: f, tool: opts.Tool, now: opts.now}, nil
}

// openOwn opens a file that this package writes to. One that somebody else could have planted is refused.
func openOwn(dir *tree.Dir, name string) (*os.File, error) {
	f, made, err := dir.AppendFile(name)
	if err != nil {
		return nil, fmt.Errorf("open record of moves: %w", err)
	}
	if made {
		err = errors.Join(dir.GiveTo(f, dir), f.Sync(), dir.Sync())
	} else {
		err = trusted(f, dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open record of moves: %w", err)
	}
	return f, nil
}

// trusted refuses a file that is linked elsewhere, or that neither root, nor this user, nor the owner of its
// directory has made.
func trusted(f *os.File, dir *tree.Dir) error {
	st, err := tree.StatFile(f)
	if err != nil {
		return err
	}
	above, err := dir.Self()
	if err != nil {
		return err
	}
	if st.Links > 1 {
		return fmt.Errorf("%q has %d names: it may be another file; remove it or choose another move_to", f.Name(), st.Links)
	}
	if st.UID != above.UID && st.UID != 0 && st.UID != uint32(os.Geteuid()) {
		return fmt.Errorf("%q belongs to user %d, its directory to user %d: remove it or choose another move_to", f.Name(), st.UID, above.UID)
	}
	return nil
}

// add appends a record and syncs it. What a crash or a full disk left of an earlier line is closed first.
func (j *journal) add(r record) error {
	r.Version, r.Tool = recordVersion, j.tool
	r.Written = j.now().UTC().Truncate(time.Millisecond)
	if r.Time.IsZero() {
		r.Time = r.Written
	}
	line, err := r.line()
	if err != nil {
		return err
	}
	torn, err := endsTorn(j.file)
	if err != nil {
		return fmt.Errorf("write record of moves %q: %w", j.file.Name(), err)
	}
	if torn {
		line = append([]byte("\n"), line...)
	}
	if _, err = j.file.Write(line); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("write record of moves: %w", err)
	}
	return nil
}

// endsTorn tells whether the last line of a file is not ended.
func endsTorn(f *os.File) (bool, error) {
	st, err := tree.StatFile(f)
	if err != nil || st.Size == 0 {
		return false, err
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], st.Size-1)
	return last[0] != '\n', err
}

func (j *journal) close() { j.file.Close() }

// readJournal returns the last record of each id in the order of the first ones. Lines that are no records are
// counted.
func readJournal(dir *tree.Dir) (records []record, broken int, err error) {
	f, st, err := dir.OpenFile(journalName)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if st.Size > maxJournal {
		return nil, 0, fmt.Errorf("read record of moves %q: larger than %d bytes", f.Name(), maxJournal)
	}
	at := make(map[string]int)
	lines := bufio.NewReader(io.LimitReader(f, st.Size))
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return records, broken, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, fmt.Errorf("read record of moves %q: %w", f.Name(), err)
		}
		var r record
		if json.Unmarshal(line, &r) != nil || r.ID == "" || r.State == "" {
			if len(line) > 1 {
				broken++
			}
			continue
		}
		if i, ok := at[r.ID]; ok {
			records[i] = r
			continue
		}
		at[r.ID] = len(records)
		records = append(records, r)
	}
}
