package tidy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// transferNow moves a stray of the root to a directory, and does something at the last moment: when the record has
// been written.
func (b *bench) transferNow(name string, to string, during func(record)) error {
	b.Helper()
	s := b.look(name)
	require.NoError(b, s.read(b.Context()))
	require.NoError(b, os.MkdirAll(to, 0o755))
	target, err := tree.Open(to)
	require.NoError(b, err)
	defer target.Close()
	j, err := openJournal(target, b.opts)
	require.NoError(b, err)
	defer j.close()
	x := &transfer{stray: s, to: target, r: newRecord(b.root, s, b.clock), name: func(n int) string { return freeName(name, n) }, write: func(r record) error {
		err := j.add(r)
		during(r)
		return err
	}}
	return x.run(b.Context())
}

// What happens between the decision and the move: nothing is lost, and what came instead is left alone.
func TestRaces(t *testing.T) {
	for _, race := range []struct {
		name   string
		during func(b *bench)
		want   []string // contents left in the root
		reason string
	}{
		{"vanishes", func(b *bench) { require.NoError(b, os.Remove(b.path("train.log"))) }, nil, "no such file"},
		{"is replaced", func(b *bench) {
			require.NoError(b, os.Remove(b.path("train.log")))
			b.write("train.log", "new!")
		}, []string{"new!"}, "it changed while it was (looked at|copied)"},
		{"is replaced by a link", func(b *bench) {
			require.NoError(b, os.Remove(b.path("train.log")))
			require.NoError(b, os.Symlink("/etc/passwd", b.path("train.log")))
		}, []string{"/etc/passwd"}, "too many levels of symbolic links"},
		{"is replaced by a directory", func(b *bench) {
			require.NoError(b, os.Remove(b.path("train.log")))
			b.write("train.log/x", "inside")
		}, []string{"inside"}, "it is not a regular file"},
		{"is rewritten in place", func(b *bench) { b.write("train.log", "NEW!") }, []string{"NEW!"}, "it changed while it was (looked at|copied)"},
		{"is appended to", func(b *bench) {
			f, err := os.OpenFile(b.path("train.log"), os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(b, err)
			_, err = f.WriteString("more")
			require.NoError(b, err)
			b.Cleanup(func() { f.Close() })
		}, []string{"old!more"}, "a process has it open for writing|it changed while it was copied"},
	} {
		t.Run(race.name, func(t *testing.T) {
			ways(t, func(t *testing.T, b *bench, target string) {
				b.write("train.log", "old!")
				done := false
				err := b.transferNow("train.log", target, func(record) {
					if !done {
						done = true
						race.during(b)
					}
				})
				require.Error(t, err)
				require.Regexp(t, race.reason, err.Error())
				require.Equal(t, race.want, contents(files(t, b.root)))
				require.Empty(t, contents(files(t, target)))
				noLitter(t, b.dir)
				noLitter(t, target)
			})
		})
	}
}

// Another process takes the name in the target directory first.
func TestTargetIsTakenAtTheLastMoment(t *testing.T) {
	ways(t, func(t *testing.T, b *bench, target string) {
		b.write("train.log", "mine")
		first := true
		require.NoError(t, b.transferNow("train.log", target, func(r record) {
			if first {
				first = false
				require.NoError(t, os.WriteFile(string(r.To), []byte("theirs"), 0o644))
			}
		}))
		require.Equal(t, map[string]string{"train.log": "theirs", "train.log-2": "mine"}, files(t, target))
		require.Equal(t, filepath.Join(target, "train.log-2"), string(b.records(target)[0].To))
	})
}

// The directories on the way are swapped for links while a move is under way: it goes where it was to go.
func TestTargetIsSwappedForALink(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(b.dir, "outside")
	require.NoError(t, os.Mkdir(outside, 0o755))
	b.write("train.log", "x")
	require.NoError(t, b.transferNow("train.log", b.path("reports"), func(record) {
		require.NoError(t, os.Rename(b.path("reports"), b.path("renamed")))
		require.NoError(t, os.Symlink(outside, b.path("reports")))
	}))
	require.Empty(t, files(t, outside))
	require.Equal(t, map[string]string{"renamed/train.log": "x", "reports": outside}, files(t, b.root))
}

func TestLinksWhereStraysGoAreNotFollowed(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(b.dir, "outside")
	require.NoError(t, os.Mkdir(outside, 0o755))
	b.write("train.log", "x")
	require.NoError(t, os.Symlink(outside, b.path("reports")))
	b.expect(b.pass(), "tidy_refused .")
	require.NoError(t, os.Remove(b.path("reports")))
	require.NoError(t, os.Mkdir(b.path("reports"), 0o755))
	require.NoError(t, os.Symlink(outside, b.path("reports/"+b.clock.UTC().Format(utcFormat))))
	events := b.pass()
	b.expect(events, "tidy_refused train.log")
	require.Contains(t, events[0].Reason, "make the directory for strays")
	require.Empty(t, files(t, outside))
	require.FileExists(t, b.path("train.log"))
}

// A directory is swapped for a link while it is looked through: nothing behind the link is read or moved.
func TestDirectoryIsSwappedForALink(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(b.dir, "outside")
	require.NoError(t, os.MkdirAll(filepath.Join(outside, "v0"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "v0/secret"), []byte("secret"), 0o600))
	b.write("logs/v0/a", "x")
	err := b.transferNow("logs", b.path("reports"), func(record) {
		require.NoError(t, os.Rename(b.path("logs"), b.path("was")))
		require.NoError(t, os.Symlink(outside, b.path("logs")))
	})
	require.Error(t, err)
	require.Equal(t, map[string]string{"was/v0/a": "x", "logs": outside}, files(t, b.root))
	require.NoError(t, os.Remove(b.path("logs")))
	require.NoError(t, os.Rename(b.path("was"), b.path("logs")))

	err = b.transferNow("logs", b.path("reports"), func(record) {
		require.NoError(t, os.Rename(b.path("logs/v0"), b.path("was")))
		require.NoError(t, os.Symlink(filepath.Join(outside, "v0"), b.path("logs/v0")))
	})
	require.Error(t, err)
	require.Equal(t, "secret", files(t, outside)["v0/secret"])
	require.Empty(t, files(t, b.path("reports")))
}

// A link on the way to a root or target, that another user could lead anywhere, is not followed by root.
func TestLinksOfOthersAreNotFollowed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a link of another user")
	}
	b := newBench(t)
	link := filepath.Join(b.dir, "link")
	require.NoError(t, os.Symlink(b.root, link))
	d, err := tree.Open(link)
	require.NoError(t, err)
	require.Equal(t, b.root, d.Path())
	require.NoError(t, d.Close())
	require.NoError(t, os.Lchown(link, 12345, 12345))
	_, err = tree.Open(filepath.Join(link, "x"))
	require.ErrorContains(t, err, "is a symbolic link of user 12345, who could lead it anywhere")
	b.config = strings.Replace(b.config, "reports/{utc}", link+"/r", 1)
	b.write("train.log", "x")
	require.FileExists(t, b.path("train.log"))
	c := b.load()
	b.tidier = New(c.Tidies[0], c, b.opts)
	require.Contains(t, b.again()[0].Reason, "symbolic link of user 12345")
}

// A record that somebody planted is not written to: it may be another file's second name.
func TestPlantedRecords(t *testing.T) {
	b := newBench(t)
	b.config = "match = ['*.log']\nmove_to = 'attic'\n"
	b.write("train.log", "x")
	victim := filepath.Join(b.dir, "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o644))
	require.NoError(t, os.Mkdir(b.path("attic"), 0o755))
	require.NoError(t, os.Link(victim, b.path("attic/moved.jsonl")))
	require.Contains(t, reasonOf(t, b.pass(), "train.log"), "has 2 names")
	require.NoError(t, os.Remove(b.path("attic/moved.jsonl")))
	require.NoError(t, os.Symlink(victim, b.path("attic/moved.jsonl")))
	require.NotEqual(t, Moved, b.pass()[0].Kind)
	text, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
	require.FileExists(t, b.path("train.log"))
}
