package bundle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
)

// A manifest is written piece by piece, with the bytes that encoding/json writes for the whole.
func TestManifestIsWrittenAsJSONWouldBe(t *testing.T) {
	tensors := []checkpoint.Tensor{
		{Name: "a\n      \"tensors\": []", DType: "float32", Shape: []int64{2, 3}, Bytes: 24, Storage: "0"},
		{Name: "<é>", DType: "?", Kind: "sparse"},
		{Name: "scalar", Shape: []int64{}},
	}
	evil := json.RawMessage(`{"members": [], "x": {"members": [], "tensors": [], "y": {"tensors": []}}, "z": "\n  \"members\": []"}`)
	source := &Source{Path: "/p", ModTime: time.Unix(1, 0).UTC(), Files: []SourceFile{{Path: "f"}}}
	for name, m := range map[string]Manifest{
		"nothing":    {},
		"no members": {Members: []Member{}, Params: evil, Notes: []string{}},
		"members": {Params: evil, Captures: Captures{"tensors": "[]", "members": "[]"}, Members: []Member{
			{Role: "none"}, {Role: "empty", Tensors: checkpoint.ListTensors([]checkpoint.Tensor{}), Metrics: Metrics{"tensors": 1}},
			{Role: "some", Digest: Digest{Name: "members"}, Tensors: checkpoint.ListTensors(tensors), Source: source, Files: []Digest{{Name: "tensors"}}},
			{Role: "one", Tensors: checkpoint.ListTensors(tensors[:1]), Evidence: &Evidence{Quiet: "1s"}},
		}},
	} {
		want, err := json.MarshalIndent(m, "", "  ")
		require.NoError(t, err, name)
		var got bytes.Buffer
		w := bufio.NewWriter(&got)
		require.NoError(t, m.write(w), name)
		require.NoError(t, w.Flush())
		require.Equal(t, string(want)+"\n", got.String(), name)
	}
}
