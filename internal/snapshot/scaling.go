package snapshot

import (
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// The dicts of PtychoPINN's torch backend (ptycho_torch/config_params.py).
const (
	dataConfig      = "data_config"
	modelConfig     = "model_config"
	trainingConfig  = "training_config"
	inferenceConfig = "inference_config"
	datagenConfig   = "datagen_config"
)

var (
	sectionNames = []string{dataConfig, modelConfig, trainingConfig, inferenceConfig, datagenConfig}
	scalingNames = []string{dataConfig, modelConfig, trainingConfig, inferenceConfig}
)

// ScalingSchema is the schema_version of the payload that PtychoPINN calls torch_scaling_metadata.pt
// (ptycho_torch/workflows/components.py).
const ScalingSchema = "ci-entrypoints-v1"

// Scaling is the payload from which PtychoPINN rebuilds a model exactly. Its dicts are the run's
// own, with nothing added; they may hold tuples and tensors (*pickle.Object).
type Scaling struct {
	Data, Model, Training, Inference *pickle.Dict
	CIStatistics                     *pickle.Dict // lists of floats, or nil
}

// Value returns the whole payload.
func (s *Scaling) Value() *pickle.Dict {
	var statistics any
	if s.CIStatistics != nil {
		statistics = s.CIStatistics
	}
	return pickle.NewDict(
		"schema_version", ScalingSchema,
		dataConfig, s.Data,
		modelConfig, s.Model,
		trainingConfig, s.Training,
		inferenceConfig, s.Inference,
		"ci_statistics", statistics,
	)
}

// scaling returns the payload when all of its dicts are known, and notes what a loader will miss.
func (t *translator) scaling(sections, statisticsFile *pickle.Dict) *Scaling {
	found := make(map[string]*pickle.Dict)
	var missing []string
	for _, name := range scalingNames {
		if found[name] = section(sections, name); found[name] == nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		t.notes.add(NoteWarning, "", "no %s: without it the bundle has no torch_scaling_metadata.pt, "+
			"and upstream's loader treats it as a legacy one", strings.Join(missing, ", "))
		return nil
	}
	s := &Scaling{
		Data: found[dataConfig], Model: found[modelConfig],
		Training: found[trainingConfig], Inference: found[inferenceConfig],
		CIStatistics: t.statistics(statisticsFile),
	}
	if s.CIStatistics == nil && s.needsStatistics() {
		t.notes.add(NoteWarning, "ci_statistics", "physics_forward_mode is rectangular_scaled under ci_intensity_v2, "+
			"and neither the checkpoint nor configs/ci_statistics.json has ci_statistics: "+
			"upstream's strict loader will refuse the bundle")
	}
	return s
}

// statistics prefers the checkpoint's own over the file's.
func (t *translator) statistics(file *pickle.Dict) *pickle.Dict {
	if checkpoint, ok := t.in.CIStatistics.(*pickle.Dict); ok && isStatistics(checkpoint) {
		return checkpoint
	}
	if t.in.CIStatistics != nil {
		t.notes.add(NoteWarning, "ci_statistics", "the checkpoint's ci_statistics are not two lists of numbers: not used")
	}
	if file == nil || isStatistics(file) {
		return file
	}
	t.notes.add(NoteWarning, "ci_statistics", "the file's ci_statistics are not two lists of numbers: not used")
	return nil
}

func isStatistics(d *pickle.Dict) bool {
	for _, name := range []string{"rms_input_scale", "mean_measured_intensity"} {
		value, _ := d.Get(name)
		if list, ok := value.(*pickle.List); !ok || !allNumbers(list.Items) {
			return false
		}
	}
	return true
}

func allNumbers(items []any) bool {
	for _, item := range items {
		switch item.(type) {
		case float64, int64:
		default:
			return false
		}
	}
	return len(items) > 0
}

// needsStatistics tells whether upstream refuses the run without its statistics
// (ptycho_torch/scaling_contract.py, ci_scaling_active and resolve_scale_contract: no version means
// the newest).
func (s *Scaling) needsStatistics() bool {
	mode, _ := s.Model.Get("physics_forward_mode")
	version, _ := s.Data.Get("scale_contract_version")
	return mode == "rectangular_scaled" && (version == nil || version == "ci_intensity_v2")
}

// section returns the dict of that name, or nil.
func section(sections *pickle.Dict, name string) *pickle.Dict {
	value, _ := sections.Get(name)
	dict, _ := value.(*pickle.Dict)
	return dict
}
