package zipfile

import (
	"archive/zip"
	"bytes"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCombine(t *testing.T) {
	data := make([]byte, 10_000)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	for _, cut := range []int{0, 1, 7, 64, 4096, 9_999, 10_000} {
		a, b := data[:cut], data[cut:]
		require.Equal(t, crc32.ChecksumIEEE(data), Combine(crc32.ChecksumIEEE(a), crc32.ChecksumIEEE(b), int64(len(b))))
	}
}

type content struct {
	name, data string
	place      Place
}

func build(t testing.TB, files []content) []byte {
	t.Helper()
	var l Layout
	var out []byte
	for _, f := range files {
		h := Header{Name: f.name, Size: int64(len(f.data)), CRC32: crc32.ChecksumIEEE([]byte(f.data)), Place: f.place}
		want := l.DataOffset(h)
		out = append(out, l.Add(h)...)
		require.EqualValues(t, want, len(out))
		if f.place.Modulus > 0 {
			require.Equal(t, f.place.Offset%f.place.Modulus, int64(len(out))%f.place.Modulus)
		}
		out = append(out, f.data...)
		require.EqualValues(t, len(out), l.Offset())
	}
	return append(out, l.End()...)
}

var sample = []content{
	{name: "manifest.dill", data: "hello"},
	{name: "a/data/0", data: "0123456789", place: Place{Modulus: 64}},
	{name: "ключ", data: "", place: Place{Modulus: 4096, Offset: 130}},
	{name: "z", data: "zzz", place: Place{Modulus: 64, Offset: 63}},
}

func TestLayoutIsReadByOthersAndByUs(t *testing.T) {
	data := build(t, sample)
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	d, err := Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	require.Len(t, z.File, len(sample))
	for i, f := range sample {
		r, err := z.File[i].Open()
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, f.data, string(got))
		require.Equal(t, f.name, z.File[i].Name)
		e := d.Find(f.name)
		require.Equal(t, f.data, string(data[e.Data:e.Data+e.Size]))
	}
}

func TestLayoutOfLargeFiles(t *testing.T) {
	const gib = int64(1) << 30
	var l Layout
	zeros := &holes{parts: map[int64][]byte{}}
	for _, h := range []Header{
		{Name: "big", Size: 5 * gib, CRC32: 1, Place: Place{Modulus: 4096}},
		{Name: "behind", Size: 3, CRC32: 2},
		{Name: "exactly 4 GiB - 1", Size: 4*gib - 1, CRC32: 3},
	} {
		zeros.parts[l.Offset()] = l.Add(h)
	}
	zeros.parts[l.Offset()] = l.End()
	zeros.size = l.Offset() + int64(len(l.End()))
	d, err := Read(zeros, zeros.size)
	require.NoError(t, err)
	require.Equal(t, 5*gib, d.Entries[0].Size)
	require.Equal(t, int64(0), d.Entries[0].Data%4096)
	z, err := zip.NewReader(zeros, zeros.size)
	require.NoError(t, err)
	require.EqualValues(t, 4*gib-1, z.File[2].UncompressedSize64)
}

// holes is a file of zeros with some parts written.
type holes struct {
	parts map[int64][]byte
	size  int64
}

func (h *holes) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	for at, part := range h.parts {
		for i, c := range part {
			if p := at + int64(i) - off; p >= 0 && p < int64(len(b)) {
				b[p] = c
			}
		}
	}
	if n := h.size - off; n < int64(len(b)) {
		return int(max(n, 0)), io.EOF
	}
	return len(b), nil
}

func TestManyEntries(t *testing.T) {
	var l Layout
	var out []byte
	for i := range 70_000 {
		out = append(out, l.Add(Header{Name: string(rune('a'+i%26)) + string(rune(0x4e00+i%20000)) + string(rune(0x4e00+i/20000))})...)
	}
	out = append(out, l.End()...)
	d, err := Read(bytes.NewReader(out), int64(len(out)))
	require.NoError(t, err)
	require.Len(t, d.Entries, 70_000)
}

// Whatever single byte of the structure changes, the zip is refused or says something else.
func TestEveryByteOfTheStructureCounts(t *testing.T) {
	data := build(t, sample)
	d, err := Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	inContent := func(i int) bool {
		for _, e := range d.Entries {
			if int64(i) >= e.Data && int64(i) < e.Data+e.Size {
				return true
			}
		}
		return false
	}
	for i := range data {
		if inContent(i) {
			continue
		}
		flipped := bytes.Clone(data)
		flipped[i] ^= 0x10
		_, _ = Read(bytes.NewReader(flipped), int64(len(flipped))) // must not panic
		if n := i; n < len(data)-1 {
			_, err := Read(bytes.NewReader(data[:n]), int64(n))
			require.Error(t, err, "cut at %d", n)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	good := build(t, sample)
	for _, tc := range []struct {
		name   string
		files  []content
		change func([]byte) []byte
		reason string
	}{
		{"empty", nil, func([]byte) []byte { return nil }, "too few"},
		{"appended", sample, func(b []byte) []byte { return append(b, 0) }, "no end record"},
		{"prefixed", sample, func(b []byte) []byte { return append([]byte("x"), b...) }, "does not end where"},
		{"slip", []content{{name: "../x"}}, nil, "could leave"},
		{"absolute", []content{{name: "/x"}}, nil, "absolute"},
		{"nul", []content{{name: "a\x00b"}}, nil, "NUL"},
		{"backslash", []content{{name: `a\b`}}, nil, "backslash"},
		{"twice", []content{{name: "a"}, {name: "a"}}, nil, "occurs twice"},
		{"dot", []content{{name: "a/./b"}}, nil, "segment"},
		{"two zips", sample, func(b []byte) []byte { return append(b, good...) }, "does not end where"},
		{"local name", sample, func(b []byte) []byte { b[localSize] ^= 1; return b }, "another name"},
		{"local crc", sample, func(b []byte) []byte { b[14] ^= 1; return b }, "another size or CRC"},
		{"encrypted", sample, func(b []byte) []byte { b[6] |= 1; return b }, "other flags"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := build(t, tc.files)
			if tc.change != nil {
				b = tc.change(b)
			}
			_, err := Read(bytes.NewReader(b), int64(len(b)))
			require.ErrorContains(t, err, tc.reason)
			var ze *Error
			require.ErrorAs(t, err, &ze)
		})
	}
}

func TestReadOfDescriptorsAndDeflate(t *testing.T) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf) // Go's writer puts sizes into data descriptors
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		f, err := w.CreateHeader(&zip.FileHeader{Name: string(rune('a' + method)), Method: method})
		require.NoError(t, err)
		_, err = f.Write(bytes.Repeat([]byte("abc"), 1000))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	d, err := Read(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	require.NoError(t, err)
	require.EqualValues(t, 3000, d.Entries[0].Size)
	require.EqualValues(t, Deflated, d.Entries[1].Method)
}

func FuzzRead(f *testing.F) {
	f.Add(build(f, sample))
	f.Add([]byte("PK\x05\x06" + string(make([]byte, 18))))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for _, e := range d.Entries {
			if e.Data < 0 || e.Packed < 0 || e.Data+e.Packed > d.Start {
				t.Fatalf("entry outside of the file: %+v", e)
			}
		}
	})
}
