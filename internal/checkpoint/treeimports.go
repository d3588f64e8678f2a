package checkpoint

import "path"

// ownImports returns the imports that a format's own writer puts into a file of that base name. They are enums,
// and classes that hold data; they are no claim about code that would be run with them.
func ownImports(name string) map[string]bool {
	for _, own := range []struct {
		pattern string
		imports map[string]bool
	}{
		{metadataName, dcpImports},
		{"rng_state*.pth", randomImports},
		{"random_states_*.pkl", randomImports},
		{argumentsName, argumentsImports},
	} {
		if ok, _ := path.Match(own.pattern, name); ok {
			return own.imports
		}
	}
	return nil
}

// dcpImports are those of a .metadata of torch 2.0 to 2.15 (torch/distributed/checkpoint/{metadata,filesystem}.py).
var dcpImports = func() map[string]bool {
	imports := map[string]bool{
		"torch.distributed.checkpoint.filesystem._StorageInfo":   true,
		"torch.distributed.checkpoint.filesystem._StoragePrefix": true,
		"pathlib.PosixPath": true, "pathlib._local.PosixPath": true,
	}
	for _, name := range []string{"Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "TensorProperties",
		"ChunkStorageMetadata", "BytesStorageMetadata", "_MEM_FORMAT_ENCODING"} {
		imports["torch.distributed.checkpoint.metadata."+name] = true
	}
	return imports
}()

// randomImports are those of a saved state of numpy's random numbers; transformers and accelerate load it with
// weights_only=True and these allowed (transformers/trainer.py, accelerate/checkpointing.py: safe_globals).
var randomImports = map[string]bool{
	"numpy.core.multiarray._reconstruct": true, "numpy._core.multiarray._reconstruct": true,
	"numpy.ndarray": true, "numpy.dtype": true, "numpy.dtypes.UInt32DType": true,
}

// argumentsImports are those of transformers' training_args.bin, which Trainer writes and never loads.
var argumentsImports = map[string]bool{
	"transformers.training_args.TrainingArguments":                true,
	"transformers.training_args_seq2seq.Seq2SeqTrainingArguments": true,
	"transformers.training_args.OptimizerNames":                   true,
	"transformers.training_args.ParallelMode":                     true,
	"transformers.trainer_utils.HubStrategy":                      true,
	"transformers.trainer_utils.IntervalStrategy":                 true,
	"transformers.trainer_utils.SaveStrategy":                     true,
	"transformers.trainer_utils.SchedulerType":                    true,
	"transformers.trainer_utils.EvaluationStrategy":               true,
	"transformers.trainer_utils.FSDPOption":                       true,
	"transformers.debug_utils.DebugOption":                        true,
	"transformers.trainer_pt_utils.AcceleratorConfig":             true,
	"accelerate.state.PartialState":                               true,
	"accelerate.utils.dataclasses.DistributedType":                true,
}
