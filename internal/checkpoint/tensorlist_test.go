package checkpoint

import (
	"encoding/json"
	"errors"
	"reflect"
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

// A tensor in a manifest is what encoding/json writes, also when it gets another field.
func TestIndentedTensors(t *testing.T) {
	texts := []string{"", "layers.0.weight", "a\"b\\c", "<&>", "\x00\x1f\x7f", "gewicht ü", "\u2028\u2029", "\xff\xfe", "?"}
	shapes := [][]int64{nil, {}, {0}, {3, 4}, {1 << 55, -1, 7}}
	var all []Tensor
	for i, text := range texts {
		all = append(all, Tensor{Name: text}, Tensor{Name: "x", DType: text, Storage: text, Kind: text, Bytes: int64(i) << 40})
	}
	for _, shape := range shapes {
		all = append(all, Tensor{Shape: shape})
	}
	full := Tensor{}
	for i := range reflect.TypeFor[Tensor]().NumField() {
		switch f := reflect.ValueOf(&full).Elem().Field(i); {
		case !f.CanSet():
		case f.Kind() == reflect.String:
			f.SetString("text")
		case f.Kind() == reflect.Int64:
			f.SetInt(1)
		case f.Kind() == reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		default:
			require.Fail(t, "a field of a kind that is not written", "%v", f.Type())
		}
	}
	for _, tensor := range append(all, full) {
		for _, prefix := range []string{"", "        "} {
			want, err := json.MarshalIndent(tensor, prefix, "  ")
			require.NoError(t, err)
			require.Equal(t, string(want), string(tensor.AppendIndented(nil, prefix)))
		}
	}
}
