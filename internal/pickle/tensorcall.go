package pickle

import (
	"errors"
	"hash/maphash"
	"slices"
)

// TensorCall is the call of torch._utils._rebuild_tensor_v2 in the form in which torch.save writes it for every plain
// tensor: a checkpoint can have some hundred thousand. It stands for the [Object] that [TensorCall.Object] returns, and
// takes an eighth of its memory.
type TensorCall struct {
	*tensorForm
	key    string
	offset int64
	single
}

// tensorForm is what many tensors have in common.
type tensorForm struct {
	function, class, hooks *Global
	location               string
	elements               int64
	shape, stride          *Tuple
	grad                   bool
	changed                *Object // what the pickle made of the one tensor of this form, if it changed it after the call
}

// Object returns the call with its arguments. Unless the pickle changed the object after the call, it is made anew each
// time.
func (t *TensorCall) Object() *Object {
	if t.changed != nil {
		return t.changed
	}
	hooks := &Object{Class: t.hooks, single: single{true}}
	return &Object{Class: t.function, Args: []any{t.StorageID(), t.offset, t.shape, t.stride, t.grad, hooks}, single: single{true}}
}

// StorageID returns the persistent id of the storage that the tensor is a view of.
func (t *TensorCall) StorageID() *PersistentID {
	id := &Tuple{Items: []any{storageWord, t.class, t.key, t.location, t.elements}, single: single{true}}
	return &PersistentID{ID: id, single: single{true}}
}

const storageWord = "storage"

// Storage returns what describes the storage that the tensor is a view of.
func (t *TensorCall) Storage() (class *Global, key string, elements int64) {
	return t.class, t.key, t.elements
}

// View returns where in the storage the tensor lies, in elements; shape and stride are counts.
func (t *TensorCall) View() (offset int64, shape, stride *Tuple) { return t.offset, t.shape, t.stride }

// Changed tells whether the pickle changed the object after the call: then it is more than the tensor.
func (t *TensorCall) Changed() bool { return t.changed != nil }

// object returns the object as which the pickle changes the tensor from now on.
func (t *TensorCall) object() *Object {
	if t.changed == nil {
		own := *t.tensorForm
		own.changed = t.Object()
		t.tensorForm = &own
	}
	return t.changed
}

// tensorCall writes what stands for an object: nothing else refers to its parts.
func (e *encoder) tensorCall(t *TensorCall) error {
	if t.changed != nil {
		return e.value(t.changed)
	}
	if err := e.global(t.function); err != nil {
		return err
	}
	e.op(opMark)
	e.op(opMark)
	e.string(storageWord)
	if err := e.global(t.class); err != nil {
		return err
	}
	e.string(t.key)
	e.string(t.location)
	e.int(t.elements)
	e.op(opTuple)
	e.op(opBinPersID)
	e.int(t.offset)
	if err := errors.Join(e.tuple(t.shape), e.tuple(t.stride), e.value(t.grad), e.global(t.hooks)); err != nil {
		return err
	}
	e.out = append(e.out, opEmptyTuple, opReduce, opTuple, opReduce)
	return nil
}

// Bytes of values, as the decoder counts them.
const (
	costTensorCall = 40 + 16 // with its share in forms
	costTensorForm = 96
	costPackedAway = costPersistentID + 2*costTuple + (5+6)*costItem + costObject // the parts, which were counted
)

// packTensor returns the small form of the call of class with args, nil when it has none. Nothing else may refer to
// its parts.
func (d *decoder) packTensor(class any, args *Tuple) *TensorCall {
	var form tensorForm
	if !form.takeFunction(class) || !args.once || len(args.Items) != 6 || !form.takeHooks(args.Items[5]) {
		return nil
	}
	key, isStorage := form.takeStorage(args.Items[0])
	var ok [4]bool
	offset, isOffset := args.Items[1].(int64)
	form.shape, ok[0] = args.Items[2].(*Tuple)
	form.stride, ok[1] = args.Items[3].(*Tuple)
	form.grad, ok[2] = args.Items[4].(bool)
	if ok[3] = isStorage && isOffset; ok != [4]bool{true, true, true, true} || !isCounts(form.shape) || !isCounts(form.stride) {
		return nil
	}
	d.memory += costPackedAway
	d.spares.take(args)
	t := d.calls.next()
	*t = TensorCall{tensorForm: d.forms.intern(form), key: key, offset: offset, single: single{true}}
	return t
}

// tensorCalls are tensors that are not read yet, some of them in one piece of memory: that is less for the garbage collector to
// look at.
type tensorCalls struct {
	free  []TensorCall
	count int // of the last piece
}

