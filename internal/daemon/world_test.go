package daemon

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// The runs that come with the project are bundled whole, into the same bytes every time.
func TestExamples(t *testing.T) {
	c, err := config.Load(filepath.Join("..", "..", "examples", "bundlewatch.toml"))
	require.NoError(t, err)
	passes := [2]map[string]bundle.Digest{}
	for i := range passes {
		passes[i] = make(map[string]bundle.Digest)
		c.Artifacts.Dir = t.TempDir()
		var kinds []Kind
		require.NoError(t, Once(context.Background(), c, Options{Tool: "bundlewatch test", Emit: func(e Event) {
			kinds = append(kinds, e.Kind)
			if e.Kind == Bundled {
				passes[i][e.Watch+" "+e.Key] = archiveDigest(t, e.Path)
				r, err := bundle.Verify(context.Background(), e.Path)
				require.NoError(t, err)
				require.Empty(t, r.Problems)
			}
		}}))
		require.Equal(t, []Kind{Bundled, Bundled, Waiting, Bundled, Bundled, Bundled}, kinds)
	}
	require.Equal(t, passes[0], passes[1])
	require.Contains(t, passes[0], "unified Synthetic_Runs/run_20260108_143022/last")
}

func archiveDigest(t *testing.T, dir string) bundle.Digest {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, bundle.ManifestName))
	require.NoError(t, err)
	var m bundle.Manifest
	require.NoError(t, json.Unmarshal(data, &m))
	return m.Archive
}

func TestVerbatim(t *testing.T) {
	s := newSite(t)
	s.watch().Payload.Keep = config.KeepVerbatim
	s.writePair("r")
	s.once(Bundled)
	m := s.bundles()["w/r/1"]
	require.Equal(t, bundle.PayloadVerbatim, m.Members[0].Payload)
	require.EqualValues(t, len(torchZip(t, 100, 1)), m.Members[0].Bytes)
	require.Contains(t, m.Members[0].Evidence.Whole, "CRC-32 of every record")
	s.once(PublishedBefore)
}

func TestNotesReachTheManifest(t *testing.T) {
	s := newSite(t)
	s.write("r/a-1.ckpt", torchArchive(t, pickle.NewDict("state_dict", pickle.NewDict("w", floats(3)),
		"hyper_parameters", pickle.NewDict("N", int64(7), "weights", floats(3))), make([]byte, 12)))
	s.write("r/b-1.ckpt", torchZip(t, 10, 1))
	s.once(Bundled)
	require.Contains(t, s.bundles()["w/r/1"].Notes[0], "weights")
}

func TestPublishedElsewhereInTheMeantime(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	b, other := s.bench(), s.bench()
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	other.settle("r/a-1.ckpt", "r/b-1.ckpt")
	b.packer.progress = during(other.pack)
	b.pack()
	b.expect(Bundled, PublishedBefore)
	require.Len(t, b.bundles(), 1)
	require.Equal(t, setState{settled: true}, b.table.Sets()[0].State)
	b.noLitter()
}

// A pair of other content that was published under the key in the meantime pushes this one on.
func TestKeyIsTakenInTheMeantime(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	b, other := s.bench(), s.bench()
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	s.write("q/a-1.ckpt", torchZip(t, 10, 5))
	s.write("q/b-1.ckpt", torchZip(t, 10, 6))
	taken := other.jobFor("q")
	taken.key = "r/1"
	b.packer.progress = during(func() { require.NoError(t, other.packer.pack(context.Background(), taken).err) })
	b.pack()
	b.expect(Bundled)
	require.Equal(t, s.path("q/a-1.ckpt"), b.published("w/r/1").Members[0].Source.Path)
	require.Equal(t, s.path("r/a-1.ckpt"), b.published("w/r/1~2").Members[0].Source.Path)
}

// A kept file that loses one name after the other is not lost.
func TestNamesThatGoOneByOne(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	for _, name := range []string{"1", "2", "3"} {
		require.NoError(t, os.Link(b.path("r/a-1.ckpt"), b.path("r/"+name)))
	}
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	names := []string{"r/1", "r/2", "r/3"}
	b.packer.progress = during(func() {
		if len(names) > 0 {
			b.remove(names[0])
			names = names[1:]
		}
	})
	b.pack()
	b.expect()
	b.later(retryAfter)
	b.expect(Bundled)
}

// A directory that cannot be passed for a while is no verdict on the files in it.
func TestMemberThatCannotBeOpenedForAWhile(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settleClosed("r/a-1.ckpt", "r/b-1.ckpt")
	require.Zero(t, b.kept)
	require.NoError(t, os.Rename(b.path("r"), b.path("away")))
	require.NoError(t, os.Symlink("away", b.path("r")))
	b.pack()
	require.Equal(t, b.path("r/a-1.ckpt"), b.expect(Failed)[0].Path)
	b.later(retryAfter)
	b.expect()
	b.remove("r")
	require.NoError(t, os.Rename(b.path("away"), b.path("r")))
	b.later(retryAfter)
	b.expect(Bundled)
}

func TestCounts(t *testing.T) {
	var c Counts
	for _, k := range []Kind{Bundled, PublishedBefore, Ready, Waiting, Expired, Refused, Failed, RootGone, Skipped, RootBack} {
		c.Add(k)
	}
	require.Equal(t, Counts{Bundled: 1, PublishedBefore: 1, Ready: 1, Waiting: 2, Refused: 1, Failed: 2, Skipped: 1}, c)
}

func TestOneFileInTwoRoles(t *testing.T) {
	s := newSite(t)
	s.watch().Members[0].Pattern = compile(t, "{run}/?b-{epoch}.ckpt")
	s.write("r/xb-1.ckpt", torchZip(t, 10, 1))
	b := s.bench()
	b.settle("r/xb-1.ckpt")
	require.Equal(t, 1, b.kept)
	b.pack()
	b.expect(Bundled)
	m := b.published("w/r/1")
	require.Equal(t, m.Members[0].Fingerprint, m.Members[1].Fingerprint)
}

func TestConfigFilesAreFrozenOnce(t *testing.T) {
	s := newSite(t)
	s.watch().Config.Files = append(s.watch().Config.Files, compile(t, "{run}/*.json"))
	s.writePair("r")
	s.write("r/config.json", []byte(`{"N": 1}`))
	s.write("r/more.json", []byte(`{"M": 2}`))
	s.once(Bundled)
	m := s.bundles()["w/r/1"]
	require.Len(t, m.Config, 2)
	require.JSONEq(t, `{"N": 1, "M": 2}`, string(m.Params))
}

// A root that is gone is no verdict on the config of its sets: what is kept waits for it.
func TestRootIsGoneWhenAPairIsPacked(t *testing.T) {
	b := newBench(t)
	b.writePair("r")
	b.settle("r/a-1.ckpt", "r/b-1.ckpt")
	require.NoError(t, os.Rename(b.root, b.root+".away"))
	b.pack()
	require.Contains(t, b.expect(Failed)[0].Reason, "freeze config")
	require.Equal(t, 2, b.kept)
	require.NoError(t, os.Rename(b.root+".away", b.root))
	b.later(retryAfter)
	b.expect(Bundled)
}
