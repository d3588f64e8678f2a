package checkpoint

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTensorListAsJSON(t *testing.T) {
	for _, tensors := range [][]Tensor{nil, {}, {{Name: `a " b \" { } \\`, DType: "float32", Shape: []int64{1, 2}, Bytes: 8, Storage: "0"}, {Name: "é\x01\u2028", Kind: "meta"}}} {
		want, err := json.MarshalIndent(tensors, "\t", "  ")
		require.NoError(t, err)
		got, err := json.MarshalIndent(ListTensors(tensors), "\t", "  ")
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))

		var read TensorList
		require.NoError(t, json.Unmarshal(want, &read))
		require.Equal(t, tensors == nil, read.IsNil())
		require.Equal(t, len(tensors), read.Len())
		for range 2 {
			all, err := read.All()
			require.NoError(t, err)
			require.Equal(t, tensors, all)
		}
	}
	for _, text := range []string{`{}`, `[1]`, `"x"`, `[{"name": 1}]`} {
		require.Error(t, json.Unmarshal([]byte(text), new(TensorList)), text)
	}
}

func TestTensorListEndsWithAnError(t *testing.T) {
	stop := errors.New("stop")
	visited := 0
	err := ListTensors(make([]Tensor, 3)).Each(func(Tensor) error {
		visited++
		return stop
	})
	require.ErrorIs(t, err, stop)
	require.Equal(t, 1, visited)
}
