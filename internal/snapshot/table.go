package snapshot

import (
	"math"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// bundleVersion is the _version of PyTorch bundles (ptycho_torch/model_manager.py).
const bundleVersion = "2.0-pytorch"

// renames are the names that PtychoPINN's global params have for the fields of its dataclasses
// (ptycho/config/config.py, KEY_MAPPINGS).
var renames = map[string]string{
	"object_big":                "object.big",
	"probe_big":                 "probe.big",
	"probe_mask":                "probe.mask",
	"probe_trainable":           "probe.trainable",
	"intensity_scale_trainable": "intensity_scale.trainable",
	"positions_provided":        "positions.provided",
	"output_dir":                "output_prefix",
	"train_data_file":           "train_data_file_path",
	"test_data_file":            "test_data_file_path",
}

func renamed(key string) string {
	if name, ok := renames[key]; ok {
		return name
	}
	return key
}

// row says what one key of the params is made of. A key that ends in * stands for all keys that
// begin so. Without a rule the value stays as it is.
type row struct {
	section, from string
	to            string // from, when empty
	rule          rule
}

// rule makes a value of the params from one of the torch configs, which is nil when it is not there.
type rule func(t *translation, value any) outcome

// outcome is what a rule says: a value, nothing, or why the value is refused.
type outcome struct {
	value  any
	set    bool   // value goes into the params
	keep   bool   // the rule does not apply; the key is kept under its own name
	refuse string // not empty: why
}

// table is PtychoPINN's translation of torch configs (ptycho_torch/config_bridge.py), in the order of the params.
var table = concat(
	rows(dataConfig,
		row{from: "N", rule: integer},
		row{from: "grid_size", to: "gridsize", rule: gridsize}),
	rows(modelConfig,
		row{from: "C_model", to: "C", rule: channels}),
	rows(dataConfig,
		row{from: "K", to: "neighbor_count"}, row{from: "nphotons"}, row{from: "probe_scale"}, row{from: "subsample_seed"},
		row{from: "scale_contract_version", rule: onlyWith("measurement_domain")},
		row{from: "measurement_domain", rule: onlyWith("scale_contract_version")}),
	rows(modelConfig,
		row{from: "mode", to: "model_type", rule: modelType},
		row{from: "amp_activation", rule: activation},
		row{from: "probe_mask", rule: probeMask},
		row{from: "intensity_scale_trainable"}, row{from: "intensity_scale"}, row{from: "object_big"}, row{from: "probe_big"},
		row{from: "pad_object"}, row{from: "n_filters_scale"}, row{from: "architecture"}, row{from: "fno_*"},
		row{from: "learned_input_channels"}, row{from: "max_hidden_channels"}, row{from: "resnet_width"},
		row{from: "gaussian_smoothing_sigma"}, row{from: "loss_function"}),
	rows(trainingConfig,
		row{from: "epochs", to: "nepochs"},
		row{from: "nll", to: "nll_weight", rule: likelihoodWeight},
		row{from: "batch_size"}, row{from: "learning_rate"}, row{from: "train_data_file"}, row{from: "test_data_file"},
		row{from: "output_dir"}, row{from: "n_groups"}, row{from: "torch_loss_mode"}, row{from: "gradient_clip_*"},
		row{from: "optimizer"}, row{from: "momentum"}, row{from: "weight_decay"}, row{from: "adam_beta*"},
		row{from: "scheduler"}, row{from: "lr_*"}),
)

func rows(section string, rows ...row) []row {
	for i := range rows {
		rows[i].section = section
		if rows[i].to == "" {
			rows[i].to = rows[i].from
		}
	}
	return rows
}

func concat(groups ...[]row) []row {
	var all []row
	for _, group := range groups {
		all = append(all, group...)
	}
	return all
}

// matches returns the keys of a dict that a row is about; its own key also when it is not there,
// since a rule may know better.
func (r row) matches(dict *pickle.Dict) []string {
	prefix, wild := strings.CutSuffix(r.from, "*")
	if !wild {
		return []string{r.from}
	}
	var keys []string
	for key := range dict.All() {
		if name := key.(string); strings.HasPrefix(name, prefix) {
			keys = append(keys, name)
		}
	}
	return keys
}

func integer(_ *translation, value any) outcome {
	if value == nil {
		return outcome{}
	}
	n, ok := wholeNumber(value)
	if !ok {
		return outcome{refuse: "it must be a whole number"}
	}
	return outcome{value: n, set: true}
}

func wholeNumber(value any) (int64, bool) {
	switch v := value.(type) {
	case int64:
		return v, true
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	}
	return 0, false
}

// gridsize takes a square grid_size, such as (2, 2), for its side.
func gridsize(_ *translation, value any) outcome {
	if value == nil {
		return outcome{}
	}
	sides, ok := items(value)
	if !ok {
		sides = []any{value, value}
	}
	if len(sides) != 2 {
		return outcome{refuse: "it must be two equal whole numbers"}
	}
	rows, okRows := wholeNumber(sides[0])
	columns, okColumns := wholeNumber(sides[1])
	if !okRows || !okColumns || rows != columns || rows < 1 || rows > maxGridsize {
		return outcome{refuse: "only square grids can be bundled: both numbers must be whole, positive and equal"}
	}
	return outcome{value: rows, set: true}
}

// maxGridsize is beyond any real one, and its square is not beyond an int64.
const maxGridsize = 1 << 16

// channels is gridsize² when the torch configs do not say.
func channels(t *translation, value any) outcome {
	if value != nil {
		return integer(t, value)
	}
	side, ok := t.params.Get("gridsize")
	if !ok || t.flat {
		return outcome{}
	}
	return outcome{value: side.(int64) * side.(int64), set: true}
}

// onlyWith takes a value when another of data_config is there too.
func onlyWith(other string) rule {
	return func(t *translation, value any) outcome {
		partner, _ := t.section(dataConfig).Get(other)
		if value != nil && partner == nil {
			t.notes.add(NoteLeftOut, other, "absent, so its partner is left out of the params: a loader needs both or neither")
		}
		return outcome{value: value, set: value != nil && partner != nil}
	}
}

func modelType(t *translation, value any) outcome {
	switch {
	case value == "Unsupervised":
		return outcome{value: "pinn", set: true}
	case value == "Supervised":
		return outcome{value: "supervised", set: true}
	case value == nil:
		return outcome{}
	case t.flat: // some other program's mode
		return outcome{keep: true}
	}
	return outcome{refuse: `the mode must be "Unsupervised" or "Supervised"`}
}

func activation(t *translation, value any) outcome {
	if value == "silu" || value == "SiLU" {
		value = "swish"
	}
	return asIs(t, value)
}

// asIs takes the plain form of a value, None too, unless nothing of it can be params.
func asIs(t *translation, value any) outcome {
	plain, ok := t.plain.value(value)
	return outcome{value: plain, set: ok}
}

// probeMask tells whether a mask is in use: by a switch, or by a mask itself here or in probe_mask_tensor.
func probeMask(t *translation, value any) outcome {
	config := t.section(modelConfig)
	tensor, _ := config.Get("probe_mask_tensor")
	if value == nil && tensor == nil {
		return outcome{value: false, set: config.Has("probe_mask")}
	}
	if isOn, ok := value.(bool); ok && tensor == nil {
		return outcome{value: isOn, set: true}
	}
	t.plain.value(value) // for the note on a tensor
	return outcome{value: true, set: true}
}

func likelihoodWeight(t *translation, value any) outcome {
	switch v := value.(type) {
	case nil:
		return outcome{value: 0.0, set: t.section(trainingConfig).Has("nll")}
	case bool:
		if v {
			return outcome{value: 1.0, set: true}
		}
		return outcome{value: 0.0, set: true}
	}
	if t.flat {
		return outcome{keep: true}
	}
	return outcome{refuse: "it must be true or false"}
}
