package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The digests are those of torch's own bytes, element by element in the order of the indexes.
func TestTensorDigestIsTorchs(t *testing.T) {
	data, err := os.ReadFile("testdata/expected.json")
	require.NoError(t, err)
	var expected map[string]map[string]struct{ SHA256 string }
	require.NoError(t, json.Unmarshal(data, &expected))
	compared := 0
	for file, tensors := range expected {
		content, err := os.ReadFile(filepath.Join("testdata", file))
		require.NoError(t, err)
		c, err := Open(bytes.NewReader(content), int64(len(content)))
		require.NoError(t, err, file)
		all, err := c.AllTensors()
		require.NoError(t, err, file)
		for _, tensor := range all {
			got, err := c.TensorDigest(context.Background(), tensor)
			require.NoError(t, err, file)
			want, listed := tensors[tensor.Name]
			if !listed || want.SHA256 == "" || got == "" {
				continue
			}
			compared++
			require.Equal(t, want.SHA256, got, "%s: %s", file, tensor.Name)
		}
	}
	require.Greater(t, compared, 50)
}

func TestTensorDigestOfSafeTensors(t *testing.T) {
	content, err := os.ReadFile("testdata/plain.safetensors")
	require.NoError(t, err)
	c, err := Open(bytes.NewReader(content), int64(len(content)))
	require.NoError(t, err)
	all, err := c.AllTensors()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	before := make(map[string]string)
	for _, tensor := range all {
		before[tensor.Name], err = c.TensorDigest(context.Background(), tensor)
		require.NoError(t, err)
		require.Len(t, before[tensor.Name], 64)
	}
	content[len(content)-1] ^= 1
	changed := 0
	for _, tensor := range all {
		got, err := c.TensorDigest(context.Background(), tensor)
		require.NoError(t, err)
		if got != before[tensor.Name] {
			changed++
		}
	}
	require.Equal(t, 1, changed, "the last byte belongs to one tensor")
}

// What has elements beyond reason is not gathered one by one.
func TestTensorDigestIsBounded(t *testing.T) {
	c := &Checkpoint{source: bytes.NewReader(make([]byte, 8)), torch: &torchFile{}}
	c.torch.setBlobs(newBlobList([]blob{{record: "0", size: 8}}, ""))
	got, err := c.TensorDigest(context.Background(), Tensor{DType: "float32", Shape: []int64{1 << 50}, Bytes: 1 << 52, Storage: "0", stride: []int64{0}})
	require.NoError(t, err)
	require.Empty(t, got)
	for _, tensor := range []Tensor{
		{DType: "float32", Shape: []int64{}, Bytes: 4, Storage: "0"},
		{DType: "float32", Shape: []int64{0, 5}, Bytes: 0, Storage: "0", stride: []int64{7, 7}},
		{DType: "float32", Shape: []int64{2, 3}, Bytes: 24, Storage: "0", stride: []int64{0, 0}},
	} {
		got, err := c.TensorDigest(context.Background(), tensor)
		require.NoError(t, err)
		require.Len(t, got, 64)
	}
}
