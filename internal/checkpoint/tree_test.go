package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

const second = int64(1e9)

// memoryTree is a directory for a test.
type memoryTree struct {
	name  string
	files []memoryFile // in the order of their last change
	open  int          // files that are open now
}

type memoryFile struct {
	path string
	data []byte
	time int64
}

// fixtureTree reads a directory that testdata/tree/make.py has written, with files as old as they were then.
func fixtureTree(t testing.TB, name string) *memoryTree {
	t.Helper()
	raw, err := os.ReadFile("testdata/tree/order.json")
	require.NoError(t, err)
	var order map[string][]string
	require.NoError(t, json.Unmarshal(raw, &order))
	require.NotEmpty(t, order[name])
	tree := &memoryTree{name: path.Base(name)}
	for i, file := range order[name] {
		data, err := os.ReadFile(filepath.Join("testdata/tree", name, file))
		require.NoError(t, err)
		tree.files = append(tree.files, memoryFile{file, data, int64(i+1) * second})
	}
	return tree
}

func (m *memoryTree) at(t testing.TB, path string) *memoryFile {
	t.Helper()
	i := slices.IndexFunc(m.files, func(f memoryFile) bool { return f.path == path })
	require.GreaterOrEqual(t, i, 0, path)
	return &m.files[i]
}

func (m *memoryTree) remove(t testing.TB, path string) {
	m.at(t, path)
	m.files = slices.DeleteFunc(m.files, func(f memoryFile) bool { return f.path == path })
}

func (m *memoryTree) add(path string, data []byte) {
	m.files = append(m.files, memoryFile{path, data, int64(len(m.files)+1) * second})
}

// below moves all files into a folder.
func (m *memoryTree) below(dir string) []memoryFile {
	moved := slices.Clone(m.files)
	for i := range moved {
		moved[i].path = path.Join(dir, moved[i].path)
	}
	return moved
}

func (m *memoryTree) listing() []TreeFile {
	var files []TreeFile
	for _, f := range m.files {
		files = append(files, TreeFile{f.path, int64(len(f.data)), f.time})
	}
	return files
}

func (m *memoryTree) opener(path string) (io.ReaderAt, int64, func() error, error) {
	for _, f := range m.files {
		if f.path == path {
			m.open++
			return bytes.NewReader(f.data), int64(len(f.data)), func() error { m.open--; return nil }, nil
		}
	}
	return nil, 0, nil, fs.ErrNotExist
}

func (m *memoryTree) prove(t testing.TB) (*Tree, error) {
	t.Helper()
	tree, err := OpenTree(m.opener, m.listing(), m.name)
	require.Zero(t, m.open, "files left open")
	if err != nil {
		require.Nil(t, tree)
	}
	return tree, err
}

// verdict is what became of a directory.
func verdict(t testing.TB, err error) string {
	t.Helper()
	var i *Incomplete
	var b *Broken
	switch {
	case err == nil:
		return "whole"
	case errors.As(err, &i):
		return "incomplete"
	case errors.As(err, &b):
		return "broken"
	}
	require.NoError(t, err)
	return ""
}

var treeFixtures = []string{"trainer/checkpoint-2", "sharded", "sharded_bin", "dcp", "deepspeed", "orbax", "orbax_step", "savedmodel", "accelerate"}

