package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/store"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// bench is a loop whose facts are made by hand and whose turns come when a test wants them.
type bench struct {
	*site
	*loop
	packer *packer
	listed int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s := newSite(t)
	return s.bench()
}

// bench starts a loop as after a start of the daemon.
func (s *site) bench() *bench {
	s.t.Helper()
	local, err := store.Open(s.config.Artifacts.Dir, bundle.ManifestName)
	require.NoError(s.t, err)
	b := &bench{site: s, packer: newPacker(local, s.options(), config.Limits{})}
	b.loop = newLoop(newEngine(*s.watch(), local, s.options()), zerolog.Nop(), nil, func() { b.listed++ })
	s.t.Cleanup(func() {
		b.end()
		require.Zero(s.t, b.kept)
		require.NoError(s.t, local.Close())
	})
	return b
}

func (b *bench) now() time.Time               { return b.site.now() }
func (b *bench) watch() *config.Watch         { return b.site.watch() }
func (b *bench) remove(rel string)            { b.site.remove(rel) }
func (b *bench) fact(f watch.Fact)            { b.learn(f) }
func (b *bench) relist()                      { b.fact(watch.Fact{Kind: watch.Listed}) }
func (b *bench) settle(paths ...string)       { b.settleAs(true, paths...) }
func (b *bench) settleClosed(paths ...string) { b.settleAs(false, paths...) }

// settleAs tells that files have settled, with or without an open descriptor.
func (b *bench) settleAs(open bool, paths ...string) {
	b.t.Helper()
	for _, path := range paths {
		h, st, err := watch.Open(b.root, path)
		require.NoError(b.t, err)
		if !open {
			h.Close()
			h = nil
		}
		b.fact(watch.Fact{Path: path, Kind: watch.Settled, File: h, Stat: st, Evidence: watch.Evidence{Quiet: time.Second, Closed: watch.ClosedYes}})
	}
}

func (b *bench) changing(path string) {
	b.t.Helper()
	st, err := watch.Lstat(b.root, path)
	require.NoError(b.t, err)
	b.fact(watch.Fact{Path: path, Kind: watch.Waiting, Stat: st, Reason: &watch.WaitError{Cause: watch.ErrChanging, Since: b.now()}})
}

// lose removes a file and tells it.
func (b *bench) lose(path string) {
	b.t.Helper()
	b.remove(path)
	b.fact(watch.Fact{Path: path, Kind: watch.Gone})
}

// pack makes the packer work off the queue.
func (b *bench) pack() {
	for b.next() != nil {
		j := b.order()
		b.received(reply{job: j, outcome: b.packer.pack(context.Background(), j)})
	}
}

// order takes the first set of the queue, as follow does when the pool takes the order.
func (b *bench) order() *job {
	j := b.job
	b.ordered()
	b.received(reply{job: j, began: true})
	return j
}

// keepNone leaves no room for more descriptors.
func (b *bench) keepNone() { b.opts.common.kept.most.Store(b.opts.common.kept.used.Load()) }

// later lets time pass and the packer work.
func (b *bench) later(d time.Duration) {
	b.advance(d)
	b.turn()
	b.pack()
}

func (b *bench) published(path string) bundle.Manifest {
	b.t.Helper()
	all := b.bundles()
	require.Contains(b.t, all, path)
	return all[path]
}

func TestPairIsBundledAndNothingIsKept(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt")
	require.Equal(t, 1, b.kept)
	b.settle("r/b-1.ckpt")
	b.pack()
	b.expect(Bundled)
	require.Zero(t, b.kept)
	require.Empty(t, b.due)
	s := b.table.Sets()[0]
	require.Equal(t, setState{settled: true}, s.State, "nothing grows with the number of published sets")

	b.lose("r/a-1.ckpt")
	b.lose("r/b-1.ckpt")
	require.Empty(t, b.table.Sets(), "a set without files is forgotten")
	b.expect()
}

func TestRestartFindsWhatWasPublished(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	path := b.expect(Bundled)[0].Path
	again := b.bench()
	again.settle("r/a-1.ckpt", "r/b-1.ckpt")
	require.Equal(t, path, again.expect(PublishedBefore)[0].Path)
	require.Zero(t, again.kept)
	again.settle("r/a-1.ckpt")
	again.expect(PublishedBefore)
}

