package zipfile

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
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

func TestSum(t *testing.T) {
	var sum Sum
	var all []byte
	for i := range 500 {
		part := bytes.Repeat([]byte{byte(i)}, i*i%97)
		all = append(all, part...)
		sum.Add(crc32.ChecksumIEEE(part), int64(len(part)))
		require.Equal(t, crc32.ChecksumIEEE(all), sum.CRC32)
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

// central returns the offset of the first entry of the central directory.
func central(b []byte) int { return bytes.Index(b, []byte("PK\x01\x02")) }

// What Python's zipfile, miniz (in torch) and we could understand differently is refused.
func TestReadRefusesWhatReadersDisagreeOn(t *testing.T) {
	one := []content{{name: "a", data: "x"}}
	for _, tc := range []struct {
		name   string
		zip    []byte
		change func(b []byte)
		reason string
	}{
		{"name is UTF-8 in one place only", build(t, one), func(b []byte) { b[7] |= 8 }, "other flags"},
		{"name is said to be UTF-8", build(t, []content{{name: "\xff"}}), func(b []byte) { b[7] |= 8; b[central(b)+9] |= 8 }, "is not"},
		{"descriptor in one place only", build(t, one), func(b []byte) { b[6] |= 8 }, "other flags"},
		{"encrypted in the directory", build(t, one), func(b []byte) { b[central(b)+8] |= 1 }, "encrypted"},
		{"compressed in the directory", build(t, one), func(b []byte) { b[central(b)+10] = 8 }, "another method"},
		{"unknown method", build(t, one), func(b []byte) { b[central(b)+10] = 93 }, "method 93"},
		{"size in the directory", build(t, one), func(b []byte) { b[central(b)+24] = 2 }, "packed as"},
		{"other disk", build(t, one), func(b []byte) { b[central(b)+34] = 1 }, "another disk"},
		{"folder with content", build(t, []content{{name: "a/", data: "x"}}), nil, "folder's"},
		{"comment length", build(t, one), func(b []byte) { b[len(b)-2] = 1 }, "comment"},
		{"entries of this disk", build(t, one), func(b []byte) { b[len(b)-14] = 2 }, "several disks"},
		{"count", build(t, one), func(b []byte) { b[len(b)-14], b[len(b)-12] = 0, 0 }, "counts 0 entries"},
		{"end record inside a comment", append(build(t, one), build(t, one)[central(build(t, one)):]...), nil, "does not end where"},
		{"name in an extra field", goZip(t, "\x75\x70\x09\x00\x01\x00\x00\x00\x00evil"), nil, "another name"},
		{"two zip64 fields", goZip(t, "\x01\x00\x00\x00\x01\x00\x00\x00"), nil, "two zip64"},
		{"extra field without room", goZip(t, "\xef\xbe\x09\x00"), nil, "longer than its room"},
		{"size beyond the file", immense(), nil, "reach into"},
		{"zip64 locator of two disks", zip64(t), func(b []byte) { b[len(b)-endSize-4] = 2 }, "several disks"},
		{"zip64 locator elsewhere", zip64(t), func(b []byte) { b[len(b)-endSize-12]-- }, "right before"},
		{"zip64 end record gone", zip64(t), func(b []byte) { b[len(b)-endSize-locator64Size] = 0 }, "zip64 end record is missing"},
		{"zip64 counts", zip64(t), func(b []byte) { b[len(b)-endSize-locator64Size-end64Size+24]-- }, "several disks"},
		{"zip64 contradicts", zip64(t), func(b []byte) { b[len(b)-10] ^= 1 }, "contradict"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.change != nil {
				tc.change(tc.zip)
			}
			_, err := Read(bytes.NewReader(tc.zip), int64(len(tc.zip)))
			require.ErrorContains(t, err, tc.reason)
			var ze *Error
			require.ErrorAs(t, err, &ze)
		})
	}
}

// goZip is a zip of one entry with that extra field, in the directory and in the local header.
func goZip(t testing.TB, extra string) []byte {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	_, err := w.CreateHeader(&zip.FileHeader{Name: "a", Extra: []byte(extra)})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// zip64 is a zip with so many entries that it needs the zip64 end records.
func zip64(t testing.TB) []byte {
	var files []content
	for i := range 1 << 16 {
		files = append(files, content{name: fmt.Sprint(i)})
	}
	return build(t, files)
}

// immense is a zip whose only entry says that it has 8 EiB.
func immense() []byte {
	var l Layout
	local := l.Add(Header{Name: "a", Size: math.MaxInt64})
	l.offset = int64(len(local))
	return append(local, l.End()...)
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

// requireSameAsGo holds what was read against archive/zip, unless that refuses the zip.
func requireSameAsGo(t *testing.T, d *Directory, data []byte) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return
	}
	require.Len(t, z.File, len(d.Entries))
	for i, f := range z.File {
		e := d.Entries[i]
		require.Equal(t, f.Name, e.Name)
		require.EqualValues(t, f.UncompressedSize64, e.Size)
		require.EqualValues(t, f.CompressedSize64, e.Packed)
		require.Equal(t, f.CRC32, e.CRC32)
		offset, err := f.DataOffset()
		require.NoError(t, err)
		require.Equal(t, offset, e.Data)
	}
}

// requireHeads makes sure that the entries come as they lie in the file, with the CRC-32 of what is between their data.
func requireHeads(t *testing.T, d *Directory, data []byte) {
	at, visited := int64(0), 0
	for e, sum := range d.InFileOrder() {
		require.Equal(t, crc32.ChecksumIEEE(data[at:e.Data]), sum)
		at = e.Data + e.Packed
		visited++
	}
	require.Len(t, d.Entries, visited)
}

func TestFileOrderIsNotThatOfTheDirectory(t *testing.T) {
	data := build(t, sample)
	d, err := Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	requireHeads(t, d, data)
	data = reverseCentral(data, d)
	reversed, err := Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	requireHeads(t, reversed, data)
	for i, e := range d.Entries {
		require.Equal(t, e, reversed.Entries[len(d.Entries)-1-i])
		require.Equal(t, &reversed.Entries[len(d.Entries)-1-i], reversed.Find(e.Name))
	}
}

// reverseCentral returns a zip whose directory lists the entries from back to front.
func reverseCentral(data []byte, d *Directory) []byte {
	reversed := slices.Clone(data[:d.Start])
	end := d.Start
	var records [][]byte
	for range d.Entries {
		b := data[end:]
		size := int64(46 + int(b[28]) + int(b[30]) + int(b[32]))
		records, end = append(records, b[:size]), end+size
	}
	slices.Reverse(records)
	return append(append(reversed, slices.Concat(records...)...), data[end:]...)
}

// A central directory that is drained now and then is the same.
func TestDrain(t *testing.T) {
	for _, files := range []int{3, math.MaxUint16 + 1} { // with and without zip64
		var whole, drained Layout
		var central []byte
		for i := range files {
			h := Header{Name: fmt.Sprint("file ", i), Size: int64(i), CRC32: uint32(i)}
			require.Equal(t, whole.Add(h), drained.Add(h))
			if i%7 == 0 {
				central = append(central, drained.Drain()...)
			}
		}
		require.True(t, bytes.Equal(whole.End(), append(central, drained.End()...)))
	}
}

// A window gives the same bytes wherever its pages lie, and reads more at once the closer the pieces are.
func TestWindow(t *testing.T) {
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	for _, tc := range []struct{ piece, step, reads int }{{30, 100, 20}, {30, 5000, 20}, {30, 30_000, 10}, {7000, 7001, 30}, {70_000, 70_000, 10}} {
		counted := &countedReads{source: bytes.NewReader(data)}
		w := NewWindow(counted, 64<<10)
		for at := 0; at < len(data); at += tc.step {
			want := data[at:min(at+tc.piece, len(data))]
			got, err := w.Peek(int64(at), tc.piece)
			require.True(t, bytes.Equal(want, got), "at %d", at)
			require.True(t, len(want) == tc.piece || err == io.EOF, "%v", err)
			b := make([]byte, tc.piece)
			n, err := w.ReadAt(b, int64(at))
			require.True(t, bytes.Equal(want, b[:n]), "at %d", at)
			require.True(t, len(want) == tc.piece || err == io.EOF, "%v", err)
		}
		require.LessOrEqual(t, counted.reads, tc.reads, "%+v", tc)
	}
}

type countedReads struct {
	source io.ReaderAt
	reads  int
}

func (c *countedReads) ReadAt(b []byte, offset int64) (int, error) {
	c.reads++
	return c.source.ReadAt(b, offset)
}

func FuzzRead(f *testing.F) {
	f.Add(build(f, sample))
	f.Add(goZip(f, "\x75\x70\x09\x00\x01\x00\x00\x00\x00evil"))
	f.Add(goZip(f, "\x01\x00\x00\x00\x01\x00\x00\x00"))
	f.Add(immense())
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
		requireHeads(t, d, data)
		requireSameAsGo(t, d, data)
	})
}

