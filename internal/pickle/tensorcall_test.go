package pickle

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tensorObject is the call that torch writes for a tensor, as an object.
func tensorObject(key string, shape ...any) *Object {
	id := &PersistentID{ID: &Tuple{Items: []any{"storage", &Global{"torch", "FloatStorage"}, key, "cpu", int64(4)}}}
	return &Object{Class: &Global{"torch._utils", "_rebuild_tensor_v2"}, Args: []any{id, int64(0), &Tuple{Items: shape}, &Tuple{Items: []any{int64(1)}},
		false, &Object{Class: &Global{"collections", "OrderedDict"}}}}
}

func TestTensorsAreKeptSmall(t *testing.T) {
	want, err := Encode(NewDict("a", tensorObject("0", int64(4)), "b", tensorObject("1", int64(4)), "c", tensorObject("2", int64(2), int64(2))))
	require.NoError(t, err)
	p, err := Decode(want)
	require.NoError(t, err)
	d := p.Value.(*Dict)
	calls := map[string]*TensorCall{}
	for k, v := range d.All() {
		require.IsType(t, &TensorCall{}, v)
		require.True(t, IsSingle(v))
		calls[k.(string)] = v.(*TensorCall)
	}
	require.Same(t, calls["a"].tensorForm, calls["b"].tensorForm)
	class, key, elements := calls["b"].Storage()
	require.Equal(t, Global{"torch", "FloatStorage"}, *class)
	require.Equal(t, "1", key)
	require.Equal(t, int64(4), elements)
	_, shape, _ := calls["c"].View()
	require.Equal(t, []any{int64(2), int64(2)}, shape.Items)
	got, err := Encode(p.Value)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// What is not exactly that call stays an object, and what the pickle does to it afterwards is not lost.
func TestTensorsThatAreMoreThanTheirCall(t *testing.T) {
	const (
		function = "ctorch._utils\n_rebuild_tensor_v2\n"
		id       = "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
		rest     = "K\x00K\x04\x85K\x01\x85\x89"
		hooks    = "ccollections\nOrderedDict\n)R"
	)
	tensor := func(p string) any {
		t.Helper()
		read, err := Decode([]byte("\x80\x02" + p + "."))
		require.NoError(t, err)
		return read.Value
	}
	require.IsType(t, &TensorCall{}, tensor(function+"("+id+rest+hooks+"tR"))
	for name, p := range map[string]string{
		"hooks that come again":    function + "(" + id + rest + hooks + "q\x00tRh\x00\x86",
		"hooks with an entry":      function + "(" + id + rest + hooks + "NNstR\x85",
		"storage that comes again": function + "(" + id + "q\x00" + rest + hooks + "tRh\x00\x86",
		"arguments doubled":        function + "(" + id + rest + hooks + "t2q\x000R\x85",
		"another function":         "cos\nsystem\n(" + id + rest + hooks + "tR\x85",
		"seven arguments":          function + "(" + id + rest + hooks + "NtR\x85",
		"a shape of text":          function + "(" + id + "K\x00X\x01\x00\x00\x00a\x85K\x01\x85\x89" + hooks + "tR\x85",
		"made by NEWOBJ":           function + "(" + id + rest + hooks + "t\x81\x85",
	} {
		require.IsType(t, &Object{}, tensor(p).(*Tuple).Items[0], name)
	}
	for name, p := range map[string]string{
		"state":          function + "(" + id + rest + hooks + "tRNb",
		"item":           function + "(" + id + rest + hooks + "tRNcos\nsystem\ns",
		"appended":       function + "(" + id + rest + hooks + "tRNa",
		"state by a way": function + "(" + id + rest + hooks + "tRq\x00Nb0h\x00",
	} {
		c, ok := tensor(p).(*TensorCall)
		require.True(t, ok, name)
		require.True(t, c.Changed(), name)
		o := c.Object()
		require.True(t, o.Built || o.Items != nil || o.Appended != nil, name)
		require.Same(t, o, c.Object(), name)
	}
}

// Tensors that the pickle changes take the memory of objects, and are counted as such.
func TestChangedTensorsAreCounted(t *testing.T) {
	begin := "\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x000ctorch\nFloatStorage\nq\x010ccollections\nOrderedDict\nq\x020" +
		"X\x07\x00\x00\x00storageq\x030X\x01\x00\x00\x000q\x040X\x03\x00\x00\x00cpuq\x050"
	tensor := "h\x00((h\x03h\x01h\x04h\x05K\x04tQK\x00K\x04\x85K\x01\x85\x89h\x02)RtR"
	many := func(thousands int, tensor string) string {
		return begin + "]" + strings.Repeat("("+strings.Repeat(tensor, 1000)+"e", thousands) + "."
	}
	p, err := Decode([]byte(many(1, tensor)))
	require.NoError(t, err)
	require.IsType(t, &TensorCall{}, p.Value.(*List).Items[0])
	_, err = Decode([]byte(many(450, tensor+"Nb")))
	require.ErrorContains(t, err, "need more memory")
}

func TestWhatComesAgainIsNotSingle(t *testing.T) {
	for p, single := range map[string]bool{
		"](]]e.": true, "](]q\x00h\x00e.": false, "](]2e.": false, "](}q\x05e.": true, "](\x8fq\x05e.": true, "](K\x01\x85K\x01\x85e.": false, "](N\x85e.": true,
	} {
		read, err := Decode([]byte(p))
		require.NoError(t, err)
		require.Equal(t, single, IsSingle(read.Value.(*List).Items[0]), "%q", p)
	}
	require.False(t, IsSingle(&List{}))
}

// A surrogate is text for one opcode and not for another, though the bytes are the same.
func TestKeptWordsAreTextForEveryOpcode(t *testing.T) {
	_, err := Decode([]byte("X\x03\x00\x00\x00\xed\xa0\x80U\x03\xed\xa0\x80\x86."))
	require.ErrorContains(t, err, "not UTF-8")
}

func TestDictsOfManyKeys(t *testing.T) {
	d := &Dict{}
	for i := range 10_000 {
		d.Set(fmt.Sprint(i%5_000), int64(i))
	}
	require.Equal(t, 5_000, d.Len())
	for i := range 5_000 {
		v, ok := d.Get(fmt.Sprint(i))
		require.True(t, ok)
		require.Equal(t, int64(5_000+i), v)
	}
	require.False(t, d.Has("5000"))
}

func TestTooManyNames(t *testing.T) {
	var b strings.Builder
	for i := range MaxImports + 1 {
		fmt.Fprintf(&b, "cm\nn%d\n0", i)
	}
	_, err := Decode([]byte(b.String() + "N."))
	require.ErrorContains(t, err, "different names are imported")
}
