package tidy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/tree"
)

func TestUndoRefusesWhatIsNotAsItWas(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['*.log', 'logs/']\nmove_to = 'attic'\n"
	for _, name := range []string{"changed.log", "gone.log", "taken.log", "grown.log", "good.log", "kind.log", "logs/x"} {
		b.write(name, "text")
	}
	require.Len(t, b.pass(), 7)
	b.write("attic/changed.log", "TEXT")
	b.write("attic/grown.log", "text and more")
	b.write("taken.log", "new")
	require.NoError(t, os.Remove(b.path("attic/gone.log")))
	require.NoError(t, os.Remove(b.path("attic/kind.log")))
	require.NoError(t, os.Mkdir(b.path("attic/kind.log"), 0o755))
	b.write("attic/logs/y", "")
	events := b.undo(b.path("attic"))
	b.expect(events, "undo_refused taken.log", "undo_refused logs", "undo_refused kind.log", "undo_refused grown.log", "tidy_restored good.log",
		"undo_refused gone.log", "undo_refused changed.log")
	require.Contains(t, reasonOf(t, events, "changed.log"), "its digest is")
	require.Contains(t, reasonOf(t, events, "grown.log"), "file with 13 bytes instead of file with 4")
	require.Contains(t, reasonOf(t, events, "taken.log"), "its name is taken")
	require.Contains(t, reasonOf(t, events, "gone.log"), "is not here any more")
	require.Contains(t, reasonOf(t, events, "logs"), "its digest is")
	require.Contains(t, reasonOf(t, events, "kind.log"), "directory with 0 bytes instead of file with 4")
	require.Equal(t, map[string]string{"taken.log": "new", "good.log": "text", "attic/changed.log": "TEXT", "attic/grown.log": "text and more",
		"attic/taken.log": "text", "attic/logs/x": "text", "attic/logs/y": ""}, files(t, b.root))

	// A second undo finds what can be put back by now.
	require.NoError(t, os.Remove(b.path("taken.log")))
	require.NoError(t, os.Remove(b.path("attic/logs/y")))
	b.expect(b.undo(b.path("attic")), "tidy_restored taken.log", "tidy_restored logs", "undo_refused kind.log", "undo_refused grown.log", "undo_refused gone.log", "undo_refused changed.log")
}

func TestUndoOnly(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['*.log', 'logs/']\nmove_to = 'attic'\n"
	b.write("a.log", "a")
	b.write("b.log", "b")
	b.write("logs/x", "x")
	b.pass()
	for _, step := range []struct{ only, want string }{{"a*", "tidy_restored a.log"}, {"logs/", "tidy_restored logs"}, {"*.log", "tidy_restored b.log"}} {
		p, err := pattern.Compile(step.only)
		require.NoError(t, err)
		b.events = nil
		require.NoError(t, Undo(t.Context(), b.path("attic"), p, b.opts))
		b.expect(b.events, step.want)
	}
}

func TestUndoOfNothing(t *testing.T) {
	b := newBench(t)
	require.ErrorContains(t, Undo(t.Context(), b.root, nil, b.opts), "has no moved.jsonl")
	require.ErrorContains(t, Undo(t.Context(), b.path("nowhere"), nil, b.opts), "no such file")
}

// The directory of the record may have been moved itself.
func TestUndoAfterTheDirectoryWasMoved(t *testing.T) {
	b := newBench(t)
	b.write("train.log", "x")
	b.pass()
	elsewhere := filepath.Join(b.dir, "elsewhere")
	require.NoError(t, os.Rename(b.reports()[0], elsewhere))
	b.expect(b.undo(elsewhere), "tidy_restored train.log")
	require.FileExists(t, b.path("train.log"))
}

// In a daemon, what a person has put back stays; a person who asks for a pass gets it.
func TestWhatWasPutBackStays(t *testing.T) {
	b := newBench(t)
	b.write("train.log", "x")
	b.pass()
	b.undo(b.reports()[0])
	c := b.load()
	b.tidier = New(c.Tidies[0], c, b.opts)
	b.tidier.unattended = true
	events := b.again()
	b.expect(events, "tidy_left train.log")
	require.Equal(t, "it was put back by hand", events[0].Reason)
	b.write("train.log", "and changed")
	b.expect(b.again(), "tidied train.log")
	b.undo(b.reports()[1])
	b.expect(b.pass(), "tidied train.log")
}

// As root, undo does not believe what a user wrote about a directory that is not that user's.
func TestUndoOfAMadeUpRecord(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	b := newBench(t)
	b.config = "match = ['*.log']\nmove_to = 'attic'\n"
	b.write("train.log", "* * * * * root evil")
	b.pass()
	victim := filepath.Join(b.dir, "cron.d")
	require.NoError(t, os.Mkdir(victim, 0o755))
	r := b.records(b.path("attic"))[0]
	r.Root, r.From = bytesName(victim), bytesName(victim+"/evil")
	line, err := r.line()
	require.NoError(t, err)
	b.write("attic/moved.jsonl", string(line))
	giveAll(t, b.root, 12345)
	events := b.undo(b.path("attic"))
	require.Equal(t, NotPut, events[0].Kind)
	require.Contains(t, events[0].Reason, "root does not put it back on that user's word")
	require.Empty(t, files(t, victim))

	// Nor does anybody believe a name that leads out of the directories.
	for _, from := range []string{b.root + "/../evil", "train.log", b.root + "/a/b", b.root + "/"} {
		r.Root, r.From = bytesName(b.root), bytesName(from)
		line, err := r.line()
		require.NoError(t, err)
		b.write("attic/moved.jsonl", string(line))
		require.Contains(t, b.undo(b.path("attic"))[0].Reason, "its record does not say where it came from", from)
	}
}

