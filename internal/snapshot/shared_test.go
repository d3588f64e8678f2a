package snapshot

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTranslateSharedPairs(t *testing.T) {
	dir := filepath.Join(sharedRuns(t), "pairs", "run_20251017_104700")
	var files []File
	for _, name := range []string{"data_config", "datagen_config", "inference_config", "model_config", "training_config"} {
		files = append(files, readFile(t, dir, "configs/"+name+".json"))
	}
	checkpoint := checkpointPickle(t, filepath.Join(dir, "checkpoints", "autoencoder-epoch=03.ckpt"))
	hyper, _ := checkpoint.Get("hyper_parameters")
	s, err := Translate(Input{
		Preset: PresetPtychoPINN, Files: files, Hypers: []Hyper{{"autoencoder", hyper}}, Required: []string{"N", "gridsize"},
	})
	require.NoError(t, err)
	require.Equal(t, SourceFiles, s.Source)
	want := [][2]string{
		{"N", "64"}, {"gridsize", "2"}, {"C", "4"}, {"neighbor_count", "6"},
		{"nphotons", "1000000000.0"}, {"probe_scale", "4.0"}, {"subsample_seed", "None"},
		{"scale_contract_version", "'ci_intensity_v2'"}, {"measurement_domain", "'count_intensity'"},
		{"model_type", "'pinn'"}, {"amp_activation", "'swish'"}, {"probe.mask", "False"},
		{"intensity_scale.trainable", "False"}, {"intensity_scale", "10000.0"}, {"object.big", "True"}, {"probe.big", "True"},
		{"pad_object", "True"}, {"n_filters_scale", "2"}, {"architecture", "'cnn'"}, {"fno_modes", "12"}, {"fno_width", "32"},
		{"max_hidden_channels", "None"}, {"resnet_width", "None"}, {"gaussian_smoothing_sigma", "0.0"}, {"loss_function", "'Poisson'"},
		{"nepochs", "50"}, {"nll_weight", "1.0"}, {"batch_size", "16"}, {"learning_rate", "0.001"},
		{"train_data_file_path", "'/data/fly64/train.npz'"}, {"test_data_file_path", "None"}, {"output_prefix", "'training_outputs'"},
		{"n_groups", "512"}, {"torch_loss_mode", "'poisson'"}, {"optimizer", "'adam'"}, {"momentum", "0.9"}, {"scheduler", "'Default'"},
		{"backend", "'pytorch'"},
		{"K_quadrant", "30"}, {"n_subsample", "7"}, {"neighbor_function", "'Nearest'"}, {"probe_normalize", "True"},
		{"normalize", "'Batch'"}, {"x_bounds", "[0.1, 0.9]"}, {"y_bounds", "[0.1, 0.9]"},
		{"C_forward", "4"}, {"probe_mask_tensor", "None"}, {"batch_norm", "False"}, {"cbam_encoder", "True"},
		{"strategy", "None"}, {"n_devices", "1"}, {"experiment_name", "'Synthetic_Runs'"}, {"training_directories", "[]"},
		{"middle_trim", "32"}, {"pad_eval", "True"}, {"window", "20"}, {"patch_weighting", "'probe'"}, {"varpro_scaling", "True"},
		{"objects_per_probe", "4"}, {"diff_per_object", "7000"}, {"object_class", "'dead_leaves'"}, {"image_size", "[250, 250]"},
		{"_version", "'2.0-pytorch'"},
	}
	require.Equal(t, want, pairsOf(s.Params))
	require.NotNil(t, s.Scaling)
	require.Equal(t, []string{"config files inference_config.batch_size: 1000 is not in the params: \"batch_size\" is 16 there"},
		noteTexts(s.Notes, NoteConflict))
	require.Empty(t, noteTexts(s.Notes, NoteWarning))

	without, err := Translate(Input{Preset: PresetPtychoPINN, Hypers: []Hyper{{"autoencoder", hyper}}})
	require.NoError(t, err)
	require.Equal(t, "hyper_parameters of autoencoder", without.Source)
	for _, pair := range want {
		switch pair[0] {
		case "objects_per_probe", "diff_per_object", "object_class", "image_size": // in a file only
			require.False(t, without.Params.Has(pair[0]))
		default:
			value, _ := without.Params.Get(pair[0])
			require.Equal(t, pair[1], literal(value), pair[0])
		}
	}
}

