package snapshot

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

func pairsOf(d *pickle.Dict) [][2]string {
	var pairs [][2]string
	for key, value := range d.All() {
		pairs = append(pairs, [2]string{key.(string), literal(value)})
	}
	return pairs
}

func file(name, text string) File {
	return File{Path: "runs/r1/" + name, Name: name, Data: []byte(text)}
}

// torchFiles are the torch configs of a small run, as far as a test replaces none.
func torchFiles(replace map[string]string) []File {
	texts := map[string]string{
		dataConfig:      `{"N": 64, "C": 4, "K": 6, "grid_size": [2, 2], "x_bounds": [0.1, 0.9]}`,
		modelConfig:     `{"mode": "Unsupervised", "C_model": 4, "amp_activation": "silu"}`,
		trainingConfig:  `{"epochs": 5, "nll": false}`,
		inferenceConfig: `{"window": 20}`,
	}
	var files []File
	for _, name := range scalingNames {
		text, ok := replace[name]
		if !ok {
			text = texts[name]
		}
		if text != "" {
			files = append(files, file("configs/"+name+".json", text))
		}
	}
	return files
}

func torchHyper() *pickle.Dict {
	return pickle.NewDict(
		modelConfig, pickle.NewDict("mode", "Supervised", "C_model", int64(1), "probe_mask", true, "probe_mask_tensor", tensor()),
		dataConfig, pickle.NewDict("N", int64(128), "grid_size", tuple(int64(1), int64(1))),
		trainingConfig, pickle.NewDict("epochs", int64(9)),
		inferenceConfig, pickle.NewDict("window", int64(7)),
		"generator_output", "amp_phase",
	)
}

func TestTranslatePtychoPINNParams(t *testing.T) {
	hypers := []Hyper{{"net", torchHyper()}}
	canonical := file("config.yaml", "model: {N: 32, gridsize: 1, object_big: true, probe_mask: false}\n"+
		"train_data_file: /d/x.npz\noutput_dir: out\nnepochs: 3\npositions_provided: true\nprobe_trainable: false\nN: 1\n")
	const canonicalParams = `{'N': 32, 'probe.mask': False, 'object.big': True, 'train_data_file_path': '/d/x.npz', 'output_prefix': 'out', ` +
		`'nepochs': 3, 'positions.provided': True, 'probe.trainable': False, 'gridsize': 1, 'intensity_scale': 1.0, '_version': '2.0-pytorch'}`
	const torchParams = `{'N': 64, 'gridsize': 2, 'C': 4, 'neighbor_count': 6, 'model_type': 'pinn', 'amp_activation': 'swish', ` +
		`'nepochs': 5, 'nll_weight': 0.0, 'backend': 'pytorch', 'x_bounds': [0.1, 0.9], 'window': 20, ` +
		`'intensity_scale': 1.0, '_version': '2.0-pytorch'}`
	const hyperParams = `{'N': 128, 'gridsize': 1, 'C': 1, 'model_type': 'supervised', 'probe.mask': True, 'nepochs': 9, ` +
		`'backend': 'pytorch', 'window': 7, 'intensity_scale': 1.0, '_version': '2.0-pytorch'}`
	tests := []struct {
		name   string
		in     Input
		want   string
		source string
		used   []string
	}{
		{"a canonical config", Input{Files: []File{canonical}}, canonicalParams, SourceFiles, []string{"config.yaml"}},
		{"torch configs", Input{Files: torchFiles(nil)}, torchParams, SourceFiles,
			[]string{"configs/data_config.json", "configs/model_config.json", "configs/training_config.json", "configs/inference_config.json"}},
		{"hyper_parameters", Input{Hypers: hypers}, hyperParams, "hyper_parameters of net", nil},
		{"files without N", Input{Files: []File{file("seed.yaml", "seed: 1")}, Hypers: hypers}, hyperParams, "hyper_parameters of net", nil},
		{"the hyper_parameters of the second member", Input{Hypers: []Hyper{{"a", nil}, {"b", pickle.NewDict("lr", 0.1)}, {"net", torchHyper()}}},
			hyperParams, "hyper_parameters of net", nil},
		{"anything else", Input{Files: []File{file("args.json", `{"lr": 1, "N": 64.0, "grid_size": 2, "K": 3, "mode": "train", "nll": true, "epochs": 2, "object_big": false}`)}},
			`{'N': 64, 'gridsize': 2, 'neighbor_count': 3, 'object.big': False, 'nepochs': 2, 'nll_weight': 1.0, 'lr': 1, 'mode': 'train', ` +
				`'intensity_scale': 1.0, '_version': '2.0-pytorch'}`, SourceFiles, []string{"args.json"}},
		{"flat hyper_parameters", Input{Hypers: []Hyper{{"net", call("argparse.Namespace")}, {"gen", &pickle.Object{
			Class: global("argparse.Namespace"), New: true, Built: true, State: pickle.NewDict("N", int64(8), "gridsize", int64(1))}}}},
			`{'N': 8, 'gridsize': 1, 'intensity_scale': 1.0, '_version': '2.0-pytorch'}`, "hyper_parameters of gen", nil},
		{"nothing", Input{}, `{'intensity_scale': 1.0, '_version': '2.0-pytorch'}`, "", nil},
		{"channels of the grid", Input{Files: torchFiles(map[string]string{
			dataConfig: `{"N": 8, "grid_size": [3, 3]}`, modelConfig: `{"C_model": null}`, trainingConfig: `{}`, inferenceConfig: `{}`})},
			`{'N': 8, 'gridsize': 3, 'C': 9, 'backend': 'pytorch', 'intensity_scale': 1.0, '_version': '2.0-pytorch'}`, SourceFiles,
			[]string{"configs/data_config.json", "configs/model_config.json", "configs/training_config.json", "configs/inference_config.json"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.in.Preset = PresetPtychoPINN
			s, err := Translate(test.in)
			require.NoError(t, err)
			require.Equal(t, test.want, literal(s.Params))
			requirePlain(t, s.Params, false, 0)
			require.Equal(t, test.source, s.Source)
			require.Equal(t, test.used, s.Used)
			again, err := Translate(test.in)
			require.NoError(t, err)
			require.Equal(t, s, again)
		})
	}
}

