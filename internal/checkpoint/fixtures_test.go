package checkpoint

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sharedFixtures is the folder of checkpoints that is kept beside the repository.
func sharedFixtures(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("BUNDLEWATCH_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	dir = filepath.Join(dir, "fixtures")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no shared fixtures at %s (set BUNDLEWATCH_SHARED)", dir)
	}
	return dir
}

func openBytes(t testing.TB, data []byte) *Checkpoint {
	t.Helper()
	c, err := Open(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	return c
}

func flatten(t testing.TB, p *Payload) []byte {
	t.Helper()
	var out []byte
	for s := range p.Segments() {
		if s.Literal != nil {
			out = append(out, s.Literal...)
			continue
		}
		b := make([]byte, s.Size)
		_, err := p.Source.ReadAt(b, s.Offset)
		require.NoError(t, err)
		out = append(out, b...)
	}
	require.EqualValues(t, p.Size, len(out))
	return out
}

type expectedTensor struct {
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
}

// What torch itself sees in each fixture is what we list, in the source and in what is extracted.
func TestTensorsAsTorchSeesThem(t *testing.T) {
	dir := sharedFixtures(t)
	raw, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	require.NoError(t, err)
	var expected struct {
		Files map[string]map[string]expectedTensor `json:"files"`
	}
	require.NoError(t, json.Unmarshal(raw, &expected))
	for file, tensors := range expected.Files {
		if strings.Contains(file, "whole_module") {
			continue
		}
		t.Run(file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			c := openBytes(t, data)
			selection := ""
			if strings.Contains(file, "nested") {
				selection = "model"
			}
			s, err := c.StateDict(selection)
			require.NoError(t, err)
			require.Equal(t, tensors, byName(s.Tensors()))
			require.Empty(t, ForeignIn(s.Value))

			p, err := c.Extract(s)
			require.NoError(t, err)
			out := flatten(t, p)
			again := openBytes(t, out)
			s2, err := again.StateDict("")
			require.NoError(t, err)
			require.Equal(t, tensors, byName(s2.Tensors()))

			whole, err := c.Verbatim()
			require.NoError(t, err)
			require.Equal(t, data, flatten(t, whole))
		})
	}
}

func byName(tensors []Tensor) map[string]expectedTensor {
	m := make(map[string]expectedTensor)
	for _, t := range tensors {
		shape := t.Shape
		if shape == nil {
			shape = []int64{}
		}
		m[t.Name] = expectedTensor{t.DType, shape}
	}
	return m
}

func TestHostileFilesAreRefusedWithTheReason(t *testing.T) {
	dir := filepath.Join(sharedFixtures(t), "hostile")
	for file, reason := range map[string]string{
		"os_system.pth": "", "eval_in_state_dict.pth": "__builtin__.eval", "stack_global.pth": "builtins.eval",
		"memo_global.pth": "posix.system", "inst.pth": "os.system", "obj.pth": "os.system", "truncated_after_call.pth": "posix.system",
		"deep.pth": "nested more than", "huge_string.pth": "are left", "memo_bomb.pth": "larger than the pickle", "empty.pth": "empty",
		"truncated_half.pth": "no end record", "truncated_last_byte.pth": "no end record", "zero_body.pth": "zero bytes",
		"zip_slip.pth": "could leave its folder", "deflated_bomb.pth": "compressed",
	} {
		t.Run(file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			c, err := Open(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				require.NotEmpty(t, reason, err)
				require.ErrorContains(t, err, reason)
				var b *Broken
				require.ErrorAs(t, err, &b)
				return
			}
			s, err := c.StateDict("")
			if reason == "" { // the call lies in the part that is dropped
				require.NoError(t, err)
				require.Empty(t, ForeignIn(s.Value))
				require.Equal(t, "posix.system", Names(Foreign(c.Imports)))
				return
			}
			if err == nil {
				require.Equal(t, reason, Names(ForeignIn(s.Value)))
			}
		})
	}
}

func TestCIStatistics(t *testing.T) {
	dir := sharedFixtures(t)
	data, err := os.ReadFile(filepath.Join(dir, "runs/pairs/run_20251017_104700/checkpoints/autoencoder-epoch=01.ckpt"))
	require.NoError(t, err)
	stats, err := openBytes(t, data).CIStatistics()
	require.NoError(t, err)
	got, err := stats.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"rms_input_scale":[0.012299999594688416,0.5],"mean_measured_intensity":[41.5]}`, string(got))
}
