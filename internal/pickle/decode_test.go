package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecodeScalars(t *testing.T) {
	big80 := new(big.Int).Lsh(big.NewInt(1), 80)
	for _, tc := range []struct {
		name, pickle string
		want         any
	}{
		{"none", "N.", nil},
		{"true protocol 0", "I01\n.", true},
		{"true protocol 2", "\x80\x02\x88.", true},
		{"int text", "I-12\n.", int64(-12)},
		{"long text", "L1208925819614629174706176L\n.", big80},
		{"binint negative", "J\xff\xff\xff\xff.", int64(-1)},
		{"binint1", "K\xff.", int64(255)},
		{"binint2", "M\x00\x01.", int64(256)},
		{"long1 empty", "\x8a\x00.", int64(0)},
		{"long1 negative", "\x8a\x02\x00\x80.", int64(-32768)},
		{"long1 64 bit", "\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", int64(-1 << 63)},
		{"long1 beyond 64 bit", "\x8a\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01.", big80},
		{"long1 negative beyond", "\x8a\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff.", new(big.Int).Neg(big80)},
		{"float text", "F1.5e3\n.", 1500.0},
		{"binfloat", "G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5},
		{"string repr", "S'a\\n\\x41\\'\\101'\n.", "a\nA'A"},
		{"unicode text", "Vk\\u00e9y\n.", "kéy"},
		{"binunicode", "X\x02\x00\x00\x00hi.", "hi"},
		{"short binunicode", "\x80\x04\x8c\x02hi.", "hi"},
		{"bytes", "\x80\x03C\x02\x00\xff.", Bytes{0, 255}},
		{"bytearray", "\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00A.", Bytes("A")},
		{"frame", "\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N.", nil},
		{"dup and pop", "NN20.", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := Decode([]byte(tc.pickle))
			if tc.name == "dup and pop" {
				require.ErrorContains(t, err, "left on the stack")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, p.Value)
			require.Equal(t, len(tc.pickle), p.Size)
		})
	}
}

func TestDecodeContainersAndMemo(t *testing.T) {
	p, err := Decode([]byte("\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01K\x02eX\x01\x00\x00\x00bh\x02h\x01N\x85q\x03u."))
	require.NoError(t, err)
	d := p.Value.(*Dict)
	a, _ := d.Get("a")
	require.IsType(t, &Tuple{}, a, "the last value of a repeated key wins")
	b, _ := d.Get("b")
	require.Equal(t, &List{Items: []any{int64(1), int64(2)}}, b)
	require.Equal(t, 2, d.Len())
}

func TestDecodeKeepsIdentity(t *testing.T) {
	p, err := Decode([]byte("\x80\x02]q\x00h\x00a."))
	require.NoError(t, err)
	l := p.Value.(*List)
	require.Same(t, l, l.Items[0], "a list that holds itself")
}

