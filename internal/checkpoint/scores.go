package checkpoint

import (
	"math"
	"path"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// maxScores bounds how many numbers are taken from the top level of a checkpoint.
const maxScores = 64

// Scores returns the numbers that a checkpoint says of itself: those at its top level, such as epoch,
// global_step and loss, and the monitored value that Lightning's ModelCheckpoint saved for the file of
// this base name. The callback's current_score is not taken: in last.ckpt it can be that of an earlier
// file (lightning/pytorch/callbacks/model_checkpoint.py, _update_best_and_save).
func (c *Checkpoint) Scores(base string) map[string]float64 {
	root := mapping(c.Root)
	if root == nil || c.torch == nil {
		return nil
	}
	scores := make(map[string]float64)
	for k, v := range root.All() {
		name, isText := k.(string)
		if n, ok := c.scalar(v); ok && isText && len(scores) < maxScores {
			scores[name] = n
		}
	}
	callbacks, _ := root.Get("callbacks")
	if d := mapping(callbacks); d != nil {
		for _, state := range d.All() {
			c.monitored(mapping(state), base, scores)
		}
	}
	return scores
}

// monitored adds what a ModelCheckpoint saved for the file.
func (c *Checkpoint) monitored(state *pickle.Dict, base string, scores map[string]float64) {
	if state == nil {
		return
	}
	monitor, _ := state.Get("monitor")
	name, ok := monitor.(string)
	if !ok || name == "" || len(name) > maxKey {
		return
	}
	best, _ := state.Get("best_k_models")
	if d := mapping(best); d != nil {
		for file, score := range d.All() {
			if f, ok := file.(string); ok && path.Base(f) == base {
				c.addScore(scores, name, score)
				return
			}
		}
	}
	file, _ := state.Get("best_model_path")
	if f, ok := file.(string); ok && path.Base(f) == base {
		score, _ := state.Get("best_model_score")
		c.addScore(scores, name, score)
	}
}

func (c *Checkpoint) addScore(scores map[string]float64, name string, v any) {
	if n, ok := c.scalar(v); ok {
		scores[name] = n
	}
}

// scalar reads a finite number, or a tensor that holds one.
func (c *Checkpoint) scalar(v any) (float64, bool) {
	n := math.NaN()
	switch t := v.(type) {
	case int64:
		n = float64(t)
	case float64:
		n = t
	case *pickle.Object, *pickle.TensorCall:
		// Most tensors are weights, and there can be many: only one that holds a single number is read.
		if one, ok, err := c.torch.tensor("", t); err != nil || !ok || numel(one.Shape) != 1 {
			return 0, false
		}
		list, err := c.torch.numbers(t)
		if l, ok := list.(*pickle.List); err == nil && ok && len(l.Items) == 1 {
			n, _ = l.Items[0].(float64)
		}
	}
	return n, !math.IsNaN(n) && !math.IsInf(n, 0)
}
