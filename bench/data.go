package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// dataset is a pair of checkpoints.
type dataset struct {
	kind  string // also the name of its directory
	bytes int64  // of each file
}

const (
	bare      = "bare"      // state_dicts, of which everything travels
	lightning = "lightning" // with the state of Adam, which stays behind: two thirds
	small     = "small"     // state_dicts of 10,000 tensors
)

func (d dataset) describe() string {
	size := fmt.Sprintf("%d MiB", d.bytes>>20)
	if d.bytes >= 1<<30 {
		size = fmt.Sprintf("%d GiB", d.bytes>>30)
	}
	return fmt.Sprintf("2 x %s, %s", size, map[string]string{bare: "bare state_dicts", lightning: "Lightning with Adam's state",
		small: "state_dicts of 10,000 tensors"}[d.kind])
}

// sources are the paths of the files below the directory of the data set.
func (d dataset) sources() []string {
	return []string{d.kind + "/r1/a-1.ckpt", d.kind + "/r1/b-1.ckpt"}
}

// write writes the pair below dir, by torch itself where python3 has it.
func (d dataset) write(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, d.kind, "r1"), 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i, s := range d.sources() {
		// By a process of its own: the kernel counts the memory of who starts a command as the command's.
		out, err := exec.Command(self, "data", d.kind, fmt.Sprint(d.bytes), filepath.Join(dir, s), fmt.Sprint(1000*i)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("write %s: %w\n%s", s, err, out)
		}
	}
	return os.WriteFile(filepath.Join(dir, d.kind+".toml"), fmt.Appendf(nil, config, d.kind, "10ms"), 0o644)
}

const config = `[artifacts]
dir = "out"
[[watch]]
name = "w"
root = %q
settle = %q
[watch.members]
a = "{run...}/a-{epoch}.ckpt"
b = "{run...}/b-{epoch}.ckpt"
`

// torchScript writes a checkpoint as torch does: PATH KIND TENSORS BYTES SEED.
const torchScript = `
import sys, torch
path, kind, n, size, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
torch.manual_seed(seed)
tensors = {f"layers.{i}.weight": torch.randn(size // 4) for i in range(n)}
if kind == "lightning":
    names = list(tensors)
    state = {k: tensors[k] for k in names[:n // 3]}
    adam = {i: {"step": torch.tensor(1.0), "exp_avg": tensors[k]} for i, k in enumerate(names[n // 3:])}
    torch.save({"epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.6.0", "state_dict": state,
                "loops": {}, "callbacks": {}, "optimizer_states": [{"state": adam, "param_groups": []}], "lr_schedulers": []}, path)
else:
    torch.save(tensors, path)
`

// writeOne writes the file that the arguments KIND BYTES PATH SEED ask for.
func writeOne(args []string) error {
	var d dataset
	var seed uint64
	if _, err := fmt.Sscan(args[0]+" "+args[1]+" "+args[3], &d.kind, &d.bytes, &seed); err != nil {
		return err
	}
	return d.writeFile(args[2], seed)
}

func (d dataset) writeFile(path string, seed uint64) error {
	n := 24
	if d.kind == small {
		n = 10_000
	}
	size := int(d.bytes) / n &^ 63
	if python := os.Getenv("BENCH_PYTHON"); python != "" {
		out, err := exec.Command(python, "-c", torchScript, path, d.kind, fmt.Sprint(n), fmt.Sprint(size), fmt.Sprint(seed)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}
	var all []torchfile.Tensor
	for i := range n {
		all = append(all, torchfile.Random(fmt.Sprintf("layers.%d.weight", i), size, seed+uint64(i)))
	}
	if d.kind == lightning {
		return torchfile.Checkpoint{State: all[:n/3], Moments: all[n/3:]}.Save(path)
	}
	return torchfile.Checkpoint{State: all}.Save(path)
}