func TestTornRecords(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['*.log']\nmove_to = 'attic'\n"
	b.write("a.log", "a")
	b.pass()
	path := b.path("attic/moved.jsonl")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	b.write("attic/moved.jsonl", string(text)+`{"version":1,"id":"tor`)
	b.write("b.log", "b")
	b.expect(b.pass(), "tidied b.log")
	d, err := tree.Open(b.path("attic"))
	require.NoError(t, err)
	defer d.Close()
	records, broken, err := readJournal(d)
	require.NoError(t, err)
	require.Equal(t, 1, broken)
	require.Len(t, records, 2)
	events := b.undo(b.path("attic"))
	b.expect(events, "tidy_restored b.log", "tidy_restored a.log", "undo_refused moved.jsonl")
	require.Contains(t, events[2].Reason, "1 lines are no whole records")
}

func TestNamesInRecords(t *testing.T) {
	for _, name := range []string{"plain", "new\nline", "\xff\xfe", "a\xffb", "\x1b[0m", "ünï", "\u009b", "\u202e", "𝄞\U000e0001", "\ufffd", `{"base64":"x"}`, ""} {
		line, err := record{ID: "1", State: stateMoved, From: bytesName(name)}.line()
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(line), "\n"))
		for _, r := range string(line[:len(line)-1]) {
			require.NotContains(t, "\x1b\u009b\u202e\U000e0001", string(r))
		}
		var back record
		require.NoError(t, json.Unmarshal(line, &back))
		require.Equal(t, name, string(back.From))
	}
}

func FuzzNamesInRecords(f *testing.F) {
	f.Add("a\xff\n\u202e")
	f.Fuzz(func(t *testing.T, name string) {
		line, err := record{ID: "1", State: stateMoved, From: bytesName(name)}.line()
		require.NoError(t, err)
		var back record
		require.NoError(t, json.Unmarshal(line, &back))
		require.Equal(t, name, string(back.From))
		require.NotContains(t, code(name), "\n")
	})
}

func TestCodeSpans(t *testing.T) {
	require.Equal(t, "`a b`", code("a b"))
	require.Equal(t, "`` a`b ``", code("a`b"))
	require.Equal(t, "``` ``a` ```", code("``a`"))
	require.Equal(t, "`\"a\\nb\"`", code("a\nb"))
	require.Equal(t, `quo"te\`, visible(`quo"te\`))
}

func TestStormGuard(t *testing.T) {
	b := newBench(t)
	b.config += "max_per_hour = 3\n"
	litter := func(n int) {
		for i := range n {
			b.write(strings.Repeat("x", i+1)+".log", "x")
		}
	}
	litter(2)
	require.Len(t, b.pass(), 2)
	litter(3)
	events := b.pass()
	b.expect(events, "tidied x.log", "tidy_stopped .")
	require.Contains(t, events[1].Reason, "3 moves within an hour: the block is stopped")

	// It waits for a person: after the hour, after restarts.
	b.clock = b.clock.Add(10 * time.Hour)
	for range 2 {
		events = b.pass()
		b.expect(events, "tidy_stopped .")
		require.Contains(t, events[0].Reason, "`bundlewatch tidy --resume` lets it go on")
	}
	b.opts.DryRun = true
	b.expect(b.pass(), "tidy_stopped .")
	b.opts.DryRun = false

	b.opts.Resume = true
	b.expect(b.pass(), "tidied xx.log", "tidied xxx.log")
	b.opts.Resume = false
	litter(4)
	b.expect(b.pass(), "tidied x.log", "tidy_stopped .")
	b.opts.Resume = true // which gives another three at once
	b.expect(b.pass(), "tidied xx.log", "tidied xxx.log", "tidied xxxx.log")
}

func TestStormGuardCountsAnHour(t *testing.T) {
	b := newBench(t)
	b.config += "max_per_hour = 2\n"
	for range 10 {
		b.write("train.log", "x")
		b.expect(b.pass(), "tidied train.log")
		b.clock = b.clock.Add(31 * time.Minute)
	}
}

// Another limit is a person's word, too.
func TestStormGuardGoesOnWithAnotherLimit(t *testing.T) {
	b := newBench(t)
	limited := b.config
	b.config = limited + "max_per_hour = 1\n"
	b.write("a.log", "a")
	b.write("b.log", "b")
	b.expect(b.pass(), "tidied a.log", "tidy_stopped .")
	b.config = limited + "max_per_hour = 5\n"
	b.expect(b.pass(), "tidied b.log")
}
