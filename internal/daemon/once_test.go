package daemon

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

func (s *site) once(kinds ...Kind) []Event {
	s.t.Helper()
	require.NoError(s.t, Once(context.Background(), s.config, s.options()))
	return s.expect(kinds...)
}

func (s *site) check(kinds ...Kind) []Event {
	s.t.Helper()
	require.NoError(s.t, Check(context.Background(), s.config, s.options()))
	return s.expect(kinds...)
}

func TestOnce(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	s.write("r/config.json", []byte(`{"N": 64}`))
	e := s.once(Bundled)[0]
	require.Equal(t, "r/1", e.Key)
	require.Equal(t, []string{"a", "b"}, e.Members)
	require.Equal(t, 2, e.Tensors)
	require.Equal(t, filepath.Join(s.config.Artifacts.Dir, "w/r/1"), e.Path)
	r, err := bundle.Verify(context.Background(), e.Path)
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	m := s.bundles()["w/r/1"]
	require.Equal(t, s.path("r/a-1.ckpt"), m.Members[0].Source.Path)
	require.Contains(t, m.Members[0].Evidence.Unchanged, "and of what the path named")
	require.JSONEq(t, `{"N": 64}`, string(m.Params))
	s.noLitter()

	require.Equal(t, e.Path, s.once(PublishedBefore)[0].Path)
}

func TestOnceTellsEverySetOnce(t *testing.T) {
	s := newSite(t)
	s.writePair("whole")
	s.write("alone/a-1.ckpt", torchZip(t, 10, 1))
	s.write("broken/a-1.ckpt", []byte("PK\x03\x04 no zip"))
	s.write("broken/b-1.ckpt", []byte{})
	s.writePair("corrupt")
	s.write("corrupt/b-1.ckpt", corrupt(torchZip(t, 1000, 1)))
	s.writePair("twice")
	s.write("twice/newer-b-1.ckpt", torchZip(t, 10, 9))
	require.NoError(t, os.Mkdir(s.path("linked"), 0o755))
	require.NoError(t, os.Symlink("../whole/a-1.ckpt", s.path("linked/a-1.ckpt")))

	told := s.once(Skipped, Waiting, Refused, Refused, Refused, Skipped, Bundled, Bundled)
	require.Equal(t, s.path("linked/a-1.ckpt"), told[0].Path)
	require.Equal(t, []string{"b: no file alone/*b-1.ckpt"}, told[1].Waits)
	require.Equal(t, s.path("broken/a-1.ckpt"), told[2].Path)
	require.Equal(t, s.path("broken/b-1.ckpt"), told[3].Path)
	require.Equal(t, s.path("corrupt/b-1.ckpt"), told[4].Path)
	require.Equal(t, "b", told[4].Role)
	require.Contains(t, told[4].Reason, "archive/data/0")
	require.Equal(t, s.path("twice/b-1.ckpt"), told[5].Path)
	require.Contains(t, told[5].Reason, `"twice/newer-b-1.ckpt" is newer`)
	s.noLitter()
}

// The newest candidate counts, also when it is the broken one.
func TestBrokenNewestCandidateRefusesTheSet(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	s.write("r/newer-b-1.ckpt", []byte("no checkpoint"))
	told := s.once(Skipped, Refused)
	require.Equal(t, s.path("r/newer-b-1.ckpt"), told[1].Path)
	require.Empty(t, s.bundles())
}

func TestForeignImports(t *testing.T) {
	s := newSite(t)
	s.write("r/a-1.ckpt", torchZip(t, 10, 1))
	s.write("r/b-1.ckpt", torchArchive(t, pickle.NewDict("state_dict", pickle.NewDict("w", floats(10),
		"x", &pickle.Object{Class: &pickle.Global{Module: "os", Name: "system"}, Args: []any{"true"}})), make([]byte, 40)))
	require.Contains(t, s.once(Refused)[0].Reason, "os.system")
	s.watch().Payload.Imports = "warn"
	s.once(Bundled)
	require.Equal(t, []string{"os.system"}, s.bundles()["w/r/1"].Members[1].Imports)
}

func TestKeysThatCannotNameABundle(t *testing.T) {
	s := newSite(t)
	s.writePair("r\x1b[31m")
	s.writePair(bundle.ManifestName)
	for _, e := range s.once(Refused, Refused, Refused, Refused) {
		require.Contains(t, e.Reason, "the key cannot be used as a path")
	}
	require.Empty(t, s.bundles())
}

func TestVersions(t *testing.T) {
	s := newSite(t)
	for n := range 3 {
		s.write("r/a-1.ckpt", torchZip(t, 100, float32(10*n)))
		s.write("r/b-1.ckpt", torchZip(t, 100, float32(10*n+1)))
		s.once(Bundled)
	}
	all := s.bundles()
	require.Len(t, all, 3)
	for path, version := range map[string]int{"w/r/1": 1, "w/r/1~2": 2, "w/r/1~3": 3} {
		require.Equal(t, version, all[path].Version, path)
		require.Empty(t, all[path].Notes)
	}
	s.write("r/a-1.ckpt", torchZip(t, 100, 0))
	s.write("r/b-1.ckpt", torchZip(t, 100, 1))
	require.Equal(t, filepath.Join(s.config.Artifacts.Dir, "w/r/1"), s.once(PublishedBefore)[0].Path, "the content of the first version came back")
}

