package checkpoint_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// BenchmarkManyTensors opens a state_dict of 100,000 tensors, lists them, and lays out the file with nothing else in
// it. live-MiB is what the checkpoint, the list and the payload hold at the end.
func BenchmarkManyTensors(b *testing.B) {
	const tensors = 100_000
	c := torchfile.Checkpoint{Moments: []torchfile.Tensor{torchfile.Random("m", 4, 0)}}
	for i := range tensors {
		c.State = append(c.State, torchfile.Tensor{Name: fmt.Sprintf("encoder.layers.%d.attention.weight", i), Data: []byte{1, 2, 3, 4}})
	}
	data, err := c.Bytes()
	require.NoError(b, err)
	c = torchfile.Checkpoint{}
	before := heap()
	b.ReportAllocs()
	for b.Loop() {
		opened, err := checkpoint.Open(bytes.NewReader(data), int64(len(data)))
		require.NoError(b, err)
		state, err := opened.StateDict("")
		require.NoError(b, err)
		listed, err := opened.ListIn(state.Value)
		require.NoError(b, err)
		require.Equal(b, tensors, listed.Len())
		payload, err := opened.Extract(state)
		require.NoError(b, err)
		b.StopTimer()
		b.ReportMetric(float64(heap()-before)/(1<<20), "live-MiB")
		b.StartTimer()
		runtime.KeepAlive([]any{opened, listed, payload})
	}
}

// heap returns the bytes that are in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