func TestTranslateScaleContractIsBothOrNeither(t *testing.T) {
	s, err := Translate(Input{Preset: PresetPtychoPINN, Files: torchFiles(map[string]string{
		dataConfig: `{"N": 8, "grid_size": [1, 1], "scale_contract_version": "legacy_v1", "measurement_domain": null}`})})
	require.NoError(t, err)
	require.False(t, s.Params.Has("scale_contract_version"))
	require.False(t, s.Params.Has("measurement_domain"))
	require.Len(t, noteTexts(s.Notes, NoteLeftOut), 1)
	require.Equal(t, "legacy_v1", must(s.Scaling.Data.Get("scale_contract_version")))
}

func must(value any, ok bool) any {
	if !ok {
		return "absent"
	}
	return value
}

func TestTranslateProbeMask(t *testing.T) {
	mask := tensor()
	tests := []struct {
		name  string
		model *pickle.Dict
		want  any
	}{
		{"on", pickle.NewDict("probe_mask", true), true},
		{"off", pickle.NewDict("probe_mask", false, "probe_mask_tensor", nil), false},
		{"null", pickle.NewDict("probe_mask", nil), false},
		{"absent", pickle.NewDict("mode", "Supervised"), "absent"},
		{"a tensor in its place", pickle.NewDict("probe_mask", mask), true},
		{"a tensor beside", pickle.NewDict("probe_mask", false, "probe_mask_tensor", mask), true},
		{"only a tensor", pickle.NewDict("probe_mask_tensor", mask), true},
		{"a list", pickle.NewDict("probe_mask", list(1.0)), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hyper := torchHyper()
			hyper.Set(modelConfig, test.model)
			s, err := Translate(Input{Preset: PresetPtychoPINN, Hypers: []Hyper{{"net", hyper}}})
			require.NoError(t, err)
			require.Equal(t, test.want, must(s.Params.Get("probe.mask")))
			requirePlain(t, s.Params, false, 0)
			require.True(t, equalDicts(test.model, s.Scaling.Model), "the scaling payload has the tensor")
		})
	}
}

func TestTranslateNamesTensorsLeftOut(t *testing.T) {
	hyper := torchHyper()
	s, err := Translate(Input{Preset: PresetPtychoPINN, Hypers: []Hyper{{"net", hyper}}})
	require.NoError(t, err)
	require.Equal(t, []string{"hyper_parameters of net model_config.probe_mask_tensor: a tensor left out of the params"},
		noteTexts(s.Notes, NoteLeftOut))
	require.False(t, s.Params.Has("probe_mask_tensor"))
	require.False(t, s.Params.Has("generator_output"), "only the torch configs count")
	config, _ := hyper.Get(modelConfig)
	want, _ := config.(*pickle.Dict).Get("probe_mask_tensor")
	require.Same(t, want, must(s.Scaling.Model.Get("probe_mask_tensor")))
}