func TestOnceBundlesAnUpdateOfOneMemberWithANote(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	s.once(Bundled)
	s.write("r/a-1.ckpt", torchZip(t, 100, 5))
	s.once(Bundled)
	require.Equal(t, []string{"update: b has the content that it has in 1; not every member was written anew"}, s.bundles()["w/r/1~2"].Notes)
}

func TestSentinel(t *testing.T) {
	s := newSite(t)
	s.watch().Members[0].Pattern, s.watch().Members[0].Sentinel = nil, true
	s.write("r/b-1.ckpt", torchZip(t, 10, 1))
	s.once(Bundled)
	require.Nil(t, s.bundles()["w/r/1"].Members[0].Source)
}

func TestOnceRefusesAConfigThatIsNotEnough(t *testing.T) {
	s := newSite(t)
	s.watch().Config.Required = []string{"N"}
	s.writePair("r")
	require.Contains(t, s.once(Refused)[0].Reason, `required "N"`)
	require.NoError(t, os.MkdirAll(s.path("r/x"), 0o755))
	s.write("r/config.json", []byte(`{"N": 1}`+strings.Repeat(" ", 17<<20)))
	require.Contains(t, s.once(Refused)[0].Reason, "too large")
	s.write("r/config.json", []byte(`{"N": 1}`))
	s.once(Bundled)
	s.noLitter()
}

func TestOnceTellsWhatChangedWhileItWasRead(t *testing.T) {
	for name, change := range map[string]func(s *site){
		"changed": func(s *site) { s.write("r/a-1.ckpt", torchZip(s.t, 100, 77)) },
		"removed": func(s *site) { s.remove("r/a-1.ckpt") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.writePair("r")
			opts := s.options()
			opts.Progress = during(func() { change(s) })
			require.NoError(t, Once(context.Background(), s.config, opts))
			require.Equal(t, []string{"a: changed since it was looked at"}, s.expect(Waiting)[0].Waits)
			require.Empty(t, s.bundles())
			s.noLitter()
		})
	}
}

func TestOnceTellsABrokenManifest(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	s.once(Bundled)
	manifest := filepath.Join(s.config.Artifacts.Dir, "w/r/1", bundle.ManifestName)
	require.NoError(t, os.Chmod(manifest, 0o644))
	require.NoError(t, os.WriteFile(manifest, []byte("{"), 0o644))
	for _, e := range s.once(Failed, Failed) {
		require.Contains(t, e.Reason, "move it away if it is broken")
	}
}

func TestOnceStops(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	ctx, stop := context.WithCancel(context.Background())
	opts := s.options()
	opts.Progress = during(stop)
	require.ErrorIs(t, Once(ctx, s.config, opts), context.Canceled)
	s.expect()
	s.noLitter()
	require.ErrorIs(t, Check(ctx, s.config, s.options()), context.Canceled)
}

func TestMissingRootIsTold(t *testing.T) {
	s := newSite(t)
	s.watch().Root = s.path("nowhere")
	s.once(RootGone)
	s.check(RootGone, Watched)
}

func TestCheckChangesNothing(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	s.write("q/b-1.ckpt", torchZip(t, 10, 1))
	s.write("broken/b-1.ckpt", []byte("?"))
	before := treeHash(t, filepath.Dir(s.root))
	told := s.check(Watched, Refused, Waiting, Ready)
	require.Equal(t, []string{s.path("r/a-1.ckpt"), s.path("r/b-1.ckpt")}, told[3].Members)
	require.Equal(t, before, treeHash(t, filepath.Dir(s.root)))
	require.NoDirExists(t, s.config.Artifacts.Dir)

	s.once(Refused, Waiting, Bundled)
	before = treeHash(t, filepath.Dir(s.root))
	s.check(Watched, Refused, Waiting, PublishedBefore)
	require.Equal(t, before, treeHash(t, filepath.Dir(s.root)))
}

// treeHash describes all that is below a directory: names, modes, times, content.
func treeHash(t *testing.T, dir string) []string {
	var all []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		st, err := watch.Lstat(dir, rel)
		if err != nil {
			return err
		}
		var data []byte
		if d.Type().IsRegular() {
			data, err = os.ReadFile(path)
		}
		all = append(all, fmt.Sprintf("%s %+v %x", rel, st, sha256.Sum256(data)))
		return err
	}))
	return all
}

// Where the watch names a marker, a set waits for it, also when nothing else changes.
func TestMarker(t *testing.T) {
	s := newSite(t)
	s.watch().Marker = compile(t, "{run}/_SUCCESS")
	s.writePair("r")
	require.Equal(t, []string{"no marker file r/_SUCCESS"}, s.once(Waiting)[0].Waits)
	b := s.bench()
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.later(time.Minute)
	b.expect()
	b.later(b.watch().Expire)
	require.Equal(t, []string{"no marker file r/_SUCCESS"}, b.expect(Expired)[0].Waits)
	s.write("r/_SUCCESS", nil)
	b.later(2 * tick)
	b.expect(Bundled)
	require.Equal(t, "r/_SUCCESS", s.bundles()["w/r/1"].Members[0].Evidence.Marker)
}