func (c *tensorCalls) next() *TensorCall {
	if len(c.free) == 0 {
		c.count = min(2*c.count+2, 64)
		c.free = make([]TensorCall, c.count)
	}
	t := &c.free[0]
	c.free = c.free[1:]
	return t
}

func (form *tensorForm) takeFunction(class any) (ok bool) {
	form.function, ok = class.(*Global)
	return ok && form.function.Module == "torch._utils" && form.function.Name == "_rebuild_tensor_v2"
}

// takeStorage reads the persistent id ('storage', class, key, location, elements).
func (form *tensorForm) takeStorage(v any) (key string, ok bool) {
	id, ok := v.(*PersistentID)
	if !ok || !id.once {
		return "", false
	}
	parts, ok := id.ID.(*Tuple)
	if !ok || !parts.once || len(parts.Items) != 5 || parts.Items[0] != storageWord {
		return "", false
	}
	var is [4]bool
	form.class, is[0] = parts.Items[1].(*Global)
	key, is[1] = parts.Items[2].(string)
	form.location, is[2] = parts.Items[3].(string)
	form.elements, is[3] = parts.Items[4].(int64)
	return key, is == [4]bool{true, true, true, true}
}

// takeHooks reads an empty OrderedDict.
func (form *tensorForm) takeHooks(v any) bool {
	o, ok := v.(*Object)
	if !ok || !o.once || !o.Is("collections", "OrderedDict") || o.New || o.Built || len(o.Args) > 0 || o.Items != nil || o.Appended != nil {
		return false
	}
	form.hooks = o.Class.(*Global)
	return true
}

// spares are what a tensor was packed from. Nothing refers to it any more, so that the next tensor is read into it.
type spares struct {
	tuples [7]*Tuple // by their length
	id     *PersistentID
	hooks  *Object
}

// take takes the arguments of a tensor that was packed, and what they hold.
func (s *spares) take(args *Tuple) {
	s.id, s.hooks = args.Items[0].(*PersistentID), args.Items[5].(*Object)
	for _, t := range []*Tuple{s.id.ID.(*Tuple), args} {
		clear(t.Items)
		s.tuples[len(t.Items)] = t
	}
}

func (s *spares) tuple(items []any) *Tuple {
	if len(items) >= len(s.tuples) || s.tuples[len(items)] == nil {
		return &Tuple{Items: slices.Clone(items), single: single{true}}
	}
	t := s.tuples[len(items)]
	s.tuples[len(items)] = nil
	copy(t.Items, items)
	return t
}

func (s *spares) persistentID(id any) *PersistentID {
	p := s.id
	if s.id = nil; p == nil {
		p = new(PersistentID)
	}
	*p = PersistentID{ID: id, single: single{true}}
	return p
}

func (s *spares) object(o Object) *Object {
	p := s.hooks
	if s.hooks = nil; p == nil {
		p = new(Object)
	}
	*p = o
	return p
}

// forms and tuples keep one of equal values, as long as no other takes its place: what repeats in a checkpoint
// repeats soon.
type (
	forms  [512]*tensorForm
	tuples [512]*Tuple
)

func (f *forms) intern(form tensorForm) *tensorForm {
	at := &f[maphash.Comparable(keySeed, form)%uint64(len(f))]
	if *at == nil || **at != form {
		kept := form
		*at = &kept
	}
	return *at
}

// maxCounts is the length up to which tuples of counts, such as shapes, are kept once.
const maxCounts = 8

// isCounts tells whether a tuple is short and holds ints only. Python does not tell equal ones apart, so neither do we.
func isCounts(t *Tuple) bool {
	if len(t.Items) > maxCounts {
		return false
	}
	for _, item := range t.Items {
		if _, ok := item.(int64); !ok {
			return false
		}
	}
	return true
}

// intern returns the kept tuple that has these items, if they are counts, and whether it was kept before.
func (t *tuples) intern(items []any) (tuple *Tuple, kept bool) {
	if len(items) > maxCounts {
		return nil, false
	}
	sum := scatter * uint64(len(items)+1)
	for _, item := range items {
		n, ok := item.(int64)
		if !ok {
			return nil, false
		}
		sum = (sum ^ uint64(n)) * scatter
	}
	at := &t[sum>>32%uint64(len(t))] // the high bits depend on all items
	if *at != nil && slices.Equal((*at).Items, items) {
		return *at, true
	}
	*at = &Tuple{Items: slices.Clone(items)}
	return *at, false
}

// scatter spreads numbers over 64 bits: an odd number without a pattern.
const scatter = 0x9e3779b97f4a7c15
