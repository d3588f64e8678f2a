package checkpoint

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

func FuzzTable(f *testing.F) {
	index := fixtureTree(f, "savedmodel").at(f, "variables/variables.index").data
	f.Add(index)
	f.Add(index[len(index)-tableFooter:])
	f.Fuzz(func(t *testing.T, data []byte) {
		shards, entries, err := parseBundle(data)
		if err != nil {
			require.Equal(t, "broken", verdict(t, err))
			return
		}
		for _, e := range entries {
			require.Less(t, e.shard, shards)
			require.GreaterOrEqual(t, e.offset+e.size, int64(0))
		}
	})
}

// The blocks behind the checksums, which fuzzing does not get past.
func FuzzTableBlock(f *testing.F) {
	f.Add([]byte("\x00\x01\x02keab\x01\x01\x01yc\x00\x00\x00\x00\x01\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x02\x08\x01\x00\x00\x00\x00\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, block []byte) {
		entries, err := blockEntries(block, 1<<16)
		if err != nil {
			require.Equal(t, "broken", verdict(t, err))
			return
		}
		for _, e := range entries {
			var entry bundleEntry
			if entry.parse(e.value) == nil {
				require.LessOrEqual(t, len(entry.shape), maxDimensions)
			}
			_, _ = bundleShards(e.value)
		}
	})
}

func FuzzWalkMessage(f *testing.F) {
	f.Add(fixtureTree(f, "savedmodel").at(f, savedModelFile).data)
	f.Add(fixtureTree(f, "savedmodel").at(f, fingerprintFile).data)
	f.Fuzz(func(t *testing.T, data []byte) {
		walked := walkMessage(bytes.NewReader(data), int64(len(data)))
		inMemory := message(data).each(func(field) error { return nil })
		require.Equal(t, inMemory == nil, walked == nil, "%v, %v", walked, inMemory)
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(fixtureTree(f, "orbax").at(f, ocdbtManifest).data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := checkManifest(data); err != nil {
			require.Equal(t, "broken", verdict(t, err))
		}
	})
}

func FuzzShardIndex(f *testing.F) {
	f.Add(fixtureTree(f, "sharded").at(f, "model.safetensors.index.json").data)
	f.Add([]byte(`{"metadata": {"total_size": 12.0}, "weight_map": {"a": "b"}}`))
	f.Add([]byte(`{"metadata": {"total_size": NaN}, "weight_map": {"a": ".."}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var object map[string]json.RawMessage
		if err := parseJSON(data, &object); err != nil {
			require.Equal(t, "broken", verdict(t, err))
			return
		}
		index, err := parseIndex(object)
		if err != nil {
			require.Equal(t, "broken", verdict(t, err))
			return
		}
		for shard := range index.names {
			require.NotContains(t, shard, "/")
			require.NotEqual(t, "..", shard)
		}
	})
}

func FuzzWithoutNaN(f *testing.F) {
	f.Add([]byte(`{"loss": NaN, "a\"NaN": "NaN", "x": [-Infinity, Infinity]}`))
	f.Add([]byte(`"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if json.Valid(data) {
			require.Equal(t, string(data), string(withoutNaN(data)))
		}
	})
}

func FuzzDCPMetadata(f *testing.F) {
	f.Add(fixtureTree(f, "dcp").at(f, metadataName).data)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := pickle.Decode(data)
		if err != nil {
			return
		}
		m, err := parseDCP(p.Value)
		if err != nil {
			require.Equal(t, "broken", verdict(t, err))
			return
		}
		m.tensors()
		for _, item := range m.items {
			require.NotContains(t, "/"+item.file+"/", "/../")
			require.GreaterOrEqual(t, min(item.offset, item.length), int64(0))
		}
	})
}

func FuzzOpenTree(f *testing.F) {
	for i, name := range treeFixtures {
		m := fixtureTree(f, name)
		for j, file := range m.files {
			if len(file.data) < 4096 {
				f.Add(uint8(i), uint8(j), file.data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, fixture, file uint8, data []byte) {
		m := fixtureTree(t, treeFixtures[int(fixture)%len(treeFixtures)])
		m.files[int(file)%len(m.files)].data = data
		_, err := m.prove(t)
		verdict(t, err)
	})
}
