package snapshot

import (
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/pickle"
)

// className returns the dotted name of an object's class, that of the instance when it was made by
// one of copyreg's functions (protocols 0 and 1).
func className(o *pickle.Object) string {
	if isCopyreg(o) && len(o.Args) > 0 {
		if g, ok := o.Args[0].(*pickle.Global); ok {
			return python3Name(g.String())
		}
		return unnamedType
	}
	return python3Name(o.ClassName())
}

func isCopyreg(o *pickle.Object) bool {
	switch o.ClassName() {
	case "copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__", "copy_reg.__newobj__":
		return true
	}
	return false
}

// python3Name undoes the renaming of protocols 0 to 2, see CPython's Lib/_compat_pickle.py.
func python3Name(name string) string {
	if rest, ok := strings.CutPrefix(name, "__builtin__."); ok {
		return "builtins." + rest
	}
	return name
}

// isTensor tells whether a value is a tensor or a part of one.
func isTensor(v any) bool {
	if _, ok := v.(*pickle.TensorCall); ok {
		return true
	}
	o, ok := v.(*pickle.Object)
	if !ok {
		return false
	}
	name := className(o)
	return strings.HasPrefix(name, "torch._utils._rebuild_") ||
		strings.HasPrefix(name, "torch._tensor._rebuild_") ||
		strings.HasPrefix(name, "torch.storage.") ||
		name == "torch.Tensor" || name == "torch.nn.parameter.Parameter"
}

func (f *flattener) object(o *pickle.Object) (any, bool) {
	if isTensor(o) {
		if f.exact {
			return o, true
		}
		return f.leaveOut("a tensor")
	}
	name := className(o)
	switch name {
	case "collections.OrderedDict", "collections.defaultdict", "builtins.dict":
		return f.mapping(o)
	case "builtins.set", "builtins.frozenset", "builtins.list", "builtins.tuple", "torch.Size":
		return f.content(o)
	case "_codecs.encode", "builtins.bytes", "builtins.bytearray":
		return f.leaveOut("bytes")
	case "torch.device":
		return joinArgs(o.Args, ":"), true
	case "numpy.dtype":
		return joinArgs(o.Args[:min(1, len(o.Args))], ""), true
	case "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar":
		return f.numpyScalar(o)
	case "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct":
		return f.leaveOut("an array")
	case "builtins.getattr": // by which some enum members are pickled
		return joinArgs(o.Args, "."), true
	}
	return f.objectOfFamily(o, name)
}

func (f *flattener) objectOfFamily(o *pickle.Object, name string) (any, bool) {
	switch {
	case strings.HasPrefix(name, "pathlib."):
		return pathText(name, o.Args), true
	case strings.HasPrefix(name, "omegaconf."):
		return f.omegaconf(o, name)
	case strings.HasSuffix(name, ".AttributeDict"): // Lightning's, a dict
		return f.mapping(o)
	}
	f.notes.add(NoteClass, f.key(), "an instance of %s flattened to plain values", quote(name))
	f.classes[name] = true
	return f.instance(o)
}

// instance flattens an object of a class that is not known by what the pickle says of it: its
// entries, else its elements, else its state, else the arguments that it was made of.
func (f *flattener) instance(o *pickle.Object) (any, bool) {
	args := o.Args
	if isCopyreg(o) {
		args = args[min(len(args), 3):]
	}
	switch {
	case o.Items.Len() > 0:
		return f.dict(o.Items), true
	case len(o.Appended) > 0:
		return &pickle.List{Items: f.items(o.Appended)}, true
	case o.Built:
		return f.state(o.State)
	case len(args) == 1 && !o.New:
		return f.value(args[0])
	case len(args) > 0:
		return &pickle.List{Items: f.items(args)}, true
	}
	return &pickle.Dict{}, true
}

// state flattens the argument of BUILD: the attributes, or the pair of attributes and slots.
func (f *flattener) state(state any) (any, bool) {
	if fields, ok := pydanticFields(state); ok {
		return f.dict(fields), true
	}
	pair, ok := state.(*pickle.Tuple)
	if !ok || !isAttributesAndSlots(pair.Items) {
		return f.value(state)
	}
	plain := &pickle.Dict{}
	for _, part := range pair.Items {
		if attributes, ok := part.(*pickle.Dict); ok {
			f.into(plain, attributes)
		}
	}
	return plain, true
}

func isAttributesAndSlots(items []any) bool {
	if len(items) != 2 {
		return false
	}
	_, slots := items[1].(*pickle.Dict)
	_, attributes := items[0].(*pickle.Dict)
	return slots && (attributes || items[0] == nil) || attributes && items[1] == nil
}

// pydanticFields finds the fields of a pydantic model, whose state has its own shape
// (pydantic/main.py, BaseModel.__getstate__).
func pydanticFields(state any) (*pickle.Dict, bool) {
	d, ok := state.(*pickle.Dict)
	if !ok || !d.Has("__pydantic_fields_set__") {
		return nil, false
	}
	fields, _ := d.Get("__dict__")
	attributes, ok := fields.(*pickle.Dict)
	return attributes, ok
}

// mapping flattens a dict, or a subclass that adds nothing to keep.
func (f *flattener) mapping(o *pickle.Object) (any, bool) {
	plain := &pickle.Dict{}
	for _, arg := range o.Args {
		if d, ok := arg.(*pickle.Dict); ok {
			f.into(plain, d)
		}
	}
	f.into(plain, o.Items)
	return plain, true
}

// content flattens a call such as set([…]).
func (f *flattener) content(o *pickle.Object) (any, bool) {
	if len(o.Args) == 0 {
		return &pickle.List{Items: f.items(o.Appended)}, true
	}
	return f.value(o.Args[0])
}

// pathText joins the parts of a pathlib path.
func pathText(class string, args []any) string {
	separator := "/"
	if strings.Contains(class, "Windows") {
		separator = `\`
	}
	if len(args) == 0 {
		return "."
	}
	if root, ok := args[0].(string); ok && len(args) > 1 && strings.HasSuffix(root, separator) {
		return root + joinArgs(args[1:], separator)
	}
	return joinArgs(args, separator)
}

func joinArgs(args []any, separator string) string {
	var parts []string
	for _, arg := range args {
		switch arg := arg.(type) {
		case string:
			parts = append(parts, arg)
		case *pickle.Global:
			parts = append(parts, arg.String())
		case int64:
			text, _ := scalarRepr(arg)
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, separator)
}

// omegaconf flattens a container or a node of OmegaConf; interpolations stay the strings they are.
// Containers and unions have _content, other nodes _val (omegaconf/base.py).
func (f *flattener) omegaconf(o *pickle.Object, name string) (any, bool) {
	state, ok := o.State.(*pickle.Dict)
	if !ok {
		return f.leaveOut("an instance of " + quote(name) + " without a state")
	}
	for _, attribute := range []string{"_content", "_val"} {
		if content, ok := state.Get(attribute); ok {
			return f.value(content)
		}
	}
	return f.state(state)
}
