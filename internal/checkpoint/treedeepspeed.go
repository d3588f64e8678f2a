package checkpoint

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// latestName is the file that DeepSpeed writes last: the name of the newest tag folder beside it.
const latestName = "latest"

// zeroOptimizer is the name of one rank's part of a ZeRO optimizer; bf16_ and fp16_ come with the optimizer's kind.
var zeroOptimizer = regexp.MustCompile(`^((?:bf16_|fp16_)?)zero_pp_rank_[0-9]+_mp_rank_[0-9]+_optim_states\.pt$`)

const (
	modelStates = "*_model_states.pt"
	optimStates = "*_optim_states.pt"
	// maxRanks bounds the files that a checkpoint can be waited for.
	maxRanks = 1 << 20
)

func isDeepSpeed(f folder) bool {
	return f.has(latestName) && len(f.matching("global_step*/", "zero_to_fp32.py")) > 0 || slices.ContainsFunc(f.matching("*/"), func(name string) bool {
		return isDeepSpeedTag(folder{f.treeReader, f.dir + name})
	})
}

// proveDeepSpeed proves that the tag folder that "latest" names is there and older. The tag folders, of which there
// can be several, are proven by proveDeepSpeedTag.
func proveDeepSpeed(f folder) (string, error) {
	if missing := f.missing(latestName); missing != nil {
		return "", &Incomplete{Reason: "DeepSpeed writes the name of the newest folder last, and it is not there", Waits: missing}
	}
	data, err := f.description(latestName)
	if err != nil {
		return "", err
	}
	tag := strings.TrimSpace(string(data))
	if path.Base(tag) != tag || tag == "." || tag == ".." {
		return "", f.broken(latestName, "it says %.200q, which is no name of a folder", tag)
	}
	below := f.sub(tag)
	states := below.matching(modelStates, optimStates)
	if len(states) == 0 {
		return "", &Incomplete{Reason: fmt.Sprintf("%.200q names the folder %.200q, which has no states of DeepSpeed's", f.dir+latestName, tag), Waits: []string{below.dir}}
	}
	// Only rank 0 writes "latest"; the others may be later than that.
	var first []string
	for _, name := range below.matching("mp_rank_00_model_states.pt", "*zero_pp_rank_0_mp_rank_00_*_states.pt") {
		first = append(first, tag+"/"+name)
	}
	if err := f.checkMarker(latestName, first); err != nil {
		return "", err
	}
	f.done[f.dir+latestName] = true
	return fmt.Sprintf("latest names %s and is not older than rank 0's files in it", tag), nil
}

func isDeepSpeedTag(f folder) bool {
	return len(f.matching("*mp_rank_[0-9][0-9]_model_states.pt", "*_optim_states.pt")) > 0
}

// deepSpeedState is what one file of model states says of the others.
type deepSpeedState struct {
	dataRanks, modelRanks int64 // dp_world_size and mp_world_size
	separate              bool  // whether the optimizer's state is in files of its own, as with ZeRO
	counted               bool  // whether the file says all this
}

func proveDeepSpeedTag(f folder) (string, error) {
	names := f.matching("mp_rank_*_model_states.pt", "zero_pp_rank_*_model_states.pt")
	if len(names) == 0 {
		return "", &Incomplete{Reason: "DeepSpeed writes the model states first, and they are not there: they were deleted", Waits: []string{f.dir + "mp_rank_00_model_states.pt"}}
	}
	var state deepSpeedState
	damage := f.prove(names[0], func(c *Checkpoint, _ []Tensor) (err error) {
		state, err = parseDeepSpeed(c.Root)
		return err
	})
	if damage != nil {
		return "", damage
	}
	if !state.counted {
		return "the model states do not say how many files there are, so a missing one is not noticed", nil
	}
	waits := f.missing(f.deepSpeedFiles(names[0], state)...)
	if len(waits) > 0 {
		return "", &Incomplete{Reason: fmt.Sprintf("%d data-parallel and %d model-parallel ranks save here, and some have not, or their files were deleted", state.dataRanks, state.modelRanks), Waits: waits}
	}
	return fmt.Sprintf("the files of all %d data-parallel times %d model-parallel ranks are there; that they are of one save is not recorded", state.dataRanks, state.modelRanks), nil
}

func parseDeepSpeed(root any) (deepSpeedState, error) {
	d := mapping(root)
	data, ok1 := integer(d, "dp_world_size")
	model, ok2 := integer(d, "mp_world_size")
	state := deepSpeedState{dataRanks: data, modelRanks: model, counted: ok1 && ok2}
	if !state.counted {
		return state, nil
	}
	if data < 1 || model < 1 || data > maxRanks || model > maxRanks/data {
		return state, broken("it says that %d data-parallel times %d model-parallel ranks wrote the checkpoint", data, model)
	}
	optimizer, _ := d.Get("optimizer")
	shapes, _ := d.Get("param_shapes")
	state.separate = optimizer == nil && shapes != nil
	return state, nil
}

func integer(d *pickle.Dict, key string) (int64, bool) {
	v, _ := d.Get(key)
	n, ok := v.(int64)
	return n, ok
}

// deepSpeedFiles returns the names of all files that the ranks write (_get_ckpt_name, _get_zero_ckpt_name). With
// ZeRO stage 3 the model states are by data-parallel rank, too. Experts' files follow other rules, and are not counted.
func (f folder) deepSpeedFiles(modelFile string, state deepSpeedState) []string {
	byData := strings.HasPrefix(modelFile, "zero_pp_rank_")
	prefix, separate := "", state.separate
	for _, name := range f.matching(optimStates) {
		if m := zeroOptimizer.FindStringSubmatch(name); m != nil {
			prefix, separate = m[1], true
		}
	}
	separate = separate && len(f.matching("expp_rank_*")) == 0
	var names []string
	for model := range state.modelRanks {
		if !byData {
			names = append(names, fmt.Sprintf("mp_rank_%02d_model_states.pt", model))
		}
		for data := range state.dataRanks {
			rank := fmt.Sprintf("zero_pp_rank_%d_mp_rank_%02d", data, model)
			if byData {
				names = append(names, rank+"_model_states.pt")
			}
			if separate {
				names = append(names, prefix+rank+"_optim_states.pt")
			}
		}
	}
	return names
}