func TestTreesAsTheirLibrariesWriteThem(t *testing.T) {
	for _, tc := range []struct {
		name    string
		format  Format
		tensors int
		tensor  string // one of them
		whole   string // part of the text
	}{
		{"trainer/checkpoint-2", HFTrainer, 85, "model.safetensors/model.layers.1.mlp.up_proj.weight", "is of step 2"},
		{"sharded", SafeTensorsSharded, 21, "model-00001-of-00002.safetensors/model.embed_tokens.weight", "all 2 shards"},
		{"sharded_bin", TorchSharded, 3, "pytorch_model-00001-of-00002.bin/a.bias", "all 2 shards"},
		{"dcp", TorchDCP, 2, ".metadata/model.split", "all 6 items"},
		{"deepspeed", DeepSpeed, 8, "global_step3/mp_rank_00_model_states.pt/module/lin.weight", "latest names global_step3"},
		{"orbax", Orbax, 0, "", "orbax has committed it"},
		{"orbax_step", Orbax, 0, "", "orbax has committed it"},
		{"savedmodel", SavedModel, 3, "variables/variables.index/w/.ATTRIBUTES/VARIABLE_VALUE", "checksums of 3 variables"},
		{"accelerate", Accelerate, 5, "model.safetensors/weight", "weak evidence"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := fixtureTree(t, tc.name)
			tree, err := m.prove(t)
			require.NoError(t, err)
			require.Equal(t, tc.format, tree.Format)
			require.Len(t, tree.Files, len(m.files))
			require.True(t, slices.IsSortedFunc(tree.Files, func(a, b TreeFile) int { return strings.Compare(a.Path, b.Path) }))
			require.Contains(t, tree.Whole, tc.whole)
			require.Empty(t, Names(tree.ForeignImports()))
			require.Len(t, tree.Tensors, tc.tensors)
			named := func(tensor Tensor) bool {
				return tensor.Name == tc.tensor && tensor.DType == "float32" && tensor.Bytes > 0
			}
			require.Equal(t, tc.tensor != "", slices.ContainsFunc(tree.Tensors, named))
		})
	}
}

// Files whose absence nothing tells, and why.
var optionalFiles = map[string][]string{
	"trainer/checkpoint-2": {"generation_config.json"},                // of models that generate only
	"sharded":              {"config.json", "generation_config.json"}, // the index names tensors only
	"deepspeed":            {"zero_to_fp32.py"},
	"orbax":                {"_CHECKPOINT_METADATA", "commit_success.txt", "ocdbt.process_0/d/*"}, // one of the first two is enough
	"orbax_step":           {"_CHECKPOINT_METADATA", "commit_success.txt", "*/commit_success.txt", "state/ocdbt.process_0/d/*"},
	"savedmodel":           {"fingerprint.pb"}, // unknown before TensorFlow 2.12
	"accelerate":           {"model.safetensors", "optimizer.bin", "scheduler.bin"},
}

func TestEveryFileIsMissed(t *testing.T) {
	for _, name := range treeFixtures {
		for _, f := range fixtureTree(t, name).files {
			t.Run(name+"/"+f.path, func(t *testing.T) {
				m := fixtureTree(t, name)
				m.remove(t, f.path)
				want := "incomplete"
				if matchesAny(optionalFiles[name], f.path) {
					want = "whole"
				}
				_, err := m.prove(t)
				require.Equal(t, want, verdict(t, err), err)
			})
		}
	}
}

// Files whose content nothing proves when they are cut off: text, and the arrays of Orbax.
var unprovenFiles = map[string][]string{
	"deepspeed":  {"zero_to_fp32.py"},
	"orbax":      {"commit_success.txt", "d/*", "*/d/*"},
	"orbax_step": {"commit_success.txt", "*/commit_success.txt", "*/d/*", "*/*/d/*"},
}

func TestEveryFileIsCutOff(t *testing.T) {
	for _, name := range treeFixtures {
		for _, f := range fixtureTree(t, name).files {
			t.Run(name+"/"+f.path, func(t *testing.T) {
				text := bytes.TrimRight(f.data, "\n") // what JSON does not need
				for _, size := range []int{len(text) - 1, len(text) / 2} {
					m := fixtureTree(t, name)
					m.at(t, f.path).data = text[:size]
					want := "broken"
					switch {
					case matchesAny(unprovenFiles[name], f.path):
						want = "whole"
					case f.path == latestName: // then it names a folder that is not there
						want = "incomplete"
					}
					_, err := m.prove(t)
					require.Equal(t, want, verdict(t, err), "%d bytes: %v", size, err)
				}
			})
		}
	}
}