func TestDecodeListsImportsOfEveryKind(t *testing.T) {
	for _, tc := range []struct{ name, pickle, want string }{
		{"global and reduce", "cos\nsystem\n(S'id'\ntR.", "os.system"},
		{"inst", "(S'id'\nios\nsystem\n.", "os.system"},
		{"obj", "(cos\nsystem\nS'id'\no.", "os.system"},
		{"stack global", "\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x031+1\x85R.", "builtins.eval"},
		{"through the memo", "\x80\x04\x8c\x05posix\x940\x8c\x06system\x940h\x00h\x01\x93\x8c\x02id\x85R.", "posix.system"},
		{"newobj", "\x80\x02cm\nC\n)\x81.", "m.C"},
		{"newobj_ex", "\x80\x04\x8c\x01m\x8c\x01C\x93)}\x92.", "m.C"},
		{"extension", "\x80\x02\x82\x05.", "copyreg.extension 5"},
		{"without a stop", "\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R", "posix.system"},
		{"dropped again", "cos\nsystem\n0N.", "os.system"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, _ := Decode([]byte(tc.pickle))
			require.Len(t, p.Imports, 1)
			require.Equal(t, tc.want, p.Imports[0].String())
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, tc := range []struct{ name, pickle, reason string }{
		{"empty", "", "without a STOP"},
		{"no stop", "\x80\x02N", "without a STOP"},
		{"unknown opcode", "\xffN.", "no opcode"},
		{"marks without end", "\x80\x02" + strings.Repeat("(", 200_000) + ".", "nested more than"},
		{"string longer than the file", "\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x40x.", "only 2 are left"},
		{"negative length", "T\xff\xff\xff\xffx.", "only 2 are left"},
		{"memo bomb", "\x80\x02Nr\xf0\xff\xff\xff.", "larger than the pickle"},
		{"memo never set", "h\x05.", "never set"},
		{"empty stack", "0.", "stack is empty"},
		{"pop below the mark", "N(a.", "stack is empty"},
		{"append to a dict", "}Na.", "which is no list"},
		{"item of a list", "]NNs.", "which is no dict"},
		{"key without value", "}(Nu.", "no value"},
		{"build of a list", "]}b.", "no instance"},
		{"arguments are no tuple", "cos\nsystem\n]R.", "not a tuple"},
		{"stack global of ints", "K\x01K\x01\x93.", "not two strings"},
		{"protocol 6", "\x80\x06N.", "not known"},
		{"frame too long", "\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N.", "a frame of 255"},
		{"digits", "I" + strings.Repeat("9", 5000) + "\n.", "5000 digits"},
		{"no mark", "t.", "no mark"},
		{"protocol in the middle", "\x80\x02N0\x80\x04N.", "in the middle"},
		{"memo index beyond the pickle", "j\xff\xff\xff\xff.", "never set"},
		{"int of 3000 bytes", "\x8b\xb8\x0b\x00\x00" + strings.Repeat("\x01", 3000) + ".", "an int of 3000 bytes"},
		{"str that is not UTF-8", "X\x01\x00\x00\x00\xff.", `a str that is not UTF-8: "\xff"`},
		{"import that is not UTF-8", "c\xff\nx\n.", "not UTF-8"},
		{"import that is UTF-8 only when joined", "c\xc3\n\xa9\n.", "not UTF-8"},
		{"persistent id that is not UTF-8", "P\xff\n.", "not UTF-8"},
		{"half a surrogate", "X\x02\x00\x00\x00\xed\xa0.", "not UTF-8"},
		{"string of Python 2 that is not UTF-8", "U\x03\xed\xa0\x80.", "not UTF-8"},
		{"list as a key", "}]Ns.", "a key is a list, which cannot be hashed"},
		{"list in a set", "\x8f(]\x90.", "a set has a list in it"},
		{"member of a list", "](N\x90.", "no set that can change"},
		{"build twice", "cm\nC\n)\x81}b}b.", "twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Decode([]byte(tc.pickle))
			require.ErrorContains(t, err, tc.reason)
			var pe *Error
			require.ErrorAs(t, err, &pe)
		})
	}
}

func TestDecodeBoundsMemory(t *testing.T) {
	// Each byte makes an empty dict: far more memory than bytes.
	_, err := Decode([]byte("(" + strings.Repeat("}", 2<<20) + "l."))
	require.ErrorContains(t, err, "more memory than")
	// Each three bytes use a key that takes long to look up.
	_, err = Decode([]byte("\x80\x02X\x00\x00\x10\x00" + strings.Repeat("k", 1<<20) + "q\x000}(" + strings.Repeat("h\x00N", 1<<20) + "u."))
	require.ErrorContains(t, err, "more memory than")
	_, err = Decode(make([]byte, MaxSize+1))
	require.ErrorContains(t, err, "more than")
}

// Many references to one thing cost two bytes each in the pickle, and must not cost much more elsewhere.
func TestSharingIsNoBomb(t *testing.T) {
	laughs := &List{Items: []any{int64(1)}}
	for range 40 {
		laughs = &List{Items: []any{laughs, laughs, laughs, laughs}}
	}
	b, err := Encode(laughs)
	require.NoError(t, err)
	require.Less(t, len(b), 1000)
	_, err = AppendJSON(nil, laughs)
	require.ErrorContains(t, err, "larger than")

	long := &List{Items: slices.Repeat([]any{strings.Repeat("x", 1<<20)}, 1000)}
	_, err = Encode(long)
	require.ErrorContains(t, err, "larger than")
}

func TestDictKeysAreEqualAsInPython(t *testing.T) {
	tuple := func(items ...any) *Tuple { return &Tuple{Items: items} }
	two63 := new(big.Int).Lsh(big.NewInt(1), 63)
	for _, tc := range []struct {
		name  string
		a, b  any
		equal bool
	}{
		{"int and bool", int64(1), true, true},
		{"int and float", int64(2), 2.0, true},
		{"int and another float", int64(2), 2.5, false},
		{"negative zero", 0.0, math.Copysign(0, -1), true},
		{"int and str", int64(1), "1", false},
		{"str and bytes", "a", Bytes("a"), false},
		{"bytes", Bytes("a"), Bytes("a"), true},
		{"big ints", two63, new(big.Int).Set(two63), true},
		{"big int and float", two63, float64(1 << 63), true},
		{"big int and the smallest int64", two63, int64(-1 << 63), false},
		{"infinity", math.Inf(1), math.Inf(-1), false},
		{"imports", &Global{"m", "C"}, &Global{"m", "C"}, true},
		{"tuples", tuple(int64(1), "a"), tuple(true, "a"), true},
		{"nested tuples", tuple(tuple("a"), "b"), tuple(tuple("a", "b")), false},
		{"tuples of texts that look alike", tuple("a,s1:b"), tuple("a", "b"), false},
		{"tuples of kinds that look alike", tuple("1"), tuple(int64(1)), false},
		{"objects", &Object{}, &Object{}, false},
		{"tuples of objects", tuple(&Object{}), tuple(&Object{}), false},
		{"none and an empty tuple", nil, tuple(), false},
	} {
		for _, others := range []int{0, 20} { // below and above what is searched one by one
			d := &Dict{}
			for i := range others {
				d.Set(fmt.Sprint("other ", i), nil)
			}
			d.Set(tc.a, "first")
			d.Set(tc.b, "second")
			want := others + 2
			if tc.equal {
				want--
			}
			require.Equal(t, want, d.Len(), tc.name)
			got, ok := d.Get(tc.b)
			require.True(t, ok, tc.name)
			require.Equal(t, "second", got, tc.name)
		}
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	list := &List{Items: []any{int64(1), "x"}}
	for _, v := range []any{
		nil, true, false, int64(0), int64(255), int64(256), int64(65535), int64(65536), int64(-1), int64(1 << 31), int64(-1 << 63),
		int64(1<<63 - 1), int64(-129), new(big.Int).Lsh(big.NewInt(-1), 80), new(big.Int).Lsh(big.NewInt(1), 63), 1.5, "", "ключ\n",
		&List{}, &List{Items: []any{}}, &Tuple{Items: []any{int64(1)}}, &Tuple{Items: []any{list, list, list, list}},
		NewDict("a", int64(1), "b", list, "c", list, int64(3), nil),
		&Object{Class: &Global{"collections", "OrderedDict"}, Items: NewDict("w", &PersistentID{ID: &Tuple{Items: []any{"storage", &Global{"torch", "FloatStorage"}}}}), Built: true, State: NewDict("_metadata", nil)},
		&Object{Class: &Global{"m", "C"}, New: true, Args: []any{int64(1)}},
	} {
		b, err := Encode(v)
		require.NoError(t, err)
		p, err := Decode(b)
		require.NoError(t, err)
		again, err := Encode(p.Value)
		require.NoError(t, err)
		require.Equal(t, b, again)
	}
}

func TestEncodeKeepsSharing(t *testing.T) {
	l := &List{}
	l.Items = []any{l}
	b, err := Encode(l)
	require.NoError(t, err)
	p, err := Decode(b)
	require.NoError(t, err)
	got := p.Value.(*List)
	require.Same(t, got, got.Items[0])
}

func TestEncodePlainRefusesImports(t *testing.T) {
	_, err := EncodePlain(NewDict("x", &Global{"os", "system"}))
	require.ErrorContains(t, err, "no plain value")
	_, err = EncodePlain(NewDict("x", Bytes("b")))
	require.ErrorContains(t, err, "no plain value")
}

func TestAppendJSON(t *testing.T) {
	b, err := AppendJSON(nil, NewDict("n", int64(1), "f", 1e9, "big", 1e300, "l", &Tuple{Items: []any{nil, true, "é\x1b"}}, "e", &Dict{}))
	require.NoError(t, err)
	require.Equal(t, `{"n":1,"f":1e+09,"big":1e+300,"l":[null,true,"é\u001b"],"e":{}}`, string(b))
}

func FuzzDecode(f *testing.F) {
	for _, s := range corpus(f) {
		f.Add(s.Pickle)
	}
	for _, s := range []string{"N.", "\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01u.", "(S'id'\nios\nsystem\n.", "\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x031+1\x85R.",
		"\x80\x02]q\x00h\x00a.", "\x80\x02cm\nC\n)\x81}b.", "\x8a\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data)
		if err != nil {
			return
		}
		b, err := Encode(p.Value)
		if err != nil {
			return
		}
		q, err := Decode(b)
		if err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
		again, err := Encode(q.Value)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != string(again) {
			t.Fatalf("not stable: %q, then %q", b, again)
		}
	})
}

// A dict that comes in pieces, as Python writes large ones, ends with little more room than it needs.
func TestLargeDictsHaveLittleSpareRoom(t *testing.T) {
	const batches, batch = 60, 1000
	text := []byte{opProto, 2, opEmptyDict}
	for i := range batches {
		text = append(text, opMark)
		for j := range batch {
			n := uint32(i*batch + j)
			text = binary.LittleEndian.AppendUint32(append(text, opBinInt), n)
			text = append(text, opBinInt1, byte(n))
		}
		text = append(text, opSetItems)
	}
	p, err := Decode(append(text, opStop))
	require.NoError(t, err)
	d := p.Value.(*Dict)
	require.Equal(t, batches*batch, d.Len())
	require.LessOrEqual(t, cap(d.pairs), 2*batches*batch*21/20)
	for i := range batches * batch {
		v, ok := d.Get(int64(i))
		require.True(t, ok)
		require.Equal(t, int64(byte(i)), v)
	}
}