func TestTranslateSharedPtychoPINN(t *testing.T) {
	dir := filepath.Join(sharedRuns(t), "ptychopinn", "run_cpu")
	checkpoint := checkpointPickle(t, filepath.Join(dir, "checkpoints", "last.ckpt"))
	hyper, _ := checkpoint.Get("hyper_parameters")
	fromFile, err := Translate(Input{Preset: PresetPtychoPINN, Files: []File{readFile(t, dir, "lightning_logs/version_0/hparams.yaml")}})
	require.NoError(t, err)
	fromHyper, err := Translate(Input{Preset: PresetPtychoPINN, Hypers: []Hyper{{"diffraction_to_obj", hyper}}})
	require.NoError(t, err)
	require.Equal(t, "hyper_parameters of diffraction_to_obj", fromHyper.Source)
	require.True(t, equalDicts(fromFile.Params, fromHyper.Params), "the same configs give the same params")
	require.True(t, equalDicts(fromFile.Scaling.Value(), fromHyper.Scaling.Value()))

	want := [][2]string{
		{"N", "64"}, {"gridsize", "1"}, {"C", "1"}, {"neighbor_count", "6"},
		{"nphotons", "1000000000.0"}, {"probe_scale", "4.0"}, {"subsample_seed", "None"},
		{"scale_contract_version", "'ci_intensity_v2'"}, {"measurement_domain", "'count_intensity'"},
		{"model_type", "'pinn'"}, {"amp_activation", "'swish'"}, {"probe.mask", "False"},
		{"intensity_scale.trainable", "False"}, {"intensity_scale", "10000.0"}, {"object.big", "False"}, {"probe.big", "True"},
		{"pad_object", "True"}, {"n_filters_scale", "1"}, {"architecture", "'cnn'"},
		{"fno_modes", "12"}, {"fno_width", "32"}, {"fno_blocks", "4"}, {"fno_cnn_blocks", "2"}, {"fno_input_transform", "'none'"},
		{"learned_input_channels", "1"}, {"max_hidden_channels", "None"}, {"resnet_width", "None"},
		{"gaussian_smoothing_sigma", "0.0"}, {"loss_function", "'Poisson'"},
		{"nepochs", "3"}, {"nll_weight", "1.0"}, {"batch_size", "16"}, {"learning_rate", "0.001"},
		{"train_data_file_path", "'/data/npz/sim64.npz'"}, {"test_data_file_path", "None"}, {"output_prefix", "'/data/runs/run_cpu'"},
		{"n_groups", "64"}, {"torch_loss_mode", "'poisson'"}, {"gradient_clip_val", "None"}, {"gradient_clip_algorithm", "'norm'"},
		{"optimizer", "'adam'"}, {"momentum", "0.9"}, {"weight_decay", "0.0"}, {"adam_beta1", "0.9"}, {"adam_beta2", "0.999"},
		{"scheduler", "'Default'"}, {"lr_warmup_epochs", "0"}, {"lr_min_ratio", "0.1"}, {"backend", "'pytorch'"},
		{"K_quadrant", "30"}, {"n_subsample", "7"}, {"neighbor_function", "'Nearest'"},
		{"min_neighbor_distance", "0.0"}, {"max_neighbor_distance", "3.0"}, {"scan_pattern", "'Isotropic'"},
		{"normalize", "'Batch'"}, {"probe_normalize", "True"}, {"data_scaling", "'Parseval'"}, {"phase_subtraction", "True"},
		{"x_bounds", "[0.1, 0.9]"}, {"y_bounds", "[0.1, 0.9]"},
		{"spectral_bottleneck_blocks", "6"}, {"spectral_bottleneck_modes", "12"}, {"spectral_bottleneck_share_weights", "True"},
		{"spectral_bottleneck_gate_init", "0.1"}, {"spectral_bottleneck_gate_mode", "'shared'"},
		{"generator_output_mode", "'real_imag'"}, {"cnn_output_mode", "'amp_phase'"}, {"use_shared_decoder", "False"},
		{"max_position_jitter", "10"}, {"num_datasets", "1"}, {"batch_norm", "False"},
		{"probe_mask_tensor", "None"}, {"probe_mask_sigma", "1.0"}, {"probe_mask_diameter", "None"}, {"edge_pad", "10"},
		{"decoder_last_c_outer_fraction", "0.125"}, {"decoder_last_amp_channels", "1"}, {"use_legacy_decoder_channel_override", "False"},
		{"eca_encoder", "False"}, {"cbam_encoder", "True"}, {"cbam_bottleneck", "False"}, {"cbam_decoder", "False"},
		{"eca_decoder", "False"}, {"spatial_decoder", "False"}, {"decoder_spatial_kernel", "7"}, {"offset", "6"}, {"C_forward", "1"},
		{"training_patch_weighting", "'central_mask'"}, {"physics_forward_mode", "'amplitude'"},
		{"rect_s1s2_trainable", "True"}, {"rect_s1s2_init", "'ones'"}, {"amplitude_physics_gain", "1.0"},
		{"amp_loss", "None"}, {"phase_loss", "None"}, {"amp_loss_coeff", "1.0"}, {"phase_loss_coeff", "1.0"},
		{"training_directories", "[]"}, {"device", "'cuda'"}, {"strategy", "'ddp'"}, {"n_devices", "1"},
		{"framework", "'Lightning'"}, {"orchestrator", "'Mlflow'"}, {"epochs_fine_tune", "0"}, {"fine_tune_gamma", "0.1"},
		{"plateau_factor", "0.5"}, {"plateau_patience", "2"}, {"plateau_min_lr", "5e-05"}, {"plateau_threshold", "0.0"},
		{"num_workers", "4"}, {"accum_steps", "1"}, {"log_grad_norm", "False"}, {"grad_norm_log_freq", "1"},
		{"stage_1_epochs", "0"}, {"stage_2_epochs", "0"}, {"stage_3_epochs", "0"},
		{"physics_weight_schedule", "'cosine'"}, {"stage_3_lr_factor", "0.1"}, {"torch_mae_pred_l2_match_target", "False"},
		{"experiment_name", "'Synthetic_Runs'"}, {"notes", "''"}, {"model_name", "'PtychoPINNv2'"},
		{"middle_trim", "32"}, {"experiment_number", "0"}, {"pad_eval", "True"}, {"window", "20"},
		{"patch_weighting", "'probe'"}, {"varpro_scaling", "True"}, {"log_patch_stats", "False"}, {"patch_stats_limit", "None"},
		{"_version", "'2.0-pytorch'"},
	}
	require.Equal(t, want, pairsOf(fromHyper.Params))
	require.Contains(t, literal(fromFile.Scaling.Data), "'grid_size': (1, 1,)")
	require.Nil(t, fromHyper.Scaling.CIStatistics)
	require.Empty(t, noteTexts(fromHyper.Notes, NoteWarning), "the amplitude forward mode needs no statistics")
}

func TestTranslateSharedGAN(t *testing.T) {
	dir := filepath.Join(sharedRuns(t), "gan", "logs", "44k")
	s, err := Translate(Input{Preset: PresetNone, Files: []File{readFile(t, dir, "config.yaml")}, Required: []string{"model.inter_channels"}})
	require.NoError(t, err)
	require.Equal(t, `{'train': {'log_interval': 200, 'learning_rate': 0.0001, 'betas': [0.8, 0.99], 'eps': 1e-09}, `+
		`'data': {'sampling_rate': 44100}, 'model': {'inter_channels': 192, 'use_spectral_norm': False, 'note': None}}`, literal(s.Params))
}
