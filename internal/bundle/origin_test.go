package bundle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
)

// written returns the manifest of a bundle with a file of that many tensors, a directory and a sentinel, whose names need escapes in JSON.
func written(t testing.TB, tensors int) (*Manifest, []byte) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	m := &Manifest{Schema: Schema, Tool: `<"bundlewatch">`, Watch: "w", Key: "läufe & co/1", Captures: Captures{"key": "x", "Members": "y"},
		Params: json.RawMessage(`{"key": [1, -2.5e+10, 0, 0.25, true, false, null, "é\\\t", {}, [], {"key": {"Key": []}}]}`),
		Members: []Member{
			{Role: "a", Payload: PayloadVerbatim, Fingerprint: strings.Repeat("0123456789abcdef", 4), Metrics: Metrics{"loss": -1e-300},
				Source:  &Source{Path: "/läufe & co/<1>\n\x01.ckpt", Size: 1 << 62, ModTime: at, ChTime: at.In(time.FixedZone("", 5400)), Device: 1 << 63, Inode: 7, UID: 1<<32 - 1, Links: 2},
				Tensors: checkpoint.ListTensors(slices.Repeat([]checkpoint.Tensor{{Name: "w.\\", DType: "float32", Shape: []int64{2, 3}, Bytes: 24}}, tensors))},
			{Role: "b", Source: &Source{Path: "/d", Files: []SourceFile{{Path: "x/1", Size: 1, ModTime: at, ChTime: at, Inode: 1}, {Path: "\u2028", Inode: 2}}}},
			{Role: "c", Payload: PayloadSentinel},
		}}
	data, err := json.MarshalIndent(m, "", "  ")
	require.NoError(t, err)
	return m, append(data, '\n')
}

func TestOriginOfWhatIsWritten(t *testing.T) {
	m, data := written(t, 1)
	o, ok := scanOrigin(data)
	require.True(t, ok)
	require.Len(t, o.Members, 3)
	require.Nil(t, o.Members[2].Source)
	require.Equal(t, "/läufe & co/<1>\n\x01.ckpt", o.Members[0].Source.Path)
	require.Equal(t, fullOrigin(t, data), o)
	require.Equal(t, m.Key, o.Key)
	require.True(t, o.Members[0].Source.ChTime.Equal(m.Members[0].Source.ChTime))
}

// Every manifest that is cut off, or has a byte that does not belong there, is read as encoding/json reads it.
func TestOriginOfDamagedManifests(t *testing.T) {
	_, data := written(t, 1)
	for i := range data {
		sameOrigin(t, data[:i])
		for _, c := range "\x00 \"\\{}[],:x0-.e\xff" {
			damaged := append([]byte(nil), data...)
			damaged[i] = byte(c)
			sameOrigin(t, damaged)
		}
	}
}

func TestOriginOfUnusualManifests(t *testing.T) {
	for _, text := range unusual {
		sameOrigin(t, []byte(text))
	}
}