// A later save into the same folder has begun: data is younger than what is written last.
func TestDataYoungerThanTheMarker(t *testing.T) {
	for name, files := range map[string][]string{
		"trainer/checkpoint-2": {"model.safetensors", "optimizer.pt", "scheduler.pt", "config.json", argumentsName},
		"sharded":              {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"},
		"sharded_bin":          {"pytorch_model-00002-of-00002.bin"},
		"dcp":                  {"__0_0.distcp", "__1_0.distcp"},
		"deepspeed":            {"global_step3/mp_rank_00_model_states.pt", "global_step3/zero_pp_rank_0_mp_rank_00_optim_states.pt"},
		"savedmodel":           {"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"},
		"accelerate":           {"model.safetensors", "optimizer.bin", "scheduler.bin"},
	} {
		for _, file := range files {
			t.Run(name+"/"+file, func(t *testing.T) {
				m := fixtureTree(t, name)
				m.at(t, file).time = 100 * second
				_, err := m.prove(t)
				require.Equal(t, "incomplete", verdict(t, err), err)
				require.ErrorContains(t, err, "is older than")
				last := &m.files[len(m.files)-1]
				last.time = 100 * second // of equal age is new enough
				if name == "savedmodel" {
					m.at(t, savedModelFile).time = 100 * second
				}
				_, err = m.prove(t)
				require.NoError(t, err)
			})
		}
	}
}

// While it is written, a directory waits after each of its files.
func TestUnfinished(t *testing.T) {
	for _, name := range treeFixtures {
		files := fixtureTree(t, name).files
		for n := 1; n < len(files); n++ {
			m := fixtureTree(t, name)
			m.files = files[:n]
			want := "incomplete"
			switch {
			case strings.HasPrefix(name, "orbax"): // a folder has another name until then: TestTreesThatAreStillWritten
				continue
			case name == "accelerate" && n == 1, name == "savedmodel" && n == 3: // one model; all but the fingerprint
				want = "whole"
			}
			_, err := m.prove(t)
			require.Equal(t, want, verdict(t, err), "%s: first %d files: %v", name, n, err)
		}
	}
}

// Rotation deletes the files of a checkpoint one by one, in the order in which the directory has them.
func TestHalfDeleted(t *testing.T) {
	for _, name := range []string{"trainer/checkpoint-2", "sharded", "sharded_bin", "dcp", "deepspeed"} {
		first := map[string]string{"trainer/checkpoint-2": argumentsName, "sharded": "model-00001-of-00002.safetensors",
			"deepspeed": "global_step3/mp_rank_00_model_states.pt"}
		m := fixtureTree(t, name)
		if file := first[name]; file != "" {
			m.remove(t, file)
		} else {
			m.files = m.files[1:]
		}
		for len(m.files) > 0 {
			_, err := m.prove(t)
			require.Equal(t, "incomplete", verdict(t, err), "%s: %d files left: %v", name, len(m.files), err)
			m.files = m.files[1:]
		}
	}
}

func TestTreesThatAreStillWritten(t *testing.T) {
	for _, tc := range []struct {
		fixture string
		change  func(m *memoryTree)
		reason  string
	}{
		{"orbax", func(m *memoryTree) { m.name = "state.orbax-checkpoint-tmp" }, "is temporary"},
		{"trainer/checkpoint-2", func(m *memoryTree) { m.name = "tmp-checkpoint-2" }, "is temporary"},
		{"orbax_step", func(m *memoryTree) {
			m.files = append(m.files, fixtureTree(t, "orbax").below("more.orbax-checkpoint-tmp-17")...)
		}, "still written"},
		{"orbax", func(m *memoryTree) { m.add("manifest.ocdbt.__lock", []byte("x")) }, "still written"},
		{"sharded", func(m *memoryTree) { m.add(".tmpa1B2c3", make([]byte, 9)) }, "remove it if no job"},
		{"dcp", func(m *memoryTree) { m.add(".metadata.tmp", []byte("x")) }, "still written"},
		{"savedmodel", func(m *memoryTree) { m.add("fingerprint.pb.tmp0f3a", []byte("x")) }, "still written"},
		{"savedmodel", func(m *memoryTree) { m.add("variables/variables_temp/part-00000-of-00001.index", []byte("x")) }, "still written"},
		{"orbax", func(m *memoryTree) {
			m.remove(t, orbaxCommitted)
			m.at(t, orbaxCheckpoint).data = []byte(`{"init_timestamp_nsecs": 1, "commit_timestamp_nsecs": null}`)
		}, "not committed it"},
		{"deepspeed", func(m *memoryTree) { m.at(t, "latest").data = []byte("global_step6") }, `"global_step6/"`},
		{"accelerate", func(m *memoryTree) {
			m.add("random_states_3.pkl", m.at(t, "random_states_0.pkl").data)
		}, `"random_states_1.pkl", "random_states_2.pkl"`},
		{"trainer/checkpoint-2", func(m *memoryTree) { *m = memoryTree{name: "empty"} }, "has no files"},
	} {
		m := fixtureTree(t, tc.fixture)
		tc.change(m)
		_, err := m.prove(t)
		require.Equal(t, "incomplete", verdict(t, err), "%s: %v", tc.reason, err)
		require.ErrorContains(t, err, tc.reason)
	}
}

func TestTreesThatAreDamaged(t *testing.T) {
	for _, tc := range []struct {
		fixture string
		change  func(m *memoryTree)
		reason  string
	}{
		{"trainer/checkpoint-2", func(m *memoryTree) { m.name = "checkpoint-3" }, "the folder was renamed"},
		{"trainer/checkpoint-2", func(m *memoryTree) { m.name = "checkpoint-99999999999999999999" }, "no number of a step"},
		{"trainer/checkpoint-2", func(m *memoryTree) { flip(m.at(t, "optimizer.pt").data, 3000) }, "corrupt"},
		{"dcp", func(m *memoryTree) {
			flip(m.at(t, "__0_0.distcp").data, bytes.Index(m.at(t, "__0_0.distcp").data, []byte("_rebuild_tensor")))
		}, "item \"model.split\""},
		{"dcp", func(m *memoryTree) { // data of another save, with items of other sizes
			m.at(t, "__0_0.distcp").data = append(m.at(t, "__1_0.distcp").data[:1261:1261], make([]byte, 500)...)
		}, "item \"model.split\""},
		{"savedmodel", func(m *memoryTree) { flip(m.at(t, "variables/variables.index").data, 20) }, "CRC-32C"},
		{"savedmodel", func(m *memoryTree) { flip(m.at(t, "variables/variables.data-00000-of-00001").data, 3) }, `record "w/`},
		{"savedmodel", func(m *memoryTree) { flip(m.at(t, "variables/variables.data-00000-of-00001").data, 32) }, `record "names/`},
		{"savedmodel", func(m *memoryTree) {
			f := m.at(t, "variables/variables.data-00000-of-00001")
			f.data = append(f.data, 0)
		}, "but the index says 265"},
		{"orbax", func(m *memoryTree) { flip(m.at(t, "manifest.ocdbt").data, 50) }, "CRC-32C"},
		{"orbax", func(m *memoryTree) { m.at(t, "d/"+path.Base(m.matching("d/*")[0])).data = nil }, "it is empty"},
		{"orbax_step", func(m *memoryTree) { m.at(t, "meta/metadata").data = []byte("{") }, "JSON"},
		{"sharded", func(m *memoryTree) { replace(m.at(t, "model.safetensors.index.json"), `5792`, `5796`) }, "not of one save"},
		{"sharded", func(m *memoryTree) { replace(m.at(t, "model.safetensors.index.json"), `lm_head`, `ln_head`) }, "which the index does not look for"},
		{"sharded", func(m *memoryTree) {
			replace(m.at(t, "model.safetensors.index.json"), `"weight_map": {`, `"weight_map": {"more": "model-00001-of-00002.safetensors",`)
		}, "but the index looks for"},
		{"sharded", func(m *memoryTree) {
			replace(m.at(t, "model.safetensors.index.json"), `"model-00002-of-00002.safetensors"`, `"../model-00002-of-00002.safetensors"`)
		}, "which is no file of its folder"},
		{"sharded", func(m *memoryTree) {
			m.add("other.safetensors.index.json", m.at(t, "model.safetensors.index.json").data)
		}, "two indexes"},
		{"sharded", func(m *memoryTree) { m.at(t, "model.safetensors.index.json").data = []byte("null") }, "null"},
		{"sharded", func(m *memoryTree) { m.at(t, "model.safetensors.index.json").data = []byte(`{"weight_map": {}}`) }, "no weight_map"},
		{"dcp", func(m *memoryTree) { replace(m.at(t, metadataName), "__0_0.distcp", "../_0.distcp") }, "no file of its folder"},
		{"dcp", func(m *memoryTree) { replace(m.at(t, metadataName), "__0_0.distcp", "/etc/passwd0") }, "no file of its folder"},
		{"dcp", func(m *memoryTree) { replace(m.at(t, metadataName), "__0_0.distcp", "__1_0.distcp") }, "where another item does"},
		{"dcp", func(m *memoryTree) { replace(m.at(t, metadataName), "float32", "float64") }, "but .metadata says float64"},
		{"dcp", func(m *memoryTree) { replace(m.at(t, metadataName), "storage_data", "sturage_data") }, "does not say where the items are"},
		{"deepspeed", func(m *memoryTree) { m.at(t, "latest").data = []byte("../global_step3") }, "no name of a folder"},
		{"accelerate", func(m *memoryTree) { m.at(t, "model.safetensors").data = make([]byte, 4096) }, "zero bytes"},
	} {
		m := fixtureTree(t, tc.fixture)
		tc.change(m)
		_, err := m.prove(t)
		require.Equal(t, "broken", verdict(t, err), "%s: %v", tc.reason, err)
		require.ErrorContains(t, err, tc.reason)
	}
}

func flip(data []byte, at int) { data[at] ^= 0x10 }

func replace(f *memoryFile, old, with string) {
	f.data = bytes.ReplaceAll(f.data, []byte(old), []byte(with))
}

func (m *memoryTree) matching(pattern string) []string {
	var paths []string
	for _, f := range m.files {
		if ok, _ := path.Match(pattern, f.path); ok {
			paths = append(paths, f.path)
		}
	}
	return paths
}

// One directory can be of several formats.
func TestTreesInTrees(t *testing.T) {
	t.Run("a trainer's checkpoint in shards", func(t *testing.T) {
		m := fixtureTree(t, "trainer/checkpoint-2")
		m.remove(t, "model.safetensors")
		for _, f := range fixtureTree(t, "sharded").files[2:] {
			m.files = slices.Insert(m.files, len(m.files)-1, memoryFile{f.path, f.data, second})
		}
		tree, err := m.prove(t)
		require.NoError(t, err)
		require.Equal(t, HFTrainer, tree.Format)
		require.Contains(t, tree.Whole, "all 2 shards")
		m.remove(t, "model-00001-of-00002.safetensors")
		_, err = m.prove(t)
		require.Equal(t, "incomplete", verdict(t, err))
	})
	t.Run("a trainer's checkpoint with deepspeed", func(t *testing.T) {
		m := fixtureTree(t, "trainer/checkpoint-2")
		m.remove(t, "optimizer.pt")
		m.remove(t, "scheduler.pt")
		for i, f := range fixtureTree(t, "deepspeed").files {
			m.files = slices.Insert(m.files, i, f)
		}
		m.at(t, trainerState).time = 100 * second
		tree, err := m.prove(t)
		require.NoError(t, err)
		require.Equal(t, HFTrainer, tree.Format)
		require.Contains(t, tree.Whole, "2 data-parallel")
	})
	t.Run("a tag folder itself", func(t *testing.T) {
		m := fixtureTree(t, "deepspeed")
		m.name = "global_step3"
		m.files = slices.DeleteFunc(m.files, func(f memoryFile) bool { return path.Dir(f.path) == "." })
		for i := range m.files {
			m.files[i].path = path.Base(m.files[i].path)
		}
		tree, err := m.prove(t)
		require.NoError(t, err)
		require.Equal(t, DeepSpeed, tree.Format)
	})
	t.Run("a diffusers checkpoint by accelerate", func(t *testing.T) {
		m := fixtureTree(t, "accelerate")
		m.name = "checkpoint-500"
		tree, err := m.prove(t)
		require.NoError(t, err)
		require.Equal(t, Accelerate, tree.Format)
	})
	t.Run("below a folder without a format", func(t *testing.T) {
		m := &memoryTree{name: "run"}
		for _, name := range treeFixtures {
			m.files = append(m.files, fixtureTree(t, name).below(name)...)
		}
		tree, err := m.prove(t)
		require.NoError(t, err)
		require.Equal(t, Directory, tree.Format)
		require.Contains(t, tree.Whole, `in "dcp/" (torch-dcp): all 6 items`)
		m.remove(t, "dcp/.metadata")
		_, err = m.prove(t)
		require.Equal(t, "incomplete", verdict(t, err))
		require.ErrorContains(t, err, `"dcp/.metadata"`)
	})
}

// How many files DeepSpeed writes depends on its ranks and on its kind of optimizer.
func TestDeepSpeedCounts(t *testing.T) {
	shapes := &pickle.List{}
	optimizer := pickle.NewDict("state", nil)
	for _, tc := range []struct {
		name  string
		state *pickle.Dict
		files []string
		waits []string
		err   string
	}{
		{name: "ZeRO 3", state: pickle.NewDict("dp_world_size", int64(2), "mp_world_size", int64(1), "optimizer", nil, "param_shapes", shapes),
			files: []string{"zero_pp_rank_0_mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"},
			waits: []string{"zero_pp_rank_1_mp_rank_00_model_states.pt"}},
		{name: "no ZeRO", state: pickle.NewDict("dp_world_size", int64(8), "mp_world_size", int64(2), "optimizer", optimizer, "param_shapes", nil),
			files: []string{"mp_rank_00_model_states.pt"}, waits: []string{"mp_rank_01_model_states.pt"}},
		{name: "no ZeRO, all there", state: pickle.NewDict("dp_world_size", int64(8), "mp_world_size", int64(1), "optimizer", optimizer),
			files: []string{"mp_rank_00_model_states.pt"}},
		{name: "experts", state: pickle.NewDict("dp_world_size", int64(2), "mp_world_size", int64(1), "num_experts", int64(2)),
			files: []string{"mp_rank_00_model_states.pt", "expp_rank_0_mp_rank_00_optim_states.pt", "layer_0_expert_1_mp_rank_00_model_states.pt"}},
		{name: "ZeRO 2", state: pickle.NewDict("dp_world_size", int64(1), "mp_world_size", int64(2), "optimizer", nil, "param_shapes", shapes),
			files: []string{"mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt"},
			waits: []string{"zero_pp_rank_0_mp_rank_00_optim_states.pt", "zero_pp_rank_0_mp_rank_01_optim_states.pt"}},
		{name: "uncounted", state: pickle.NewDict("module", nil), files: []string{"mp_rank_00_model_states.pt"}},
		{name: "absurd", state: pickle.NewDict("dp_world_size", int64(1<<40), "mp_world_size", int64(1<<40)),
			files: []string{"mp_rank_00_model_states.pt"}, err: "ranks wrote the checkpoint"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := Save(tc.state)
			require.NoError(t, err)
			m := &memoryTree{name: "global_step9"}
			for _, name := range tc.files {
				m.add(name, flatten(t, p))
			}
			_, err = m.prove(t)
			var incomplete *Incomplete
			switch {
			case tc.err != "":
				require.True(t, isBroken(err), err)
				require.ErrorContains(t, err, tc.err)
			case tc.waits != nil:
				require.ErrorAs(t, err, &incomplete)
				require.Equal(t, tc.waits, incomplete.Waits)
			default:
				require.NoError(t, err)
			}
		})
	}
}

