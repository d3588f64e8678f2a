package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// TensorList is a list of tensors that takes little memory, because a checkpoint can have some hundred thousand: the
// descriptions are made anew each time that it is gone through. The zero value is no list at all.
type TensorList struct {
	count int
	each  func(visit func(Tensor) error) error
}

// ListTensors returns a list of tensors that are in memory anyway.
func ListTensors(tensors []Tensor) TensorList {
	if tensors == nil {
		return TensorList{}
	}
	return TensorList{count: len(tensors), each: func(visit func(Tensor) error) error {
		for _, t := range tensors {
			if err := visit(t); err != nil {
				return err
			}
		}
		return nil
	}}
}

// listAnew returns what a function lists, again and again, once it did so without an error.
func listAnew(each func(visit func(Tensor) error) error) (TensorList, error) {
	l := TensorList{each: each}
	err := each(func(Tensor) error {
		l.count++
		return nil
	})
	return l, err
}

// Len returns the number of tensors.
func (l TensorList) Len() int { return l.count }

// IsNil tells whether it is no list, not even an empty one.
func (l TensorList) IsNil() bool { return l.each == nil }

// Each visits the tensors in their order, until visit returns an error.
func (l TensorList) Each(visit func(Tensor) error) error {
	if l.each == nil {
		return nil
	}
	return l.each(visit)
}

// All returns the tensors.
func (l TensorList) All() ([]Tensor, error) {
	if l.each == nil {
		return nil, nil
	}
	all := make([]Tensor, 0, l.count)
	err := l.Each(func(t Tensor) error {
		all = append(all, t)
		return nil
	})
	return all, err
}

// MarshalJSON implements json.Marshaler.
func (l TensorList) MarshalJSON() ([]byte, error) {
	all, err := l.All()
	if err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// UnmarshalJSON implements json.Unmarshaler. The text is kept, and parsed each time that the list is gone through.
func (l *TensorList) UnmarshalJSON(text []byte) (err error) {
	if string(text) == "null" {
		*l = TensorList{}
		return nil
	}
	kept := withoutBlanks(text)
	*l, err = listAnew(func(visit func(Tensor) error) error { return eachInJSON(kept, visit) })
	return err
}

// withoutBlanks returns a copy of a JSON text without the blanks between its tokens, which are the half of an indented
// one. json.Compact does the same in twice the memory.
func withoutBlanks(text []byte) []byte {
	kept := make([]byte, 0, len(text)/2)
	inString := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			kept = append(kept, c)
			i++
		case !inString && (c == ' ' || c == '\n' || c == '\t' || c == '\r'):
			continue
		}
		kept = append(kept, text[i])
	}
	return kept
}

func eachInJSON(text []byte, visit func(Tensor) error) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return fmt.Errorf("the tensors are no array, but begin with %v", t)
	}
	for d.More() {
		var t Tensor
		if err := d.Decode(&t); err != nil {
			return fmt.Errorf("read a tensor: %w", err)
		}
		if err := visit(t); err != nil {
			return err
		}
	}
	return nil
}