var unusual = []string{
	``, ` `, `null`, `[]`, `"key"`, `{}`, `{} {}`, "{}\x00", "{}\n\t\r ", "\ufeff{}", `{,}`, `{"key"}`, `{"key":}`, `{"key":"a",}`,
	`{"key":"a","key":"b"}`, `{"KEY":"a"}`, `{"key":"a","Key":"b"}`, `{"\u006bey":"a"}`, "{\"\u212aey\":\"a\"}", `{"member\u017f":[]}`, `{"memberſ":[{}]}`,
	`{"key":null}`, `{"key":1}`, `{"members":null}`, `{"members":{}}`, `{"members":[null]}`, `{"members":[]}`, `{"members":[{},]}`,
	`{"members":[{"source":null}]}`, `{"members":[{"source":{}}]}`, `{"members":[{"source":[]}]}`, `{"members":[{"source":{"files":[]}}]}`,
	`{"members":[{"source":{"size":1.0}}]}`, `{"members":[{"source":{"size":-0}}]}`, `{"members":[{"source":{"size":01}}]}`,
	`{"members":[{"source":{"size":+1}}]}`, `{"members":[{"source":{"size":9223372036854775808}}]}`, `{"members":[{"source":{"size":1e2}}]}`,
	`{"members":[{"source":{"inode":-1}}]}`, `{"members":[{"source":{"inode":-0}}]}`, `{"members":[{"source":{"uid":4294967296}}]}`,
	`{"members":[{"source":{"mtime":"2026-02-30T00:00:00Z"}}]}`, `{"members":[{"source":{"mtime":"2026-01-01T00:00:00+24:00"}}]}`,
	`{"members":[{"source":{"mtime":"\u0032026-01-01T00:00:00Z"}}]}`, `{"members":[{"source":{"mtime":null}}]}`, `{"members":[{"source":{"mtime":1}}]}`,
	`{"key":"\ud800"}`, `{"key":"\ud83d\ude00"}`, "{\"key\":\"\xff\"}", "{\"\xff\":1}", "{\"key\":\"a\nb\"}", `{"key":"\x"}`, `{"key":"\u12g4"}`, `{"key":"\u12`, `{"key":"\`,
	`{"x":tru}`, `{"x":nul}`, `{"x":-}`, `{"x":1.}`, `{"x":.1}`, `{"x":1e}`, `{"x":1e+}`, `{"x":00}`, `{"x":1-2}`, `{"x":NaN}`, `{"x":'a'}`, `{"x":1}}`,
	`{"x":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}`, `{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
	`{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, `{"x":` + strings.Repeat(`{"y":`, 200) + "1" + strings.Repeat("}", 200) + `}`,
}

// A file is read as if the one before it had never been there.
func TestReadOriginAfterAnother(t *testing.T) {
	long, data := written(t, 1)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
		return filepath.Join(dir, name)
	}
	first, short, cut := write("first", data), write("short", []byte(`{"key":"k"}`)), write("cut", data[:len(data)/2])
	for range 3 {
		o, err := ReadOrigin(first)
		require.NoError(t, err)
		other, err := ReadOrigin(short)
		require.NoError(t, err)
		require.Equal(t, &Origin{Key: "k"}, other)
		_, err = ReadOrigin(cut)
		require.EqualError(t, err, `read manifest "`+cut+`": unexpected end of JSON input`)
		require.Equal(t, long.Key, o.Key)
		require.Equal(t, fullOrigin(t, data), o)
	}
	many := write("many", []byte(`{"x":[0`+strings.Repeat(",0", maxManifestCommas+1)+`]}`))
	_, err := ReadOrigin(many)
	require.ErrorContains(t, err, "commas, more than")
}

func FuzzOrigin(f *testing.F) {
	_, data := written(f, 1)
	f.Add(data)
	for _, text := range unusual {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	f.Add([]byte(`{"key":"k","members":[{"role":"a","source":{"path":"p","files":[{"size":-1}]}}],"x":[{},1.5e-3,"\u00e4",null]}`))
	f.Fuzz(func(t *testing.T, data []byte) { sameOrigin(t, data) })
}

// sameOrigin holds an origin and its error against those of encoding/json.
func sameOrigin(t *testing.T, data []byte) {
	t.Helper()
	want := &Origin{}
	wantErr := json.Unmarshal(data, want)
	o, err := parseOrigin(data)
	if wantErr != nil {
		require.EqualError(t, err, wantErr.Error(), "%q", data)
		return
	}
	require.NoError(t, err, "%q", data)
	require.Equal(t, want, o, "%q", data)
}

func fullOrigin(t *testing.T, data []byte) *Origin {
	t.Helper()
	o := &Origin{}
	require.NoError(t, json.Unmarshal(data, o))
	return o
}

func BenchmarkReadOrigin(b *testing.B) {
	_, data := written(b, 24)
	path := filepath.Join(b.TempDir(), ManifestName)
	require.NoError(b, os.WriteFile(path, data, 0o644))
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := ReadOrigin(path); err != nil {
			b.Fatal(err)
		}
	}
}