func TestTranslateTakesTensorsThatFilesCannotHold(t *testing.T) {
	data, err := pickle.Encode(torchHyper())
	require.NoError(t, err)
	read, err := pickle.Decode(data)
	require.NoError(t, err)
	for _, hyper := range []any{torchHyper(), read.Value} {
		s, err := Translate(Input{Preset: PresetPtychoPINN, Files: torchFiles(nil), Hypers: []Hyper{{"net", hyper}}})
		require.NoError(t, err)
		require.Equal(t, SourceFiles, s.Source)
		require.Equal(t, int64(64), must(s.Params.Get("N")))
		require.Equal(t, true, must(s.Params.Get("probe.mask")))
		require.True(t, isTensor(must(s.Scaling.Model.Get("probe_mask_tensor"))))
		require.Equal(t, "Unsupervised", must(s.Scaling.Model.Get("mode")))
		require.Len(t, noteTexts(s.Notes, NoteTaken), 1)
	}
}

func TestTranslateScaling(t *testing.T) {
	statistics := pickle.NewDict("rms_input_scale", list(1.5), "mean_measured_intensity", list(2.5))
	statisticsFile := file("configs/ci_statistics.json", `{"rms_input_scale": [3.5], "mean_measured_intensity": [4.5]}`)
	rectangular := torchFiles(map[string]string{modelConfig: `{"physics_forward_mode": "rectangular_scaled"}`})
	legacy := torchFiles(map[string]string{
		modelConfig: `{"physics_forward_mode": "rectangular_scaled"}`,
		dataConfig:  `{"N": 8, "grid_size": [1, 1], "scale_contract_version": "legacy_v1", "measurement_domain": "normalized_amplitude"}`,
	})
	const refusal = "ci_statistics: physics_forward_mode is rectangular_scaled under ci_intensity_v2, and neither the checkpoint " +
		"nor configs/ci_statistics.json has ci_statistics: upstream's strict loader will refuse the bundle"
	tests := []struct {
		name     string
		in       Input
		want     string // ci_statistics
		warnings []string
	}{
		{"of the checkpoint first", Input{Files: append(rectangular, statisticsFile), CIStatistics: statistics},
			`{'rms_input_scale': [1.5], 'mean_measured_intensity': [2.5]}`, nil},
		{"else of the file", Input{Files: append(rectangular, statisticsFile)},
			`{'rms_input_scale': [3.5], 'mean_measured_intensity': [4.5]}`, nil},
		{"none, and needed", Input{Files: rectangular}, `None`, []string{refusal}},
		{"none, under the legacy contract", Input{Files: legacy}, `None`, nil},
		{"none, and not needed", Input{Files: torchFiles(nil)}, `None`, nil},
		{"not what they should be", Input{Files: rectangular, CIStatistics: pickle.NewDict("rms_input_scale", list("x"))}, `None`,
			[]string{"ci_statistics: the checkpoint's ci_statistics are not two lists of numbers: not used", refusal}},
		{"of a broken file", Input{Files: append(torchFiles(nil), file("configs/ci_statistics.json", `{"rms_input_scale": 1}`))}, `None`,
			[]string{"ci_statistics: the file's ci_statistics are not two lists of numbers: not used"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.in.Preset = PresetPtychoPINN
			s, err := Translate(test.in)
			require.NoError(t, err)
			payload := s.Scaling.Value()
			require.Equal(t, test.want, literal(must(payload.Get("ci_statistics"))))
			require.Equal(t, "ci-entrypoints-v1", must(payload.Get("schema_version")))
			require.Equal(t, 6, payload.Len())
			require.Equal(t, test.warnings, noteTexts(s.Notes, NoteWarning))
		})
	}
}

func TestTranslateScalingFromTheOtherSource(t *testing.T) {
	canonical := file("config.yaml", "model: {N: 32, gridsize: 1}")
	s, err := Translate(Input{Preset: PresetPtychoPINN, Files: []File{canonical}, Hypers: []Hyper{{"net", torchHyper()}}})
	require.NoError(t, err)
	require.Equal(t, int64(32), must(s.Params.Get("N")))
	require.Equal(t, int64(128), must(s.Scaling.Data.Get("N")))
	require.Equal(t, []string{"config.yaml"}, s.Used)

	s, err = Translate(Input{Preset: PresetPtychoPINN, Files: torchFiles(map[string]string{inferenceConfig: ""})})
	require.NoError(t, err)
	require.Nil(t, s.Scaling)
	require.Contains(t, noteTexts(s.Notes, NoteWarning)[0], "no inference_config: without it")
}

