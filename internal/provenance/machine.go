package provenance

import (
	"bytes"
	"cmp"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// GPU is a graphics or compute device of the machine, as the kernel shows it; no program such as nvidia-smi is run, and the device is
// not touched.
type GPU struct {
	Bus     string `json:"bus" doc:"PCI address, as in nvidia-smi and lspci"`
	Name    string `json:"name,omitempty" doc:"what the driver calls it"`
	IDs     string `json:"ids" doc:"PCI vendor and device"`
	Driver  string `json:"driver,omitempty" doc:"kernel module that drives it"`
	Version string `json:"driver_version,omitempty" doc:"version of that module"`
	UUID    string `json:"uuid,omitempty" doc:"the driver's name for this very device, as in CUDA_VISIBLE_DEVICES"`
}

// maxGPUs is how many devices are recorded.
const maxGPUs = 64

// computes are drivers of devices that can do more than show pictures: the graphics of a server's remote console cannot.
var computes = []string{"nvidia", "nouveau", "amdgpu", "radeon", "i915", "xe", "habanalabs"}

// Kernel returns the kernel's name, release and machine, such as "Linux 6.1.0-18-amd64 x86_64".
func Kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	text := func(field []byte) string {
		before, _, _ := bytes.Cut(field, []byte{0})
		return string(before)
	}
	return Clip(text(u.Sysname[:]) + " " + text(u.Release[:]) + " " + text(u.Machine[:]))
}

// GPUs returns the devices that the kernel shows below root, which is "/" for this machine's.
func GPUs(root string) []GPU {
	var found []GPU
	devices := filepath.Join(root, "sys/bus/pci/devices")
	entries, err := os.ReadDir(devices)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if g, ok := gpu(root, filepath.Join(devices, entry.Name())); ok && len(found) < maxGPUs {
			found = append(found, g)
		}
	}
	slices.SortFunc(found, func(a, b GPU) int { return cmp.Compare(a.Bus, b.Bus) })
	return found
}

// gpu describes a PCI device, false when it is of another class. The classes are those of pci.ids: 03 display controllers, of which
// 00 are for screens, and 12 accelerators.
func gpu(root, device string) (GPU, bool) {
	class := attribute(device, "class")
	if !strings.HasPrefix(class, "0x03") && !strings.HasPrefix(class, "0x12") {
		return GPU{}, false
	}
	g := GPU{Bus: Clip(filepath.Base(device)), IDs: Clip(strings.TrimPrefix(attribute(device, "vendor"), "0x") + ":" + strings.TrimPrefix(attribute(device, "device"), "0x"))}
	if link, err := os.Readlink(filepath.Join(device, "driver")); err == nil {
		g.Driver = Clip(path.Base(link))
		g.Version = Clip(attribute(filepath.Join(root, "sys/module", path.Base(link)), "version"))
	}
	if strings.HasPrefix(class, "0x0300") && !slices.Contains(computes, g.Driver) {
		return GPU{}, false
	}
	g.Name = Clip(attribute(device, "product_name")) // amdgpu
	information := attribute(filepath.Join(root, "proc/driver/nvidia/gpus", filepath.Base(device)), "information")
	for line := range strings.Lines(information) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); {
		case key == "Model":
			g.Name = Clip(value)
		case key == "GPU UUID" && !strings.Contains(value, "?"): // question marks until it was used
			g.UUID = Clip(value)
		}
	}
	return g, true
}

// attribute reads a small file of the kernel's, "" when it is not there.
func attribute(dir, name string) string {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 8192))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