// Untrusted names are shown escaped, and long lists shortened.
func TestIncompleteText(t *testing.T) {
	err := &Incomplete{Reason: "why", Waits: []string{"a\x1b[2J", "b", "c", "d", "e", "f", "g"}}
	require.Equal(t, `why; waiting for "a\x1b[2J", "b", "c", "d", "e" and 2 more`, err.Error())
	require.Equal(t, "why", (&Incomplete{Reason: "why"}).Error())
}

func TestUnknownDirectory(t *testing.T) {
	weights := fixtureTree(t, "sharded").at(t, "model-00001-of-00002.safetensors").data
	for _, tc := range []struct {
		name  string
		files map[string][]byte
		want  string
	}{
		{"whole", map[string][]byte{"a.safetensors": weights, "notes.json": []byte("// no JSON")}, "whole"},
		{"foreign", map[string][]byte{"weights.xyz": []byte("some format"), "config.json": []byte("{}")}, "whole"},
		{"cut off", map[string][]byte{"a.safetensors": weights[:len(weights)-1]}, "broken"},
		{"empty file", map[string][]byte{"a.safetensors": weights, "b.bin": nil}, "broken"},
		{"descriptions only", map[string][]byte{"config.json": []byte("{}"), "README.md": []byte("hello")}, "incomplete"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &memoryTree{name: "model"}
			for name, data := range tc.files {
				m.add(name, data)
			}
			tree, err := m.prove(t)
			require.Equal(t, tc.want, verdict(t, err), err)
			if err == nil {
				require.Equal(t, Directory, tree.Format)
				require.Contains(t, tree.Whole, "weakest evidence")
			}
		})
	}
}