func TestTranslateFlattensDataclasses(t *testing.T) {
	data := &pickle.Object{Class: global("ptycho_torch.config_params.DataConfig"), New: true, Built: true,
		State: pickle.NewDict("N", int64(64), "grid_size", tuple(int64(1), int64(1)))}
	hyper := torchHyper()
	hyper.Set(dataConfig, data)
	s, err := Translate(Input{Preset: PresetPtychoPINN, Hypers: []Hyper{{"net", hyper}}})
	require.NoError(t, err)
	require.Equal(t, `{'N': 64, 'grid_size': (1, 1,)}`, literal(s.Scaling.Data))
	require.Equal(t, []string{"ptycho_torch.config_params.DataConfig"}, s.Classes)
	require.Len(t, noteTexts(s.Notes, NoteClass), 1)
}

func TestTranslateNotesFiles(t *testing.T) {
	files := append(torchFiles(nil),
		file("configs/full_config.json", `{"data_config": {"N": 1}}`),
		file("configs/ci_statistics.json", `{"rms_input_scale": [1.0], "mean_measured_intensity": [2.0]}`),
		file(".hydra/overrides.yaml", `[a=1]`),
		file("broken.yaml", "a: [\x1b"),
		file("seed.toml", "seed = 1"),
		file("hparams.yaml", "data_config: !!python/object:app.C {N: 32, grid_size: !!python/tuple [2, 2]}\nother: 1\n"))
	s, err := Translate(Input{Preset: PresetPtychoPINN, Files: files})
	require.NoError(t, err)
	require.Equal(t, int64(32), must(s.Params.Get("N")))
	require.Equal(t, []string{
		".hydra/overrides.yaml: frozen, but not merged: its top level is not a mapping",
		"configs/full_config.json: frozen, but not merged: it repeats the other configs",
		"configs/ci_statistics.json: frozen, but not merged: it holds ci_statistics, not params",
		"seed.toml: frozen, but not merged: another source gave the params",
	}, noteTexts(s.Notes, NoteNotMerged))
	require.Len(t, noteTexts(s.Notes, NoteUnparsed), 1)
	require.Contains(t, noteTexts(s.Notes, NoteUnparsed)[0], "broken.yaml: frozen, but not merged: decode config")
	require.Equal(t, []string{`hparams.yaml: tag "!!python/object:app.C" was not followed, its value is kept as plain data`}, noteTexts(s.Notes, NoteTag))
	require.Equal(t, []string{`hparams.yaml data_config.N: 64 in "configs/data_config.json", 32 here: the later wins`}, noteTexts(s.Notes, NoteConflict))
}

func TestTranslateRefuses(t *testing.T) {
	tests := []struct{ name, section, text, want string }{
		{"a grid that is not square", dataConfig, `{"N": 64, "grid_size": [2, 3]}`,
			`translate config "runs/r1/configs/data_config.json": "data_config.grid_size" is [2, 3]: only square grids can be bundled`},
		{"a grid of one", dataConfig, `{"N": 64, "grid_size": [2]}`, `is [2]: it must be two equal whole numbers`},
		{"a grid of nothing", dataConfig, `{"N": 64, "grid_size": [0, 0]}`, `is [0, 0]: only square grids`},
		{"a grid that is text", dataConfig, `{"N": 64, "grid_size": "2x2"}`, `is "2x2": only square grids`},
		{"N that is text", dataConfig, `{"N": "64\u001b"}`, `is "64\x1b": it must be a whole number`},
		{"a broken N", dataConfig, `{"N": 64.5}`, `"data_config.N" is 64.5: it must be a whole number`},
		{"an unknown mode", modelConfig, `{"mode": "PINN"}`,
			`translate config "runs/r1/configs/model_config.json": "model_config.mode" is "PINN": the mode must be "Unsupervised" or "Supervised"`},
		{"channels that are no number", modelConfig, `{"C_model": []}`, `"model_config.C_model" is []: it must be a whole number`},
		{"a weight for a switch", trainingConfig, `{"nll": "yes"}`, `"training_config.nll" is "yes": it must be true or false`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Translate(Input{Preset: PresetPtychoPINN, Files: torchFiles(map[string]string{test.section: test.text})})
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			require.ErrorContains(t, err, test.want)
		})
	}
	hyper := torchHyper()
	hyper.Set(modelConfig, pickle.NewDict("mode", tensor()))
	_, err := Translate(Input{Preset: PresetPtychoPINN, Hypers: []Hyper{{"net", hyper}}})
	require.EqualError(t, err, `translate config "hyper_parameters of net": "model_config.mode" is an instance of `+
		`"torch._utils._rebuild_tensor_v2": the mode must be "Unsupervised" or "Supervised"`)
	_, err = Translate(Input{Preset: "ptycho"})
	require.EqualError(t, err, `translate config: unknown preset "ptycho"; it is "none" or "ptychopinn"`)
}

