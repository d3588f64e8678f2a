package checkpoint

import (
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// allowed are the names that a state_dict may import: what torch.load(weights_only=True) knows in
// torch 1.13 to 2.15 (torch/_weights_only_unpickler.py, _get_allowed_globals), and the Python 2 name
// of builtins, which protocol 2 pickles use.
var allowed = func() map[string]bool {
	names := map[string]bool{
		"collections.OrderedDict": true, "collections.Counter": true, "_codecs.encode": true,
		"torch.Size": true, "torch.Tensor": true, "torch.device": true, "torch.nn.parameter.Parameter": true,
		"torch.nn.parameter.Buffer": true, "torch.serialization._get_layout": true, "torch._tensor._rebuild_from_type_v2": true,
		"torch.storage.TypedStorage": true, "torch.storage.UntypedStorage": true, "torch.storage._TypedStorage": true,
		"torch.storage._UntypedStorage": true,
	}
	for _, module := range []string{"builtins.", "__builtin__."} {
		for _, name := range []string{"set", "bytearray", "complex"} {
			names[module+name] = true
		}
	}
	for _, name := range []string{"tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "qtensor", "sparse_tensor",
		"sparse_csr_tensor", "meta_tensor_no_storage", "device_tensor_from_numpy", "device_tensor_from_cpu_tensor", "wrapper_subclass"} {
		names["torch._utils._rebuild_"+name] = true
	}
	for storage := range storageTypes {
		names["torch."+storage] = true
		names["torch.cuda."+storage] = true
	}
	for _, kind := range []string{"BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short"} {
		for _, module := range []string{"torch.", "torch.cuda.", "torch.sparse.", "torch.cuda.sparse."} {
			names[module+kind+"Tensor"] = true
		}
	}
	for dtype := range itemSizes {
		names["torch."+dtype] = true
	}
	for _, bits := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		names["torch.int"+bits] = true
		names["torch.uint"+bits] = true
	}
	for _, scheme := range []string{"per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric",
		"per_channel_affine_float_qparams"} {
		names["torch."+scheme] = true
	}
	return names
}()

// Foreign returns the imports that a state_dict does not need, each once, in order. It is no claim
// that the others are harmless in any program: only that torch.load(weights_only=True) knows them.
func Foreign(imports []pickle.Import) []pickle.Import {
	var foreign []pickle.Import
	seen := make(map[string]bool)
	for _, i := range imports {
		name := i.String()
		// A dotted name is looked up attribute by attribute: it can mean something else than it spells.
		if known := allowed[name] && !strings.Contains(i.Name, "."); !known && !seen[name] {
			seen[name] = true
			foreign = append(foreign, i)
		}
	}
	return foreign
}

// ForeignIn returns the imports inside a value that a state_dict does not need.
func ForeignIn(v any) []pickle.Import {
	var imports []pickle.Import
	seen := make(map[pickle.Global]bool)
	add := func(g pickle.Global) {
		if !seen[g] {
			seen[g] = true
			imports = append(imports, pickle.Import{Module: g.Module, Name: g.Name})
		}
	}
	walk(v, func(node any) bool {
		switch t := node.(type) {
		case *pickle.Global:
			add(*t)
		case *pickle.Set:
			if t.Frozen { // protocol 2 has no opcode for it
				add(pickle.Global{Module: "builtins", Name: "frozenset"})
			}
		case *pickle.TensorCall: // imports nothing but tensors' names, and the class of its storage
			class, _, _ := t.Storage()
			add(*class)
			return t.Changed()
		}
		return true
	})
	return Foreign(imports)
}

// NameList returns the dotted names of imports; nil when there are none.
func NameList(imports []pickle.Import) []string {
	var names []string
	for _, i := range imports {
		names = append(names, i.String())
	}
	return names
}

// Names joins the dotted names of imports for people.
func Names(imports []pickle.Import) string { return strings.Join(NameList(imports), ", ") }
