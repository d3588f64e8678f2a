// Package pickle reads Python pickles as data and writes plain ones.
//
// Nothing in a pickle is ever imported, called or executed: an import becomes a [Global], a call
// becomes an [Object] that remembers its class, arguments and state. The work and the memory of a
// read are bounded by the number of bytes read.
//
// A pickled value is one of these Go types:
//
//	nil                None
//	bool               bool
//	int64, *big.Int    int; *big.Int only for what int64 cannot hold
//	float64            float
//	string             str; never invalid UTF-8 except for lone surrogates
//	Bytes              bytes, bytearray
//	*List, *Tuple      list, tuple
//	*Dict              dict, in insertion order
//	*Set               set, frozenset
//	*Global            an imported name
//	*Object            the result of a call or of an instance creation, not made
//	*TensorCall        such a call as torch writes it for a plain tensor
//	*PersistentID      a reference to data outside of the pickle, such as a tensor's storage
//
// Values made only of nil, bool, int64, *big.Int, float64, string, *List and *Dict with string keys
// are called plain: configurations and params are held as plain values in the whole program.
//
// The opcodes are those of CPython's Lib/pickletools.py, protocols 0 to 5.
package pickle