// Python writes numbers that are no JSON; a loss that diverged is the usual one.
func TestTrainerStateWithNaN(t *testing.T) {
	m := fixtureTree(t, "trainer/checkpoint-2")
	replace(m.at(t, trainerState), `"loss": 2.7`, `"text \" NaN": NaN, "low": -Infinity, "loss": 2.7`)
	tree, err := m.prove(t)
	require.NoError(t, err)
	require.Equal(t, HFTrainer, tree.Format)
	require.Equal(t, `{"NaN": null, "a\\": -1, "x": null, "y": null}`, string(withoutNaN([]byte(`{"NaN": NaN, "a\\": -1, "x": -Infinity, "y": Infinity}`))))
}

func TestTrainerThatSavesOnlyTheModel(t *testing.T) {
	m := fixtureTree(t, "trainer/checkpoint-2")
	for _, name := range []string{"optimizer.pt", "scheduler.pt", "rng_state.pth"} {
		m.remove(t, name)
	}
	_, err := m.prove(t)
	require.Equal(t, "incomplete", verdict(t, err))

	args := m.at(t, argumentsName)
	c := openBytes(t, args.data)
	c.Root.(*pickle.Object).State.(*pickle.Dict).Set("save_only_model", true)
	p, err := Save(c.Root)
	require.NoError(t, err)
	args.data = flatten(t, p)
	_, err = m.prove(t)
	require.NoError(t, err)
}