func TestKeptMemberOutlivesItsName(t *testing.T) {
	for name, leave := range map[string]func(b *bench){
		"removed": func(b *bench) { b.remove("r/a-1.ckpt") },
		"moved":   func(b *bench) { require.NoError(b.t, os.Rename(b.path("r/a-1.ckpt"), b.path("r/old"))) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.writePair("r")
			b.settle("r/a-1.ckpt")
			leave(b)
			b.fact(watch.Fact{Path: "r/a-1.ckpt", Kind: watch.Gone})
			b.settle("r/b-1.ckpt")
			b.pack()
			b.expect(Bundled)
			require.Contains(t, b.published("w/r/1").Members[0].Evidence.Unchanged, "removed the name")
		})
	}
}

func TestKeptMemberIsReadAgainWhenItsNameGoesMeanwhile(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	reads := 0
	b.packer.progress = during(func() {
		if reads++; reads == 1 {
			b.remove("r/a-1.ckpt")
		}
	})
	b.pack()
	b.expect(Bundled)
	require.Equal(t, 2, reads)
}

// A file that is written to after its name was removed is not the file that was proven.
func TestWrittenAfterItsNameWasRemoved(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt")
	f, err := os.OpenFile(b.path("r/a-1.ckpt"), os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	b.lose("r/a-1.ckpt")
	_, err = f.WriteAt([]byte("x"), 500)
	require.NoError(t, err)
	require.NoError(t, os.Chtimes("/proc/self/fd/"+fmt.Sprint(f.Fd()), time.Now(), time.Now().Add(time.Hour)))
	b.settle("r/b-1.ckpt")
	b.pack()
	b.expect()
	require.Empty(t, b.bundles())
	require.Equal(t, 1, b.kept)
	s := b.table.Sets()[0]
	require.Nil(t, s.Member("a"), "its name is gone: nobody will tell of it again")
	b.later(time.Hour)
	require.Equal(t, []string{"a: no file r/a-1.ckpt"}, b.expect(Expired)[0].Waits)
}

func TestMembersBeyondTheLimitAreProvenAgain(t *testing.T) {
	b := newBench(t)
	b.opts.common.kept.most.Store(1)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	require.Equal(t, 1, b.kept)
	b.pack()
	b.expect(Bundled)
	require.Zero(t, b.kept)

	b.keepNone()
	b.writePair("q")
	b.settle("q/a-1.ckpt")
	b.lose("q/a-1.ckpt")
	b.settle("q/b-1.ckpt")
	b.pack()
	b.expect()
}

func TestExpire(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.writePair("q")
	b.settle("r/a-1.ckpt", "q/a-1.ckpt")
	b.lose("q/a-1.ckpt")
	require.Len(t, b.due, 2)
	b.later(b.watch().Expire - time.Second)
	b.expect()
	b.later(time.Second)
	told := b.expect(Expired, Expired)
	require.Contains(t, []string{told[0].Waits[0], told[1].Waits[0]}, "b: no file r/*b-1.ckpt")
	require.Zero(t, b.kept)
	require.Empty(t, b.due, "time changes nothing any more")
	require.Len(t, b.table.Sets(), 1, "what was kept of q is lost: it is forgotten")
	b.later(b.watch().Expire)
	b.expect()

	b.write("r/a-1.ckpt", torchZip(t, 10, 8))
	b.settle("r/a-1.ckpt")
	require.Zero(t, b.kept, "nothing would give the descriptor up")
	b.settle("r/b-1.ckpt")
	b.pack()
	b.expect(Bundled)
}

func TestRefusedSetGivesItsDescriptorsUp(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.write("r/b-1.ckpt", []byte("?"))
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.expect(Refused)
	require.Equal(t, 1, b.kept)
	b.later(b.watch().Expire)
	b.expect()
	require.Zero(t, b.kept)

	b.write("r/b-1.ckpt", torchZip(t, 10, 1))
	b.changing("r/a-1.ckpt")
	b.settle("r/b-1.ckpt")
	require.Contains(t, b.expect(Expired)[0].Waits[0], "a: still changing")
	require.Zero(t, b.kept)
	b.settle("r/a-1.ckpt")
	b.pack()
	b.expect(Bundled)
}

func TestUpdateOfOneMember(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	b.expect(Bundled)

	b.write("r/a-1.ckpt", torchZip(t, 100, 5))
	b.changing("r/a-1.ckpt")
	b.settle("r/a-1.ckpt")
	b.later(b.watch().Regroup - time.Second)
	require.Contains(t, b.expect(Waiting)[0].Waits[0], "waits up to 5m0s")
	b.later(time.Second)
	b.expect(Bundled)
	require.Contains(t, b.published("w/r/1~2").Notes[0], "update: b has the content")

	b.write("r/b-1.ckpt", torchZip(t, 100, 6))
	b.settle("r/b-1.ckpt")
	b.later(b.watch().Regroup / 2)
	b.write("r/a-1.ckpt", torchZip(t, 100, 7))
	b.settle("r/a-1.ckpt")
	b.pack()
	b.expect(Waiting, Bundled)
	b.later(b.watch().Regroup)
	b.expect()
	require.Len(t, b.bundles(), 3)
	require.Empty(t, b.published("w/r/1~3").Notes)
}

// Two models rewrite their last checkpoints by turns. The newest file of one is never bundled with an older
// one of the other, also when both differ from what was published.
func TestSavesByTurnsAreNotMixed(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	b.expect(Bundled)

	for _, save := range []struct {
		path string
		seed float32
	}{{"r/a-1.ckpt", 12}, {"r/b-1.ckpt", 22}, {"r/a-1.ckpt", 13}} { // the third comes before the pair is packed
		b.write(save.path, torchZip(t, 100, save.seed))
		b.settle(save.path)
	}
	b.later(b.watch().Regroup - time.Second)
	b.expect(Waiting, Waiting)
	require.Len(t, b.bundles(), 1)

	b.write("r/b-1.ckpt", torchZip(t, 100, 23))
	b.settle("r/b-1.ckpt")
	b.pack()
	require.Empty(t, b.expect(Bundled)[0].Notes)
	require.Len(t, b.bundles(), 2)
}

// A member that goes on being written alone is bundled with the others as they are, and the bundle says so.
func TestSavesOfOneMemberAlone(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	for _, save := range []struct {
		path string
		seed float32
	}{{"r/a-1.ckpt", 12}, {"r/a-1.ckpt", 13}, {"r/b-1.ckpt", 22}} {
		b.write(save.path, torchZip(t, 100, save.seed))
		b.settle(save.path)
	}
	b.later(b.watch().Regroup)
	b.expect(Bundled, Waiting, Bundled)
	require.Contains(t, b.published("w/r/1~2").Notes[0], "equally often")
}

func TestUpdateThatIsTakenBack(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	b.write("r/a-1.ckpt", torchZip(t, 100, 5))
	b.settle("r/a-1.ckpt")
	b.write("r/a-1.ckpt", torchZip(t, 100, 1))
	b.settle("r/a-1.ckpt")
	b.later(b.watch().Regroup)
	b.expect(Bundled, Waiting, PublishedBefore)
}

// An updated set waits from its update on, not from when it was first seen.
func TestUpdatedSetExpiresAnew(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	b.later(10 * b.watch().Expire)
	b.changing("r/a-1.ckpt")
	b.later(b.watch().Expire - time.Second)
	b.expect(Bundled)
	b.later(time.Second)
	b.expect(Expired)
}

func TestConfigThatChangedBetweenTheMembers(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.write("r/config.json", []byte(`{"N": 1}`))
	b.settle("r/a-1.ckpt")
	b.write("r/config.json", []byte(`{"N": 2}`))
	b.settle("r/b-1.ckpt")
	b.pack()
	b.expect(Bundled)
	m := b.published("w/r/1")
	require.True(t, m.ConfigChanged)
	require.JSONEq(t, `{"N": 2}`, string(m.Params))
	require.Len(t, m.Config, 2)
	require.NotEqual(t, m.Config[0].SHA256, m.Config[1].SHA256)
}

func TestConfigThatIsMended(t *testing.T) {
	for name, bad := range map[string]func(b *bench){
		"missing":   func(*bench) {},
		"lacks N":   func(b *bench) { b.write("r/config.json", []byte(`{}`)) },
		"a pipe":    func(b *bench) { require.NoError(b.t, os.Symlink("/dev/zero", b.path("r/config.json"))) },
		"too large": func(b *bench) { b.write("r/config.json", make([]byte, 17<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.watch().Config.Required = []string{"N"}
			b := s.bench()
			b.writePair("r")
			bad(b)
			b.settle("r/a-1.ckpt", "r/b-1.ckpt")
			b.pack()
			b.expect(Refused)
			b.relist()
			b.later(time.Hour)
			b.expect()
			b.write("r/config.json", []byte(`{"M": 1}`))
			b.relist()
			b.pack()
			if told := b.told(); len(told) > 0 {
				require.Len(t, told, 1, "told again only when the reason is another one")
				require.Equal(t, Refused, told[0].Kind)
			}
			b.write("r/config.json", []byte(`{"N": 1}`))
			b.relist()
			b.pack()
			b.expect(Bundled)
			b.relist()
			require.Empty(t, b.misfits)
		})
	}
}

func TestRefusedFileIsLookedAtAgainWhenItChanges(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.write("r/a-1.ckpt", []byte("?"))
	b.settle("r/a-1.ckpt")
	b.expect(Refused)
	b.changing("r/b-1.ckpt")
	b.settle("r/b-1.ckpt")
	b.later(time.Minute)
	b.expect()
	b.write("r/a-1.ckpt", []byte("!"))
	b.changing("r/a-1.ckpt")
	b.settle("r/a-1.ckpt")
	b.expect(Refused)
	b.write("r/a-1.ckpt", corrupt(torchZip(t, 1000, 1)))
	b.settle("r/a-1.ckpt")
	b.pack()
	b.later(time.Minute)
	require.Contains(t, b.expect(Refused)[0].Reason, "archive/data/0")
	b.write("r/a-1.ckpt", torchZip(t, 10, 1))
	b.settle("r/a-1.ckpt")
	b.pack()
	b.expect(Bundled)
}

func TestEveryRefusedMemberIsToldOnce(t *testing.T) {
	b := newBench(t)
	b.write("r/a-1.ckpt", []byte("?"))
	b.write("r/b-1.ckpt", []byte("?"))
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.later(time.Minute)
	told := b.expect(Refused, Refused)
	require.NotEqual(t, told[0].Path, told[1].Path)
	b.fact(watch.Fact{Path: "q/a-1.ckpt", Kind: watch.Unusable, Reason: fmt.Errorf("%w: a FIFO", watch.ErrNotRegular)})
	b.expect(Refused)
	b.fact(watch.Fact{Path: "q/a-1.ckpt", Kind: watch.Gone})
	require.Len(t, b.table.Sets(), 1)
}

func TestFileThatBecomesALink(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt")
	b.fact(watch.Fact{Path: "r/a-1.ckpt", Kind: watch.Unusable, Reason: &watch.LinkError{Target: "x"}})
	b.expect(Skipped)
	require.Zero(t, b.kept)
	require.Empty(t, b.table.Sets())
	b.turn()
	require.Empty(t, b.due)
}

func TestFailureIsToldOncePerCauseAndTriedAgain(t *testing.T) {
	b := newBench(t)
	staging := filepath.Join(b.config.Artifacts.Dir, ".staging")
	require.NoError(t, os.Rename(staging, staging+".away"))
	b.writePair("r")
	b.writePair("q")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt", "q/a-1.ckpt", "q/b-1.ckpt")
	b.pack()
	require.Contains(t, b.expect(Failed)[0].Reason, "make staging directory")
	b.later(retryAfter)
	b.expect()
	require.NoError(t, os.WriteFile(staging, nil, 0o644))
	b.later(retryAfter)
	b.expect(Failed)
	require.NoError(t, os.Remove(staging))
	require.NoError(t, os.Rename(staging+".away", staging))
	b.later(retryAfter - time.Second)
	b.expect()
	b.later(time.Second)
	b.expect(Bundled, Healed, Bundled)
	b.noLitter()
}

func TestFullDiskHoldsTheQueueBack(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.writePair("q")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt", "q/a-1.ckpt", "q/b-1.ckpt")
	require.NotNil(t, b.next())
	b.received(reply{job: b.order(), outcome: outcome{err: &artifactError{fmt.Errorf("write archive: %w", unix.ENOSPC)}}})
	b.expect(Failed)
	b.pack()
	b.expect()
	b.later(retryAfter)
	b.expect(Bundled, Healed, Bundled)
}

func TestPassingFaultOfAMemberIsToldAndTriedAgain(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	manifest := filepath.Join(b.expect(Bundled)[0].Path, bundle.ManifestName)
	data, err := os.ReadFile(manifest)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(manifest, 0o644))
	require.NoError(t, os.WriteFile(manifest, []byte("{"), 0o644))
	b.write("r/a-1.ckpt", torchZip(t, 100, 8))
	b.settle("r/a-1.ckpt")
	require.Contains(t, b.expect(Failed)[0].Reason, "find out what was published")
	b.later(retryAfter)
	b.expect()
	require.NoError(t, os.WriteFile(manifest, data, 0o644))
	b.later(retryAfter)
	b.later(b.watch().Regroup)
	b.expect(Waiting, Bundled)
}

func TestReplacedWhileInFlight(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	once := true
	b.packer.progress = during(func() {
		if once {
			once = false
			b.write("r/a-1.ckpt", torchZip(t, 100, 50))
			b.changing("r/a-1.ckpt")
			b.settle("r/a-1.ckpt")
		}
	})
	b.pack()
	b.expect(Bundled)
	require.Equal(t, b.table.Sets()[0].State, setState{settled: true})
	require.Len(t, b.bundles(), 1, "the state that was replaced is no pair any more")
	m := b.published("w/r/1")
	require.EqualValues(t, b.stat("r/a-1.ckpt").Ino, m.Members[0].Source.Inode)
}

func (b *bench) stat(path string) watch.Stat {
	b.t.Helper()
	st, err := watch.Lstat(b.root, path)
	require.NoError(b.t, err)
	return st
}

// The watcher tells after the packer has found out.
func TestChangedWhileItWasRead(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.packer.progress = during(func() { b.write("r/a-1.ckpt", torchZip(t, 100, 50)) })
	b.pack()
	b.packer.progress = nil
	b.later(time.Minute)
	b.expect()
	b.noLitter()
	require.Equal(t, 1, b.kept)
	b.settle("r/a-1.ckpt")
	b.pack()
	b.expect(Bundled)
}

// A member that is replaced right after the packer has looked for the last time is bundled afterwards.
func TestReplacedBeforeTheOutcomeArrives(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	require.NotNil(t, b.next())
	j := b.order()
	out := b.packer.pack(context.Background(), j)
	b.write("r/a-1.ckpt", torchZip(t, 100, 50))
	b.settle("r/a-1.ckpt")
	b.write("r/b-1.ckpt", torchZip(t, 100, 51))
	b.settle("r/b-1.ckpt")
	b.received(reply{job: j, outcome: out})
	b.pack()
	b.expect(Bundled, Bundled)
	require.Len(t, b.bundles(), 2)
}

// A set whose files went and came back while it was in flight is another set of the same key.
func TestForgottenWhileInFlight(t *testing.T) {
	b := newBench(t)
	b.keepNone()
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	require.NotNil(t, b.next())
	j := b.order()
	out := b.packer.pack(context.Background(), j)
	b.lose("r/a-1.ckpt")
	b.lose("r/b-1.ckpt")
	require.Empty(t, b.table.Sets())
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.received(reply{job: j, outcome: out})
	b.pack()
	b.expect(PublishedBefore, Bundled)
	require.Len(t, b.bundles(), 1)
	require.True(t, b.table.Sets()[0].State.settled)
}

func TestTakenOutOfTheQueue(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.changing("r/b-1.ckpt")
	b.pack()
	b.expect()
	require.Len(t, b.due, 1)
	b.settle("r/b-1.ckpt")
	b.pack()
	b.expect(Bundled)
}

func TestPassedOverIsToldWithTheBundle(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.write("r/newer-b-1.ckpt", torchZip(t, 10, 9))
	b.settle("r/b-1.ckpt", "r/newer-b-1.ckpt", "r/a-1.ckpt")
	require.Equal(t, 3, b.kept)
	b.pack()
	b.expect(Bundled, Skipped)
	require.Zero(t, b.kept)
}

func TestRootComesAndGoes(t *testing.T) {
	b := newBench(t)
	b.fact(watch.Fact{Kind: watch.RootGone, Reason: errors.New("gone")})
	b.fact(watch.Fact{Kind: watch.RootBack})
	b.relist()
	b.expect(RootGone, RootBack)
	require.Equal(t, 1, b.listed, "told once")
}

// Two daemons on one artifact directory race for every name: one publishes, the other finds it.
func TestRaceOfTwoPackers(t *testing.T) {
	s := newSite(t)
	s.writePair("same")
	s.write("other/a-1.ckpt", torchZip(t, 10, 5))
	s.write("other/b-1.ckpt", torchZip(t, 10, 6))
	one, two := s.bench(), s.bench()
	for round := range 10 {
		race := func(runs ...string) (outs [2]outcome) {
			done := make(chan struct{})
			var jobs [2]*job
			for i, b := range []*bench{one, two} {
				jobs[i] = b.jobFor(runs[i])
				jobs[i].key = fmt.Sprintf("%s/%d", runs[0]+runs[1], round)
			}
			go func() {
				outs[0] = one.packer.pack(context.Background(), jobs[0])
				close(done)
			}()
			outs[1] = two.packer.pack(context.Background(), jobs[1])
			<-done
			require.NoError(t, outs[0].err)
			require.NoError(t, outs[1].err)
			return outs
		}
		outs := race("same", "same")
		require.Equal(t, outs[0].path, outs[1].path)
		require.True(t, (outs[0].manifest == nil) != (outs[1].manifest == nil))
		outs = race("same", "other")
		require.ElementsMatch(t, []int{1, 2}, []int{outs[0].manifest.Version, outs[1].manifest.Version})
	}
	s.noLitter()
	s.told()
}

// jobFor makes the job of the pair in a run.
func (b *bench) jobFor(run string) *job {
	b.t.Helper()
	b.settleClosed(run+"/a-1.ckpt", run+"/b-1.ckpt")
	for _, s := range b.table.Sets() {
		if s.Key == run+"/1" {
			return b.engine.job(s, 0)
		}
	}
	require.FailNow(b.t, "no set "+run)
	return nil
}

func TestFollowServesFactsOrdersAndStops(t *testing.T) {
	b := newBench(t)
	pool, stop := newPool(b.packer, b.options(), 1), make(chan struct{})
	b.orders = pool.orders
	b.writePair("r")
	facts, ended := make(chan watch.Fact), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	b.packer.progress = during(cancel)
	go pool.run(stop)
	followed := make(chan error)
	go func() { followed <- b.follow(ctx, facts, ended) }()
	for _, path := range []string{"r/a-1.ckpt", "r/b-1.ckpt"} {
		h, st, err := watch.Open(b.root, path)
		require.NoError(t, err)
		facts <- watch.Fact{Path: path, Kind: watch.Settled, File: h, Stat: st}
	}
	require.NoError(t, <-followed, "stopped in the middle of the pack")
	b.end()
	close(stop)
	<-pool.done
	b.expect()
	b.noLitter()
	require.Empty(t, b.bundles())
}

func TestManyWaitingSetsCostNothingPerTurn(t *testing.T) {
	b := newBench(t)
	for n := range 20_000 {
		b.fact(watch.Fact{Path: fmt.Sprintf("r/a-%d.ckpt", n), Kind: watch.Unusable, Reason: watch.ErrNotRegular})
	}
	require.Len(t, b.told(), 20_000)
	require.Less(t, testing.AllocsPerRun(3, b.turn), 100.0)
	b.advance(b.watch().Expire)
	b.turn()
	require.Empty(t, b.due)
	b.expect()
}

func TestHyperParametersTravel(t *testing.T) {
	b := newBench(t)
	b.write("r/a-1.ckpt", torchArchive(t, pickle.NewDict("state_dict", pickle.NewDict("w", floats(3)), "hyper_parameters", pickle.NewDict("N", int64(7))), make([]byte, 12)))
	b.write("r/b-1.ckpt", torchZip(t, 10, 1))
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.pack()
	b.expect(Bundled)
	m := b.published("w/r/1")
	require.JSONEq(t, `{"N": 7}`, string(m.Params))
	require.Contains(t, m.Config[0].Name, "a.json")
}
