package pickle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// specimen is a line of testdata/corpus.jsonl: a pickle, and what CPython made of it.
type specimen struct {
	Name    string
	Pickle  []byte
	Imports []string // "module\nname"; nil when CPython's own tools cannot walk the pickle
	Value   string   // of a plain value
	Error   string   // the type of CPython's exception
}

func corpus(t testing.TB) []specimen {
	t.Helper()
	f, err := os.Open("testdata/corpus.jsonl")
	require.NoError(t, err)
	defer f.Close()
	var all []specimen
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var s specimen
		require.NoError(t, json.Unmarshal(lines.Bytes(), &s))
		all = append(all, s)
	}
	return all
}

// stricter are pickles that one of CPython's two unpicklers reads, and that no pickler writes.
var stricter = map[string]string{
	"by hand: int octal":              "no int",
	"by hand: int hex":                "no int",
	"by hand: int blank":              "no int",
	"by hand: int underscore":         "no int",
	"by hand: int plus":               "no int",
	"by hand: reduce without a tuple": "not a tuple",
}

func TestCorpusAsCPythonReadsIt(t *testing.T) {
	all := corpus(t)
	require.Greater(t, len(all), 300)
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			p, err := Decode(s.Pickle)
			if reason, ok := stricter[s.Name]; ok {
				require.ErrorContains(t, err, reason)
				return
			}
			if err != nil {
				require.NotEmpty(t, s.Error, "CPython reads it: %v", err)
				return
			}
			if s.Error != "" {
				require.True(t, holdsPersistentID(p.Value), "CPython refuses it with %s, we read %s", s.Error, Kind(p.Value))
			}
			if s.Imports != nil {
				var imports []string
				for _, i := range p.Imports {
					imports = append(imports, i.Module+"\n"+i.Name)
				}
				require.Equal(t, s.Imports, append([]string{}, imports...))
			}
			if s.Value != "" {
				require.Equal(t, s.Value, corpusText(p.Value))
			}
		})
	}
}

func holdsPersistentID(v any) bool {
	all := NewWalk(v)
	for v, ok := all.Next(); ok; v, ok = all.Next() {
		if _, found := v.(*PersistentID); found {
			return true
		}
		all.Into(v)
	}
	return false
}

// corpusText is the form that testdata/generate.py gives a value.
func corpusText(v any) string {
	text := valueText(v)
	if len(text) < 100 {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func valueText(v any) string {
	switch t := v.(type) {
	case nil:
		return "None"
	case bool:
		return map[bool]string{true: "True", false: "False"}[t]
	case int64:
		return "i" + big.NewInt(t).Text(16)
	case *big.Int:
		return "i" + t.Text(16)
	case float64:
		if math.IsNaN(t) {
			return "nan"
		}
		return fmt.Sprintf("f%016x", math.Float64bits(t))
	case string:
		return "s" + hex.EncodeToString([]byte(t))
	case Bytes:
		return "b" + hex.EncodeToString(t)
	case *List:
		return "[" + strings.Join(texts(t.Items), ",") + "]"
	case *Tuple:
		return "(" + strings.Join(texts(t.Items), ",") + ")"
	case *Set:
		return "{" + strings.Join(slices.Sorted(slices.Values(texts(t.Items))), ",") + "}"
	case *Dict:
		var pairs []string
		for k, x := range t.All() {
			pairs = append(pairs, valueText(k)+":"+valueText(x))
		}
		return "<" + strings.Join(pairs, ",") + ">"
	}
	return Kind(v)
}

func texts(items []any) []string {
	all := make([]string, len(items))
	for i, v := range items {
		all[i] = valueText(v)
	}
	return all
}

// A pickle is read in pieces: where they end makes no difference.
func TestDecodeReadsInPieces(t *testing.T) {
	for _, s := range corpus(t) {
		whole, wantErr := Decode(s.Pickle)
		for _, window := range []int{1, 3, 64} {
			got, err := decode(bytes.NewReader(s.Pickle), int64(len(s.Pickle)), window)
			require.Equal(t, wantErr, err, s.Name)
			require.Equal(t, whole.Imports, got.Imports, s.Name)
			require.Equal(t, whole.Size, got.Size, s.Name)
			require.Equal(t, corpusText(whole.Value), corpusText(got.Value), s.Name)
		}
	}
}

// What cannot be read is no fault of the pickle.
func TestDecodeTellsErrorsOfReading(t *testing.T) {
	_, err := DecodeFrom(bytes.NewReader([]byte("\x80\x02]")), 5)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NotErrorAs(t, err, new(*Error))
	_, err = DecodeFrom(bytes.NewReader(nil), MaxSize+1)
	require.ErrorAs(t, err, new(*Error))
}
