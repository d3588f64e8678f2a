package pickle

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
)

// hashable maps a key to something that Go can use as a map key and that is equal exactly when
// Python would call the keys equal (1 == 1.0 == True in Python, and so here).
func hashable(key any) any {
	switch k := key.(type) {
	case bool:
		if k {
			return int64(1)
		}
		return int64(0)
	case float64:
		return hashableFloat(k)
	case *big.Int:
		return bigKey(k.Text(16))
	case Bytes:
		return bytesKey(k)
	case *Global:
		return *k
	case *Tuple:
		if text, ok := appendTupleKey(nil, k); ok {
			return tupleKey(text)
		}
	}
	return key
}

type (
	bigKey   string
	bytesKey string
	tupleKey string
)

// hashableFloat returns the int that a float is equal to, if there is one.
func hashableFloat(f float64) any {
	if f != math.Trunc(f) || math.IsInf(f, 0) {
		return f
	}
	if f >= -1<<63 && f < 1<<63 {
		return int64(f)
	}
	n, _ := big.NewFloat(f).Int(nil)
	return bigKey(n.Text(16))
}

// maxTupleKey bounds the form of a tuple that is compared by value, in bytes; larger ones are compared by
// identity. It bounds the work, too, as tuples may share their items.
const maxTupleKey = 256

// keyCost is the work and memory that a key takes, in bytes: one long key may be used many times.
func keyCost(key any) int {
	switch k := key.(type) {
	case string:
		return len(k)
	case Bytes:
		return len(k)
	case *big.Int:
		return k.BitLen()
	case *Tuple:
		cost := 0
		for _, item := range k.Items {
			cost += 32
			if _, nested := item.(*Tuple); nested {
				cost += maxTupleKey
			}
		}
		return cost
	}
	return 0
}

// appendTupleKey appends a form of a tuple that is equal for equal tuples.
func appendTupleKey(b []byte, t *Tuple) ([]byte, bool) {
	b = append(b, '(')
	for _, item := range t.Items {
		if len(b) > maxTupleKey {
			return nil, false
		}
		switch t := item.(type) {
		case *Tuple:
			var ok bool
			if b, ok = appendTupleKey(b, t); !ok {
				return nil, false
			}
		case string:
			b = appendKeyText(b, 's', t)
		case Bytes:
			b = appendKeyText(b, 'b', t)
		default:
			b = appendScalarKey(b, t)
		}
	}
	return append(b, ')'), len(b) <= maxTupleKey
}

func appendScalarKey(b []byte, item any) []byte {
	switch k := hashable(item).(type) {
	case int64:
		return append(strconv.AppendInt(b, k, 10), ',')
	case nil, float64, Global:
		return fmt.Appendf(b, "%T%#v,", k, k)
	case bigKey:
		return appendKeyText(b, 'i', k)
	default:
		return fmt.Appendf(b, "%p,", k)
	}
}

// appendKeyText appends a text that cannot be taken for anything else; one that is too long only so far
// that the whole is too long.
func appendKeyText[T ~string | ~[]byte](b []byte, kind byte, s T) []byte {
	b = append(b, kind)
	b = append(strconv.AppendInt(b, int64(len(s)), 10), ':')
	return append(b, s[:min(len(s), maxTupleKey+1)]...)
}

// canBeKey tells whether Python could hash a value. Of objects it is not known and assumed.
func canBeKey(v any) bool {
	looks := maxTupleKey / 2
	return canBeKeyWithin(v, &looks)
}

func canBeKeyWithin(v any, looks *int) bool {
	switch t := v.(type) {
	case *List, *Dict:
		return false
	case *Set:
		return t.Frozen
	case *Tuple:
		for _, item := range t.Items {
			if *looks--; *looks < 0 {
				return true
			}
			if !canBeKeyWithin(item, looks) {
				return false
			}
		}
	}
	return true
}
