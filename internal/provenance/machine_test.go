package provenance

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKernel(t *testing.T) {
	require.True(t, strings.HasPrefix(Kernel(), "Linux "), Kernel())
	if runtime.GOARCH == "amd64" {
		require.True(t, strings.HasSuffix(Kernel(), " x86_64"), Kernel())
	}
}

func TestGPUs(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"sys/bus/pci/devices/0000:3b:00.0/class":           "0x030200\n",
		"sys/bus/pci/devices/0000:3b:00.0/vendor":          "0x10de\n",
		"sys/bus/pci/devices/0000:3b:00.0/device":          "0x20b0\n",
		"sys/module/nvidia/version":                        "535.129.03\n",
		"proc/driver/nvidia/gpus/0000:3b:00.0/information": "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 183\nGPU UUID: \t GPU-11111111-2222-3333-4444-555555555555\n",
		"sys/bus/pci/devices/0000:18:00.0/class":           "0x030200\n",
		"sys/bus/pci/devices/0000:18:00.0/vendor":          "0x10de\n",
		"sys/bus/pci/devices/0000:18:00.0/device":          "0x20b0\n",
		"proc/driver/nvidia/gpus/0000:18:00.0/information": "Model: \t A\x1b[31m\xff" + strings.Repeat("x", 4000) + "\nGPU UUID: \t GPU-????????-????\n",
		"sys/bus/pci/devices/0000:83:00.0/class":           "0x120000\n",
		"sys/bus/pci/devices/0000:83:00.0/vendor":          "0x1002\n",
		"sys/bus/pci/devices/0000:83:00.0/device":          "0x74a1\n",
		"sys/bus/pci/devices/0000:83:00.0/product_name":    "AMD Instinct MI300X\n",
		"sys/bus/pci/devices/0000:02:00.0/class":           "0x030000\n", // a server's remote console
		"sys/bus/pci/devices/0000:02:00.0/vendor":          "0x1a03\n",
		"sys/bus/pci/devices/0000:00:1f.0/class":           "0x060100\n",
	} {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	for device, driver := range map[string]string{"0000:3b:00.0": "nvidia", "0000:83:00.0": "amdgpu", "0000:02:00.0": "ast"} {
		require.NoError(t, os.Symlink("../../../../bus/pci/drivers/"+driver, filepath.Join(root, "sys/bus/pci/devices", device, "driver")))
	}
	found := GPUs(root)
	require.Len(t, found, 3)
	require.Equal(t, GPU{Bus: "0000:18:00.0", Name: Clip("A\x1b[31m\xff" + strings.Repeat("x", 4000)), IDs: "10de:20b0"}, found[0])
	require.Equal(t, GPU{Bus: "0000:3b:00.0", Name: "NVIDIA A100-SXM4-40GB", IDs: "10de:20b0", Driver: "nvidia", Version: "535.129.03",
		UUID: "GPU-11111111-2222-3333-4444-555555555555"}, found[1])
	require.Equal(t, GPU{Bus: "0000:83:00.0", Name: "AMD Instinct MI300X", IDs: "1002:74a1", Driver: "amdgpu"}, found[2])
	require.Empty(t, GPUs(t.TempDir()))
	GPUs("/") // whatever this machine has
}

func TestClip(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü":                       "plain ü",
		"a\nb\tc\x00\x7f\u0085\u2028":   "a?b?c????",
		"\xff":                          "?",
		strings.Repeat("ü", maxText):    strings.Repeat("ü", maxText/2) + "…",
		"x" + strings.Repeat("ü", 1000): "x" + strings.Repeat("ü", (maxText-1)/2) + "?…",
	} {
		require.Equal(t, want, Clip(in))
	}
}
