package layout

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
)

// sample is what one file of a family holds.
type sample struct {
	format    checkpoint.Format
	weights   bool   // it has a model's weights, or is a model file of another framework
	signature string // equal for files with the same names, dtypes and shapes of tensors; "" when not known
	// plain tells that the weights are found without being told where.
	plain     bool
	selects   []string // entries that hold weights, the most likely first, when they are not found
	ptycho    bool     // it carries the configs of PtychoPINN
	foreign   string   // imports that bundlewatch refuses
	archive   bool     // a zip of several checkpoints, such as stable-baselines3's
	optimizer bool
	err       error
}

// read opens one file. Only its structure is read, not the tensors.
func read(root string, e entry) sample {
	if e.kind != "" {
		return sample{weights: true, plain: true, signature: "directory " + e.kind, format: checkpoint.Directory}
	}
	f, err := os.OpenFile(filepath.Join(root, e.path()), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return sample{err: err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("it is no regular file")
	}
	if err != nil {
		return sample{err: err}
	}
	c, err := checkpoint.Open(f, info.Size())
	if err != nil {
		return sample{err: err}
	}
	s := sample{format: c.Format}
	switch c.Format {
	case checkpoint.TorchZip, checkpoint.TorchLegacy:
		s.torch(c)
	case checkpoint.SafeTensors, checkpoint.GGUF, checkpoint.Keras:
		s.weights, s.plain = true, true
		s.sign(c)
	case checkpoint.HDF5:
		s.weights, s.plain = strings.HasSuffix(e.name, ".weights.h5") || likelyWeights(e.name), true
	case checkpoint.NPZ:
		s.weights, s.plain = likelyWeights(e.name), true
		s.sign(c)
	case checkpoint.Zip:
		s.archive = slices.ContainsFunc(c.Records(), func(r zipfile.Entry) bool { return strings.HasSuffix(r.Name, ".pth") })
		s.weights = s.archive
	}
	return s
}

func likelyWeights(name string) bool {
	lower := strings.ToLower(name)
	for _, word := range []string{"model", "weights", "ckpt", "checkpoint", "params", "epoch", "step"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}

func (s *sample) sign(c *checkpoint.Checkpoint) {
	if tensors, err := c.AllTensors(); err == nil {
		s.signature = signature(tensors)
	}
}

// signature identifies a model by the names, dtypes and shapes of its tensors.
func signature(tensors []checkpoint.Tensor) string {
	lines := make([]string, len(tensors))
	for i, t := range tensors {
		lines[i] = fmt.Sprintf("%s %s %v", strings.TrimPrefix(t.Name, "module."), t.DType, t.Shape)
	}
	slices.Sort(lines)
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(lines, "\n"))))
}

// choice is an entry of a checkpoint that holds weights.
type choice struct {
	key     string
	tensors []checkpoint.Tensor
	foreign string
}

// torch finds where the weights are.
func (s *sample) torch(c *checkpoint.Checkpoint) {
	if isOptimizer(c.Root) {
		s.optimizer = true
		return
	}
	choices := s.choices(c)
	found, err := c.StateDict("")
	if err == nil && found.Sentinel == "" && (found.Path != "" || len(choices) == 0 || found.Count >= len(choices[0].tensors)) {
		s.weights, s.plain, s.signature = true, true, signature(found.Tensors())
		s.foreign = checkpoint.Names(checkpoint.ForeignIn(found.Value))
		return
	}
	if len(choices) == 0 {
		return
	}
	s.weights, s.signature, s.foreign = true, signature(choices[0].tensors), choices[0].foreign
	for _, ch := range choices {
		s.selects = append(s.selects, ch.key)
	}
}

// usual are names of the entry with the weights, the most likely first.
var usual = []string{"model_state_dict", "model", "state_dict", "net", "network", "generator", "weights", "params", "module"}

func (s *sample) choices(c *checkpoint.Checkpoint) []choice {
	var all []choice
	keys := topLevel(c.Root)
	s.ptycho = hasPtychoConfigs(c.HyperParameters())
	for _, key := range keys {
		d, err := c.StateDict(key)
		if err == nil && d.Count > 0 && !strings.Contains(strings.ToLower(key), "optim") {
			all = append(all, choice{key, d.Tensors(), checkpoint.Names(checkpoint.ForeignIn(d.Value))})
		}
	}
	rank := func(ch choice) int {
		if i := slices.Index(usual, ch.key); i >= 0 {
			return i
		}
		return len(usual)
	}
	slices.SortStableFunc(all, func(a, b choice) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(len(b.tensors), len(a.tensors)))
	})
	return all
}

// topLevel returns the keys of a dict that are text.
func topLevel(v any) []string {
	var keys []string
	if d := dict(v); d != nil {
		for k := range d.All() {
			if key, ok := k.(string); ok && key != "" && len(keys) < 256 {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func dict(v any) *pickle.Dict {
	switch t := v.(type) {
	case *pickle.Dict:
		return t
	case *pickle.Object:
		return t.Items
	}
	return nil
}

func isOptimizer(v any) bool {
	d := dict(v)
	return d != nil && d.Has("state") && d.Has("param_groups")
}

func hasPtychoConfigs(hyper any) bool {
	d := dict(hyper)
	return d != nil && d.Has("data_config") && d.Has("model_config") && d.Has("training_config")
}