func TestTranslateRequires(t *testing.T) {
	tests := []struct {
		name     string
		in       Input
		want     []string
		contains string
	}{
		{"absent", Input{Required: []string{"a", "N"}, Files: []File{file("c.yaml", "a: 1")}}, []string{"N"},
			`params lack the required "N" (absent or null): looked at config files "runs/r1/c.yaml" and at checkpoints without hyper_parameters;`},
		{"null", Input{Required: []string{"a"}, Files: []File{file("c.yaml", "a: ~")}}, []string{"a"}, `"a"`},
		{"in hyper_parameters without it", Input{Required: []string{"a"}, Hypers: []Hyper{{"g", pickle.NewDict()}, {"d", nil}}}, []string{"a"},
			`looked at no config file (none matched) and at the hyper_parameters of "g";`},
		{"nested", Input{Required: []string{"m.a", "m.b", "m.a.c"}, Files: []File{file("c.yaml", "m: {a: 1}")}}, []string{"m.b", "m.a.c"}, `"m.b", "m.a.c"`},
		{"there", Input{Required: []string{"m.a", "m", "x.y"}, Files: []File{file("c.yaml", "m: {a: 1}\nx.y: 0")}}, nil, ``},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.in.Preset = PresetNone
			_, err := Translate(test.in)
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			var missing *MissingError
			require.ErrorAs(t, err, &missing)
			require.Equal(t, test.want, missing.Keys)
			require.ErrorContains(t, err, test.contains)
		})
	}
}

func TestTranslateNone(t *testing.T) {
	files := []File{
		file("a.yaml", "x: 1\nm: {a: 1, b: [1]}\nt: !!python/tuple [1]\nl: [1]\n"),
		file("b.json", `{"m": {"b": [2], "c": 3}, "x": {"y": 1}, "l": [1]}`),
		file("c.toml", "[m]\na = 1\nz = 2\n"),
	}
	s, err := Translate(Input{Preset: PresetNone, Files: files, Hypers: []Hyper{{"net", torchHyper()}}})
	require.NoError(t, err)
	require.Equal(t, `{'x': {'y': 1}, 'm': {'a': 1, 'b': [2], 'c': 3, 'z': 2}, 't': [1], 'l': [1]}`, literal(s.Params))
	require.Equal(t, []string{"a.yaml", "b.json", "c.toml"}, s.Used)
	require.Equal(t, SourceFiles, s.Source)
	require.Nil(t, s.Scaling)
	require.Equal(t, []string{
		`b.json m.b: [1] in "a.yaml", [2] here: the later wins`,
		`b.json x: 1 in "a.yaml", a mapping here: the later wins`,
	}, noteTexts(s.Notes, NoteConflict))

	s, err = Translate(Input{Preset: PresetNone, Files: []File{file("empty.yaml", "")}, Hypers: []Hyper{
		{"g", pickle.NewDict("lr", 0.1, int64(1), tuple(int64(2)), "mask", tensor())}, {"d", pickle.NewDict("lr", 0.2)}}})
	require.NoError(t, err)
	require.Equal(t, `{'lr': 0.2, '1': [2]}`, literal(s.Params))
	require.Equal(t, "hyper_parameters of g, hyper_parameters of d", s.Source)
	require.Equal(t, []string{`hyper_parameters of d lr: 0.1 in "hyper_parameters of g", 0.2 here: the later wins`}, noteTexts(s.Notes, NoteConflict))
	require.Equal(t, []string{"hyper_parameters of g mask: a tensor left out of the params"}, noteTexts(s.Notes, NoteLeftOut))

	s, err = Translate(Input{Preset: PresetNone})
	require.NoError(t, err)
	require.Equal(t, 0, s.Params.Len())
	require.Empty(t, s.Source)
}

// Who looks for a key that is in a file with a syntax error must be told of the error.
func TestMissingKeyNamesFilesThatWereNotParsed(t *testing.T) {
	_, err := Translate(Input{Preset: PresetNone, Required: []string{"N"}, Files: []File{{Path: "r/a.json", Name: "a.json", Data: []byte(`{"N": 4,,}`)}}})
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	require.Len(t, missing.Unparsed, 1)
	require.ErrorContains(t, err, "not parsed: a.json")
}
