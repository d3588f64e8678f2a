package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// hostileZip writes a zip with a manifest.dill and the entries that add makes.
func hostileZip(t *testing.T, add func(z *zip.Writer)) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	raw(t, z, zip.FileHeader{Name: rootManifestName}, []byte("\x80\x02}."))
	add(z)
	require.NoError(t, z.Close())
	path := filepath.Join(t.TempDir(), ArchiveName)
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	return path
}

// raw adds a stored entry with the right CRC and size, unless the header says otherwise.
func raw(t *testing.T, z *zip.Writer, h zip.FileHeader, content []byte) {
	t.Helper()
	if h.CRC32 == 0 {
		h.CRC32 = crc32.ChecksumIEEE(content)
	}
	if h.UncompressedSize64 == 0 {
		h.UncompressedSize64 = uint64(len(content))
	}
	h.CompressedSize64 = uint64(len(content))
	w, err := z.CreateRaw(&h)
	require.NoError(t, err)
	_, err = w.Write(content)
	require.NoError(t, err)
}

func TestUnpackRefusesHostileArchives(t *testing.T) {
	for name, add := range map[string]func(z *zip.Writer){
		"leaves":       func(z *zip.Writer) { raw(t, z, zip.FileHeader{Name: "../out"}, []byte("x")) },
		"leaves later": func(z *zip.Writer) { raw(t, z, zip.FileHeader{Name: "a/../../out"}, []byte("x")) },
		"absolute":     func(z *zip.Writer) { raw(t, z, zip.FileHeader{Name: "/tmp/out"}, []byte("x")) },
		"backslash":    func(z *zip.Writer) { raw(t, z, zip.FileHeader{Name: `..\out`}, []byte("x")) },
		"dot":          func(z *zip.Writer) { raw(t, z, zip.FileHeader{Name: "./a"}, []byte("x")) },
		"empty part":   func(z *zip.Writer) { raw(t, z, zip.FileHeader{Name: "a//b"}, []byte("x")) },
		"NUL":          func(z *zip.Writer) { raw(t, z, zip.FileHeader{Name: "a\x00b"}, []byte("x")) },
		"twice": func(z *zip.Writer) {
			raw(t, z, zip.FileHeader{Name: "a"}, []byte("x"))
			raw(t, z, zip.FileHeader{Name: "a"}, []byte("y"))
		},
		"file and directory": func(z *zip.Writer) {
			raw(t, z, zip.FileHeader{Name: "a"}, []byte("x"))
			raw(t, z, zip.FileHeader{Name: "a/b"}, []byte("y"))
		},
		"wrong CRC":  func(z *zip.Writer) { raw(t, z, zip.FileHeader{Name: "a", CRC32: 1}, []byte("x")) },
		"wrong size": func(z *zip.Writer) { raw(t, z, zip.FileHeader{Name: "a", UncompressedSize64: 9}, []byte("x")) },
		"more than fits": func(z *zip.Writer) {
			raw(t, z, zip.FileHeader{Name: "a", Method: zip.Deflate, UncompressedSize64: 1 << 60}, []byte("\x03\x00"))
		},
		"bomb": func(z *zip.Writer) { // unpacks to more than it says
			var b bytes.Buffer
			inner := zip.NewWriter(&b)
			w, err := inner.Create("x")
			require.NoError(t, err)
			_, err = w.Write(make([]byte, 1<<20))
			require.NoError(t, err)
			require.NoError(t, inner.Close())
			r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
			require.NoError(t, err)
			at, err := r.File[0].DataOffset()
			require.NoError(t, err)
			raw(t, z, zip.FileHeader{Name: "a", Method: zip.Deflate, UncompressedSize64: 10}, b.Bytes()[at:at+int64(r.File[0].CompressedSize64)])
		},
		"long name": func(z *zip.Writer) {
			raw(t, z, zip.FileHeader{Name: string(bytes.Repeat([]byte("a"), 300))}, []byte("x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			above := t.TempDir()
			target := filepath.Join(above, "in", "out")
			require.NoError(t, os.Mkdir(filepath.Join(above, "in"), 0o755))
			_, err := Unpack(context.Background(), Path(hostileZip(t, add)), target)
			require.Error(t, err)
			left, err := os.ReadDir(filepath.Join(above, "in"))
			require.NoError(t, err)
			require.Empty(t, left, "nothing is left behind")
			left, err = os.ReadDir(above)
			require.NoError(t, err)
			require.Len(t, left, 1)
		})
	}
}

// An entry with the mode of a symbolic link, a device or a setuid program becomes a plain file.
func TestUnpackWritesPlainFilesOnly(t *testing.T) {
	path := hostileZip(t, func(z *zip.Writer) {
		for name, mode := range map[string]fs.FileMode{"link": fs.ModeSymlink | 0o777, "device": fs.ModeDevice | 0o666, "setuid": fs.ModeSetuid | 0o777} {
			h := zip.FileHeader{Name: name}
			h.SetMode(mode)
			raw(t, z, h, []byte("/etc/passwd"))
		}
		raw(t, z, zip.FileHeader{Name: "folder/"}, nil)
		raw(t, z, zip.FileHeader{Name: "link2/below"}, []byte("x"))
	})
	target := filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.Mkdir(target, 0o755))
	u, err := Unpack(context.Background(), Path(path), target)
	require.NoError(t, err)
	require.Equal(t, &Unpacked{Files: 5, Bytes: 4 + 3*11 + 1}, u)
	for _, name := range []string{"link", "device", "setuid"} {
		info, err := os.Lstat(filepath.Join(target, name))
		require.NoError(t, err)
		require.True(t, info.Mode().IsRegular(), name)
		require.Zero(t, info.Mode()&(fs.ModeSetuid|0o111), name)
	}
	require.DirExists(t, filepath.Join(target, "folder"))
}

func TestUnpackWantsAFreePlace(t *testing.T) {
	path := hostileZip(t, func(*zip.Writer) {})
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(t.TempDir(), link))
	for target, want := range map[string]string{
		dir: "not empty", file: "no directory", link: "no directory", filepath.Join(dir, "none", "below"): "no such file",
	} {
		_, err := Unpack(context.Background(), Path(path), target)
		require.ErrorContains(t, err, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Unpack(ctx, Path(path), filepath.Join(dir, "new"))
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2)
}
