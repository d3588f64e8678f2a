package checkpoint

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

const (
	trainerState  = "trainer_state.json"
	argumentsName = "training_args.bin"
)

var (
	trainerFolder = regexp.MustCompile(`^checkpoint-([0-9]+)$`)
	// trainerWeights are the names of what Trainer saves a model as: whole, in shards, as an adapter, by FSDP, by DeepSpeed.
	trainerWeights = []string{"*.safetensors", "*.safetensors.index.json", "pytorch_model*", "pytorch_model*/", "adapter_model.*", "global_step*/"}
	// trainerFirst is what Trainer writes before anything that is its own.
	trainerFirst = append([]string{"config.json", "generation_config.json", "adapter_config.json"}, trainerWeights...)
	// trainerData are the files that one process writes before trainer_state.json.
	trainerData = append([]string{argumentsName, "optimizer.*", "scheduler.pt"}, trainerFirst...)
)

// isTrainer tells whether a folder is, or becomes, a checkpoint of transformers' Trainer. Others name folders
// checkpoint-N, too, with save_state of accelerate in them.
func isTrainer(f folder) bool {
	switch {
	case !trainerFolder.MatchString(f.base()):
		return false
	case f.has(trainerState) || f.has(argumentsName):
		return true
	}
	return len(f.matching(trainerFirst...)) > 0 && !hasAccelerateFiles(f)
}

// proveTrainer proves what Trainer's own files say. Shards, DeepSpeed's and FSDP's files are proven by their rules.
func proveTrainer(f folder) (string, error) {
	if missing := f.missing(trainerState); missing != nil {
		return "", &Incomplete{Reason: "the trainer writes its state last, and it is not there yet", Waits: missing}
	}
	object, err := f.object(trainerState)
	if err != nil {
		return "", err
	}
	step := trainerFolder.FindStringSubmatch(f.base())[1]
	if err := f.checkStep(object["global_step"], step); err != nil {
		return "", err
	}
	if err := f.checkMarker(trainerState, f.matching(trainerData...)); err != nil {
		return "", err
	}
	waits, err := f.trainerWaits()
	if err != nil {
		return "", err
	}
	if len(waits) > 0 {
		return "", &Incomplete{Reason: "files that the trainer always writes are not there: its rotation is deleting this checkpoint, or they were lost", Waits: waits}
	}
	return fmt.Sprintf("%s is of step %s, as the folder's name says, and is not older than the weights and the optimizer; all that the trainer's arguments ask for is there", trainerState, step), nil
}

func (f folder) checkStep(raw json.RawMessage, want string) error {
	n, err := strconv.ParseInt(want, 10, 64)
	if err != nil {
		return broken("the folder's name has the step %.40q, which is no number of a step", want)
	}
	if got, err := strconv.ParseInt(string(raw), 10, 64); err != nil || got != n {
		return f.broken(trainerState, "its global_step is %.40q, but the folder is %.60q: the folder was renamed, or holds files of another step", raw, f.base())
	}
	return nil
}

// trainerWaits returns the files that Trainer has written when it is finished, and that are not there.
func (f folder) trainerWaits() ([]string, error) {
	waits := f.missing(argumentsName)
	need := func(shown string, patterns ...string) {
		if len(f.matching(patterns...)) == 0 {
			waits = append(waits, f.dir+shown)
		}
	}
	need("model.safetensors", trainerWeights...)
	if f.has("generation_config.json") {
		need("config.json", "config.json")
	}
	if len(f.matching("adapter_model.*")) > 0 {
		need("adapter_config.json", "adapter_config.json")
	}
	if len(waits) > 0 {
		return waits, nil
	}
	onlyModel, err := f.savesOnlyModel()
	if err != nil || onlyModel {
		return nil, err
	}
	need("rng_state.pth", "rng_state*.pth")
	if len(f.matching("global_step*/")) == 0 {
		need("optimizer.pt", "optimizer*", "optimizer*/")
		need("scheduler.pt", "scheduler.pt")
	}
	return waits, nil
}

// savesOnlyModel reads save_only_model of the pickled TrainingArguments; versions without it save all.
func (f folder) savesOnlyModel() (bool, error) {
	only := false
	err := f.prove(argumentsName, func(c *Checkpoint, _ []Tensor) error {
		if v, ok := attribute(c.Root, "save_only_model"); ok {
			only = v == true
		}
		return nil
	})
	return only, err
}

// attribute returns an attribute of an instance that was pickled with its __dict__.
func attribute(v any, name string) (any, bool) {
	o, ok := v.(*pickle.Object)
	if !ok {
		return nil, false
	}
	state, _ := o.State.(*pickle.Dict)
	return state.Get(name)
}

// isAccelerate tells whether a folder is, or becomes, what Accelerator.save_state writes. Trainer with FSDP writes
// files of the same names.
func isAccelerate(f folder) bool { return !isTrainer(f) && hasAccelerateFiles(f) }

func hasAccelerateFiles(f folder) bool {
	return len(f.matching("random_states_*.pkl", "optimizer.bin", "optimizer_[0-9]*.bin", "scheduler.bin")) > 0
}

// proveAccelerate proves only the order: the states of the random number generators are written last, but for
// objects that a program registers itself. One process writes one, and nothing says how many there are.
func proveAccelerate(f folder) (string, error) {
	const first = "random_states_0.pkl"
	if missing := f.missing(first); missing != nil {
		return "", &Incomplete{Reason: "accelerate writes the states of the random number generators last, and they are not there", Waits: missing}
	}
	if err := f.checkMarker(first, f.matching("model*.safetensors", "pytorch_model*", "optimizer*.bin", "scheduler*.bin", "scaler.pt")); err != nil {
		return "", err
	}
	if waits := f.gap(); len(waits) > 0 {
		return "", &Incomplete{Reason: "states of the random number generators are there for later processes only", Waits: waits}
	}
	return "what accelerate's save_state writes last is there and is the last. This is weak evidence: the format has no marker, and nothing says which files belong to it", nil
}

// gap returns the states that are missing before the last one that is there.
func (f folder) gap() []string {
	have := f.matching("random_states_*.pkl")
	var waits []string
	for rank, found := 0, 0; found < len(have) && rank < 1<<20; rank++ {
		name := fmt.Sprintf("random_states_%d.pkl", rank)
		if slices.Contains(have, name) {
			found++
		} else if waits = append(waits, f.dir+name); len(waits) > len(have) {
			break
		}
	}
	return waits
}
