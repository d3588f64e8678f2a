package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// trainerFiles are what Hugging Face's Trainer writes, in its order. The last one completes the folder.
var trainerFiles = []string{"config.json", "generation_config.json", "model.safetensors", "training_args.bin", "optimizer.pt", "scheduler.pt",
	"rng_state.pth", "trainer_state.json"}

// watchTrees makes the watch one of Trainer's folders.
func (s *site) watchTrees() {
	s.watch().Members = []config.Member{{Role: "model", Pattern: compile(s.t, "{run}/checkpoint-{step}/")}}
}

// writeTree writes files of Trainer's folder, each a second younger than the one before.
func (s *site) writeTree(dir string, files ...string) {
	s.t.Helper()
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join("..", "checkpoint", "testdata", "tree", "trainer", "checkpoint-2", name))
		require.NoError(s.t, err)
		s.write(dir+"/"+name, data)
		at := time.Now().Add(time.Duration(slices.Index(trainerFiles, name)-20) * time.Second)
		require.NoError(s.t, os.Chtimes(s.path(dir+"/"+name), at, at))
	}
}

func TestDirectoryIsBundledAsATree(t *testing.T) {
	s := newSite(t)
	s.watchTrees()
	s.writeTree("r/checkpoint-2", trainerFiles...)
	s.writeTree("r/checkpoint-3", trainerFiles[:7]...)
	told := s.once(Bundled, Waiting)
	require.Contains(t, told[1].Waits[0], `waiting for "trainer_state.json"`)
	m := s.bundles()["w/r/2"].Members[0]
	require.EqualValues(t, "hf-trainer", m.Format)
	require.Equal(t, "model/checkpoint-2/", m.Name)
	require.Len(t, m.Files, len(trainerFiles))
	require.Len(t, m.Source.Files, len(trainerFiles))
	require.NotEmpty(t, m.Tensors)
	s.once(PublishedBefore, Waiting)

	s.writeTree("r/checkpoint-2", "optimizer.pt", "trainer_state.json") // the same content anew
	s.once(PublishedBefore, Waiting)
}

func TestDirectoryWithABrokenFileIsRefused(t *testing.T) {
	s := newSite(t)
	s.watchTrees()
	s.writeTree("r/checkpoint-2", trainerFiles...)
	require.NoError(t, os.Truncate(s.path("r/checkpoint-2/model.safetensors"), 100))
	at := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(s.path("r/checkpoint-2/model.safetensors"), at, at))
	require.Contains(t, s.once(Refused)[0].Reason, "model.safetensors")
	require.Empty(t, s.bundles())
}

func TestDirectoryIsWaitedForFileByFile(t *testing.T) {
	s := newSite(t)
	s.watchTrees()
	b := s.bench()
	dir := "r/checkpoint-2/"
	for _, name := range trainerFiles[:7] {
		s.writeTree("r/checkpoint-2", name)
		b.settle(dir + name)
		b.later(2 * tick)
	}
	b.expect()
	s.writeTree("r/checkpoint-2", "trainer_state.json")
	b.changing(dir + "trainer_state.json")
	b.later(time.Minute)
	b.expect()
	b.settle(dir + "trainer_state.json")
	b.later(2 * tick)
	require.NotEmpty(t, b.expect(Bundled)[0].Tensors)

	// Rotation takes the folder away file by file: nothing more is told, and nothing is remembered.
	for _, name := range trainerFiles {
		b.lose(dir + name)
		b.later(2 * tick)
	}
	b.expect()
	require.Empty(t, b.table.Sets())
	require.Empty(t, b.trees)
}

// After a restart in the middle of rotation, what is left of a bundled folder is not bundled again.
func TestRestOfABundledDirectoryIsNotBundled(t *testing.T) {
	s := newSite(t)
	s.watchTrees()
	s.writeTree("r/checkpoint-2", trainerFiles...)
	s.once(Bundled)
	for _, name := range trainerFiles[:7] {
		s.remove("r/checkpoint-2/" + name)
		require.Contains(t, s.once(Waiting)[0].Waits[0], "removed")
	}
}

// A folder that rotation begins to delete before it could be bundled is no complete one.
func TestHalfDeletedDirectoryIsNotBundled(t *testing.T) {
	s := newSite(t)
	s.watchTrees()
	b := s.bench()
	s.writeTree("r/checkpoint-2", trainerFiles...)
	for _, name := range trainerFiles {
		b.settle("r/checkpoint-2/" + name)
	}
	b.lose("r/checkpoint-2/training_args.bin")
	b.lose("r/checkpoint-2/model.safetensors")
	b.later(2 * tick)
	require.Empty(t, b.bundles())
}

func TestSubdirectoriesOfADirectoryAreNoFaults(t *testing.T) {
	s := newSite(t)
	s.watchTrees()
	b := s.bench()
	require.NoError(t, os.MkdirAll(s.path("r/checkpoint-2/runs"), 0o755))
	st, err := watch.Lstat(s.root, "r/checkpoint-2/runs")
	require.NoError(t, err)
	b.fact(watch.Fact{Path: "r/checkpoint-2/runs", Kind: watch.Unusable, Stat: st, Reason: watch.ErrNotRegular})
	b.expect()
}

func TestDirectoryThatChangesWhileItIsRead(t *testing.T) {
	s := newSite(t)
	s.watchTrees()
	s.writeTree("r/checkpoint-2", trainerFiles...)
	opts := s.options()
	opts.Progress = during(func() { s.writeTree("r/checkpoint-2", "optimizer.pt") })
	require.NoError(t, Once(t.Context(), s.config, opts))
	s.expect(Waiting)
	require.Empty(t, s.bundles())
	s.noLitter()
}