func TestForeignImportsOfTrees(t *testing.T) {
	hostile := func() []byte {
		p, err := Save(pickle.NewDict("x", call("os", "system", "id")))
		require.NoError(t, err)
		return flatten(t, p)
	}()
	m := fixtureTree(t, "accelerate")
	m.add("custom_checkpoint_0.pkl", hostile)
	tree, err := m.prove(t)
	require.NoError(t, err)
	require.Equal(t, "os.system", Names(tree.ForeignImports()))
	// What one file's writer puts there is foreign in another.
	m.add("other.pkl", m.at(t, "random_states_0.pkl").data)
	tree, err = m.prove(t)
	require.NoError(t, err)
	require.Contains(t, Names(tree.ForeignImports()), "numpy.ndarray")
}

func TestListingsThatAreNone(t *testing.T) {
	m := fixtureTree(t, "accelerate")
	for _, bad := range []string{"../model.safetensors", "/etc/passwd", "a//b", ".", "", "a/../b", "model.safetensors"} {
		_, err := OpenTree(m.opener, append(m.listing(), TreeFile{Path: bad}), m.name)
		require.Equal(t, "broken", verdict(t, err), "%q", bad)
	}
}

func TestFilesThatChangeMeanwhile(t *testing.T) {
	m := fixtureTree(t, "accelerate")
	listing := m.listing()
	m.at(t, "optimizer.bin").data = []byte("another")
	_, err := OpenTree(m.opener, listing, m.name)
	require.Equal(t, "incomplete", verdict(t, err))
	require.ErrorContains(t, err, "changes")
	m.remove(t, "optimizer.bin")
	_, err = OpenTree(m.opener, listing, m.name)
	require.Equal(t, "incomplete", verdict(t, err))
	require.ErrorContains(t, err, "vanished")

	denied := func(string) (io.ReaderAt, int64, func() error, error) { return nil, 0, nil, fs.ErrPermission }
	_, err = OpenTree(denied, listing, m.name)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.False(t, isBroken(err))
}
