package checkpoint

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	shardIndexes = []string{"*.safetensors.index.json", "*.bin.index.json", "*.safetensors.index.*.json", "*.bin.index.*.json"}
	// shardName is the name of a shard, such as model-00001-of-00002.safetensors.
	shardName = regexp.MustCompile(`^(.+)-[0-9]{5}-of-[0-9]{5}\.(safetensors|bin)$`)
)

// IsShardIndex tells whether a file has the name of an index of shards.
func IsShardIndex(name string) bool {
	return strings.HasSuffix(name, ".json") && matchesAny(shardIndexes, path.Base(name))
}

// ShardIndexes returns the paths that the index of a shard can have beside it, by the shard's name: with
// model.fp16-00001-of-00002.safetensors it is model.fp16.safetensors.index.json, or model.safetensors.index.fp16.json.
// It returns none for a file that has not the name of a shard.
func ShardIndexes(shard string) []string {
	dir, name := path.Split(shard)
	m := shardName.FindStringSubmatch(name)
	if m == nil {
		return nil
	}
	indexes := []string{dir + m[1] + "." + m[2] + ".index.json"}
	if at := strings.LastIndexByte(m[1], '.'); at > 0 {
		indexes = append(indexes, dir+m[1][:at]+"."+m[2]+".index"+m[1][at:]+".json")
	}
	return indexes
}

func shardedFormat(f folder) Format {
	indexes := f.matching(shardIndexes...)
	shards := append(f.orphanShards(), indexes...)
	switch {
	case len(shards) == 0:
		return ""
	case strings.Contains(shards[0], ".safetensors"):
		return SafeTensorsSharded
	}
	return TorchSharded
}

// orphanShards returns the indexes that are not there, though there are shards of them.
func (f folder) orphanShards() []string {
	var indexes []string
	for name := range f.below() {
		m := shardName.FindStringSubmatch(name)
		if m == nil || strings.Contains(name, "/") {
			continue
		}
		index := m[1] + "." + m[2] + ".index.json"
		variant := len(f.matching(strings.TrimSuffix(index, "json")+"*.json")) > 0
		if !variant && !f.has(index) && !slices.Contains(indexes, f.dir+index) {
			indexes = append(indexes, f.dir+index)
		}
	}
	return indexes
}

func proveShards(f folder) (string, error) {
	if waits := f.orphanShards(); waits != nil {
		return "", &Incomplete{Reason: "the index of the shards is written last, and it is not there", Waits: waits}
	}
	var proven []string
	for _, name := range f.matching(shardIndexes...) {
		sentence, err := f.proveIndex(name)
		if err != nil {
			return "", err
		}
		proven = append(proven, sentence)
	}
	return strings.Join(proven, ". "), nil
}

// shardIndex is an index of shards (huggingface_hub/serialization/_torch.py).
type shardIndex struct {
	names     map[string]map[string]bool // of the tensors, by shard
	totalSize int64                      // in bytes, -1 when the index does not say
}

func (f folder) proveIndex(name string) (string, error) {
	index, err := f.readIndex(name)
	if err != nil {
		return "", err
	}
	shards := slices.Sorted(maps.Keys(index.names))
	if missing := f.missing(shards...); missing != nil {
		return "", &Incomplete{Reason: fmt.Sprintf("shards that %.200q names are not there: they were deleted, or the index is of another save", f.dir+name), Waits: missing}
	}
	if err := f.checkMarker(name, shards); err != nil {
		return "", err
	}
	sum, once := int64(0), int64(0)
	for _, shard := range shards {
		bytes, shared, err := f.proveShard(shard, index.names[shard])
		if err != nil {
			return "", err
		}
		sum, once = sum+bytes, once+bytes-shared
	}
	if total := index.totalSize; total >= 0 && total != sum && total != once {
		return "", f.broken(name, "it says that the tensors have %d bytes, but they have %d: index and shards are not of one save", total, sum)
	}
	return fmt.Sprintf("all %d shards of %s are there and whole, with exactly the tensors that it names, and none is younger than it", len(shards), name), nil
}

func (f folder) readIndex(name string) (*shardIndex, error) {
	object, err := f.object(name)
	if err != nil {
		return nil, err
	}
	index, err := parseIndex(object)
	if err != nil {
		return nil, f.inFile(name, err)
	}
	return index, nil
}

func parseIndex(object map[string]json.RawMessage) (*shardIndex, error) {
	var shards map[string]string
	if err := json.Unmarshal(object["weight_map"], &shards); err != nil || len(shards) == 0 {
		return nil, broken("it has no weight_map from the tensors' names to files")
	}
	index := &shardIndex{names: make(map[string]map[string]bool), totalSize: -1}
	for tensor, shard := range shards {
		if path.Base(shard) != shard || shard == "." || shard == ".." {
			return nil, broken("it names the shard %.200q, which is no file of its folder", shard)
		}
		if index.names[shard] == nil {
			index.names[shard] = make(map[string]bool)
		}
		index.names[shard][tensor] = true
	}
	return index, index.parseTotal(object["metadata"])
}

// parseTotal reads metadata.total_size, which some versions write with a decimal point.
func (index *shardIndex) parseTotal(raw json.RawMessage) error {
	var metadata map[string]json.RawMessage
	if json.Unmarshal(raw, &metadata) != nil || metadata["total_size"] == nil {
		return nil
	}
	text := strings.TrimSuffix(string(metadata["total_size"]), ".0")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return broken("its metadata.total_size is %.60q instead of a number of bytes", text)
	}
	index.totalSize = n
	return nil
}

// proveShard proves a shard and that it has the tensors of these names. It returns the bytes of all, and how many
// of them are counted more than once because tensors share a storage.
func (f folder) proveShard(shard string, names map[string]bool) (bytes, shared int64, err error) {
	if f.done[f.dir+shard] {
		return 0, 0, f.broken(shard, "two indexes name it")
	}
	err = f.prove(shard, func(_ *Checkpoint, tensors []Tensor) error {
		storages := make(map[string]bool)
		for _, t := range tensors {
			if !names[t.Name] {
				return broken("it has the tensor %.200q, which the index does not look for in it: index and shards are not of one save", t.Name)
			}
			bytes += t.Bytes
			if t.Storage != "" && storages[t.Storage] {
				shared += t.Bytes
			}
			storages[t.Storage] = true
		}
		if len(tensors) < len(names) {
			return broken("it has %d tensors, but the index looks for %d in it: index and shards are not of one save", len(tensors), len(names))
		}
		return nil
	})
	return bytes, shared, err
}
