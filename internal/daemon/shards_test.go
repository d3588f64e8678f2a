package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
)

const shardIndex = "model.safetensors.index.json"

// shardFiles are what save_pretrained writes of a sharded model, in its order.
var shardFiles = []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", shardIndex}

// watchIndexes makes the watch one of the indexes of shards.
func (s *site) watchIndexes() {
	s.watch().Members = []config.Member{{Role: "model", Pattern: compile(s.t, "{run...}/"+shardIndex)}}
}

func shardFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "checkpoint", "testdata", "tree", "sharded", name))
	require.NoError(t, err)
	return data
}

// writeShards writes files of a sharded model, the index as the last.
func (s *site) writeShards(dir string, names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.write(dir+"/"+name, shardFile(s.t, name))
		at := time.Now().Add(-20 * time.Second)
		if name == shardIndex {
			at = at.Add(time.Second)
		}
		require.NoError(s.t, os.Chtimes(s.path(dir+"/"+name), at, at))
	}
}

func TestIndexOfShardsIsBundledWithItsShards(t *testing.T) {
	s := newSite(t)
	s.watchIndexes()
	s.writeShards("a/r", shardFiles...)
	s.write("a/r/config.json", []byte("{}"))
	require.Equal(t, []string{s.path("a/r/" + shardIndex)}, s.check(Watched, Ready)[1].Members)
	told := s.once(Bundled)[0]
	require.Equal(t, "a/r", told.Key)
	m := s.bundles()["w/a/r"].Members[0]
	require.EqualValues(t, "safetensors-sharded", m.Format)
	require.Equal(t, "model/r/", m.Name)
	require.Equal(t, s.path("a/r/"+shardIndex), m.Source.Path)
	var names []string
	for _, f := range m.Source.Files {
		names = append(names, f.Path)
	}
	require.Equal(t, shardFiles, names, "the shards and the index, and nothing else of the directory")
	require.Contains(t, m.Evidence.Whole, "all 2 shards")
	r, err := bundle.Verify(context.Background(), told.Path)
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	s.once(PublishedBefore)
}

func TestIndexWaitsForItsShards(t *testing.T) {
	s := newSite(t)
	s.watchIndexes()
	b := s.bench()
	write := func(name string) {
		s.writeShards("r", name)
		b.settle("r/" + name)
		b.later(2 * tick)
	}
	write(shardFiles[0])
	write(shardIndex)
	b.expect()
	require.ErrorContains(t, b.table.Sets()[0].Member("model").Wait, `waiting for "model-00002-of-00002.safetensors"`)

	s.writeShards("r", shardFiles[1])
	b.changing("r/" + shardFiles[1])
	b.later(time.Minute)
	b.expect()
	b.settle("r/" + shardFiles[1])
	b.later(2 * tick)
	require.NotEmpty(t, b.expect(Bundled)[0].Tensors)
	for _, name := range []string{shardIndex, shardFiles[0], shardFiles[1]} {
		b.lose("r/" + name)
		b.later(2 * tick)
	}
	b.expect()
	require.Empty(t, b.table.Sets())
	require.Empty(t, b.trees)
}

func TestIndexInTheRootItself(t *testing.T) {
	s := newSite(t)
	s.watchIndexes()
	s.writeShards(".", shardFiles...)
	require.Equal(t, "runs", s.once(Bundled)[0].Key)
	require.Equal(t, "model/runs/", s.bundles()["w/runs"].Members[0].Name)
}

func TestIndexesThatCannotBeFollowed(t *testing.T) {
	for name, tc := range map[string]struct {
		old, new, reason string
		verdict          Kind
	}{
		"names that are no shards'":      {"model-00002-of-00002.safetensors", "rest.safetensors", "name the directory in the pattern", Refused},
		"names that leave the directory": {"model-00002-of-00002.safetensors", "../../other/model-00002-of-00002.safetensors", "no file of its folder", Refused},
		"a shard of another save":        {"model-00002-of-00002.safetensors", "model-00002-of-00003.safetensors", `waiting for "model-00002-of-00003.safetensors"`, Waiting},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.watchIndexes()
			s.writeShards("r", shardFiles[:2]...)
			s.write("r/"+shardIndex, []byte(strings.ReplaceAll(string(shardFile(t, shardIndex)), tc.old, tc.new)))
			told := s.once(tc.verdict)[0]
			require.Contains(t, told.Reason+strings.Join(told.Waits, ""), tc.reason)
			require.Empty(t, s.bundles())
		})
	}
	s := newSite(t)
	s.watchIndexes()
	s.writeShards("r", shardFiles...)
	require.NoError(t, os.Truncate(s.path("r/"+shardFiles[0]), 100))
	require.NoError(t, os.Chtimes(s.path("r/"+shardFiles[0]), time.Now(), time.Now().Add(-time.Hour)))
	require.Contains(t, s.once(Refused)[0].Reason, shardFiles[0])
}

// A link in place of a shard is not followed, so that a name in the index cannot lead out of the directory.
func TestLinkInPlaceOfAShard(t *testing.T) {
	s := newSite(t)
	s.watchIndexes()
	s.writeShards("r", shardFiles[0], shardIndex)
	s.writeShards("elsewhere", shardFiles[1])
	require.NoError(t, os.Symlink("../elsewhere/"+shardFiles[1], s.path("r/"+shardFiles[1])))
	require.NoError(t, Once(context.Background(), s.config, s.options()))
	require.Empty(t, s.bundles())
}
