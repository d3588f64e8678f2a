package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// Call is a call that runs programs or code when Python unpickles a checkpoint.
type Call struct {
	Import pickle.Import // what is called; the offset is that of its import in the pickle
	Entry  string        // where in the checkpoint, for people
}

func (c Call) String() string {
	return fmt.Sprintf("%s calls %q, imported at byte %d of the pickle", c.Entry, c.Import.String(), c.Import.Offset)
}

// CallsOutside returns the calls that run programs or code in the parts of a checkpoint that stay behind when a
// state_dict is taken out of it, but for the parts that trainers are known to write beside the weights: they hold what a
// user's program put there. Values that the pickle makes and throws away are such a part, too.
func (c *Checkpoint) CallsOutside(s *StateDict) []Call {
	f := newCallFinder(c.Imports)
	if s.Path != "" {
		f.around(c.Root, s.Path)
	}
	for _, v := range c.discarded {
		f.look("a value that the pickle makes and throws away", v)
	}
	return f.found
}

// trainerEntries are the keys of what trainers write beside the weights: Lightning, fairseq, mmengine, timm, detectron2,
// ultralytics, NeMo, stable-baselines3, and programs in the manner of torch's examples.
var trainerEntries = setOf("hyper_parameters", "hyperparameters", "hparams", "hparams_name", "hparams_type", "datamodule_hyper_parameters",
	"datamodule_hparams_name", "datamodule_hparams_type", "callbacks", "optimizer_states", "optimizer_state", "optimizer_state_dict",
	"optimizer", "optimizers", "optim", "optim_state", "optim_state_dict", "opt", "opts", "opt_state", "optimizer_history",
	"last_optimizer_state", "lr_schedulers", "lr_scheduler", "lr_scheduler_state_dict", "scheduler", "schedulers", "scheduler_state",
	"scheduler_state_dict", "sched", "param_schedulers", "loops", "native_amp_scaling_state", "amp_scaling_state", "mixedprecision",
	"mixedprecisionplugin", "scaler", "scaler_state", "scaler_state_dict", "grad_scaler", "amp", "amp_scaler", "config", "configs", "cfg",
	"conf", "args", "arguments", "options", "params", "settings", "train_args", "training_args", "model_args", "model_config", "meta",
	"metadata", "message_hub", "extra_state", "task_state", "trainer", "train_state", "state", "rng_state", "rng_states", "random_state",
	"numpy_rng_state", "metrics", "train_metrics", "best_metrics", "train_results", "history", "logs", "ds_config", "client_state")

// isTrainers tells whether an entry is one that trainers are known to write.
func isTrainers(key any) bool {
	name, ok := key.(string)
	return ok && trainerEntries[strings.ToLower(name)]
}

// callFinder finds calls. It looks at each value once.
type callFinder struct {
	imports         []pickle.Import
	found           []Call
	seen, seenGiven map[any]bool
}

func newCallFinder(imports []pickle.Import) *callFinder {
	return &callFinder{imports: imports, seen: make(map[any]bool), seenGiven: make(map[any]bool)}
}

// around looks at what is beside the value at a path, at every level of it.
func (f *callFinder) around(v any, path string) {
	for above := ""; path != ""; {
		d := mapping(v)
		key, rest := nextKey(d, path)
		for k, item := range d.All() {
			if k == key || isTrainers(k) {
				continue
			}
			entry := fmt.Sprintf("its entry %.200q", above+keyText(k))
			f.look(entry, k)
			f.look(entry, item)
		}
		if o, ok := v.(*pickle.Object); ok {
			shell := *o
			shell.Items = nil
			f.look(fmt.Sprintf("%s around %.200q", pickle.Kind(o), above+key), &shell)
		}
		v, _ = d.Get(key)
		above, path = above+key+".", rest
	}
}

// look finds the calls in a value: what is called, and what is given to a call, because a partial, a map or a state calls
// that.
func (f *callFinder) look(entry string, v any) {
	given := &pickle.List{}
	walkUnseen(f.seen, v, func(node any) bool {
		o, ok := node.(*pickle.Object)
		if !ok {
			return true
		}
		switch class := o.Class.(type) {
		case *pickle.Global:
			if runs(class) || isGetattr(class) && reaches(o) {
				f.add(entry, class)
			}
		case *pickle.Object: // what a call returned is called
			if g, ok := class.Class.(*pickle.Global); ok && isAccessor(g) {
				f.add(entry, g)
			}
		}
		given.Items = append(append(given.Items, o.Args...), o.State)
		return true
	})
	walkUnseen(f.seenGiven, given, func(node any) bool {
		if g, ok := node.(*pickle.Global); ok && runs(g) {
			f.add(entry, g)
		}
		return true
	})
}

// isAccessor tells whether an import makes what reaches or calls attributes by their names, once it is called.
func isAccessor(g *pickle.Global) bool {
	return (g.Module == "operator" || g.Module == "_operator") && (g.Name == "attrgetter" || g.Name == "methodcaller")
}

func isGetattr(g *pickle.Global) bool {
	return g.Name == "getattr" && (g.Module == "builtins" || g.Module == "__builtin__")
}

// reaches tells whether a getattr is more than the lookup of a constant in a class, as which enums are pickled: it looks
// into the result of another call, or for what Python keeps for itself.
func reaches(o *pickle.Object) bool {
	if len(o.Args) < 2 {
		return true
	}
	class, isGlobal := o.Args[0].(*pickle.Global)
	name, isText := o.Args[1].(string)
	return !isGlobal || !isText || strings.HasPrefix(name, "__") || runs(&pickle.Global{Module: class.Module, Name: class.Name + "." + name})
}

// add notes a call, each name once for an entry.
func (f *callFinder) add(entry string, g *pickle.Global) {
	call := Call{Entry: entry, Import: pickle.Import{Module: g.Module, Name: g.Name}}
	at := slices.IndexFunc(f.imports, func(i pickle.Import) bool { return i.Module == g.Module && i.Name == g.Name })
	if at >= 0 {
		call.Import.Offset = f.imports[at].Offset
	}
	known := func(other Call) bool { return other.Entry == entry && other.Import == call.Import }
	if !slices.ContainsFunc(f.found, known) && len(f.found) < maxCalls {
		f.found = append(f.found, call)
	}
}

// maxCalls bounds the calls that are named.
const maxCalls = 100