// Many files that each may be inflated can be too much together.
func TestInflatedSizesAreBoundedTogether(t *testing.T) {
	zipOf := func(sizes ...uint64) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for i, size := range sizes {
			w, err := z.CreateRaw(&zip.FileHeader{Name: fmt.Sprint(i), Method: Deflated, CompressedSize64: 1, UncompressedSize64: size})
			require.NoError(t, err)
			_, err = w.Write([]byte{0})
			require.NoError(t, err)
		}
		require.NoError(t, z.Close())
		return b.Bytes()
	}
	for _, tc := range []struct {
		sizes []uint64
		fits  bool
	}{
		{[]uint64{3 << 30}, true}, {[]uint64{2 << 30, 2 << 30}, true}, {[]uint64{3 << 30, 3 << 30}, false}, {[]uint64{2 << 30, 2 << 30, 1 << 30}, false},
	} {
		data := zipOf(tc.sizes...)
		_, err := Read(bytes.NewReader(data), int64(len(data)))
		if tc.fits {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "the compressed files would inflate to more than")
		}
	}
}

// Errors that are kept do not keep the directory that they are about.
func TestErrorsTakeLittleMemory(t *testing.T) {
	data := build(t, []content{{name: "a"}, {name: "a"}})
	const opened = 2000
	errs := make([]error, opened)
	before := heapInUse()
	for i := range errs {
		_, errs[i] = Read(bytes.NewReader(data), int64(len(data)))
	}
	require.ErrorContains(t, errs[0], "occurs twice")
	require.Less(t, heapInUse()-before, int64(opened*512))
	runtime.KeepAlive(errs)
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
