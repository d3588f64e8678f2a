package snapshot

import (
	"crypto/sha256"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func openRoot(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return root, dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestReadFreezesAFile(t *testing.T) {
	root, dir := openRoot(t)
	path := filepath.Join(dir, "run", "config.json")
	write(t, path, `{"a": 1}`)
	info, err := os.Stat(path)
	require.NoError(t, err)
	file, err := Read(root, "run/config.json", "config.json")
	require.NoError(t, err)
	require.Equal(t, File{
		Path: "run/config.json", Name: "config.json", Data: []byte(`{"a": 1}`),
		SHA256: sha256.Sum256([]byte(`{"a": 1}`)), ModTime: info.ModTime(),
	}, file)
}

func TestReadRefuses(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		want error
	}{
		{"nothing there", func(*testing.T, string) {}, fs.ErrNotExist},
		{"a directory", func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o755)) }, ErrNotRegular},
		{"a fifo", func(t *testing.T, path string) { require.NoError(t, syscall.Mkfifo(path, 0o644)) }, ErrNotRegular},
		{"a link to a good file", func(t *testing.T, path string) {
			write(t, path+".real", "{}")
			require.NoError(t, os.Symlink(filepath.Base(path)+".real", path))
		}, ErrNotRegular},
		{"a large file", func(t *testing.T, path string) {
			write(t, path, "")
			require.NoError(t, os.Truncate(path, MaxFileSize+1))
		}, ErrTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root, dir := openRoot(t)
			test.make(t, filepath.Join(dir, "c.json"))
			_, err := Read(root, "c.json", "c.json")
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, `read config "c.json": `)
		})
	}
}

func TestReadStaysInTheRoot(t *testing.T) {
	root, dir := openRoot(t)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "c.json"), "{}")
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "run")))
	for _, path := range []string{"run/c.json", "../c.json", filepath.Join(outside, "c.json")} {
		_, err := Read(root, path, "c.json")
		require.Error(t, err, path)
	}
}

func TestReadTakesAFileThatIsAsLargeAsAllowed(t *testing.T) {
	root, dir := openRoot(t)
	write(t, filepath.Join(dir, "c.json"), "")
	require.NoError(t, os.Truncate(filepath.Join(dir, "c.json"), MaxFileSize))
	file, err := Read(root, "c.json", "c.json")
	require.NoError(t, err)
	require.Len(t, file.Data, MaxFileSize)
}

func TestReadOfAChangingFile(t *testing.T) {
	changes := map[string]func(t *testing.T, path string){
		"grown": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteString(" ")
			require.NoError(t, err)
			require.NoError(t, f.Close())
		},
		"truncated": func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 1)) },
		"replaced": func(t *testing.T, path string) {
			write(t, path+".new", "{}")
			require.NoError(t, os.Rename(path+".new", path))
		},
		"touched": func(t *testing.T, path string) {
			info, err := os.Stat(path)
			require.NoError(t, err)
			later := info.ModTime().Add(1e9)
			require.NoError(t, os.Chtimes(path, later, later))
		},
	}
	for name, change := range changes {
		t.Run(name+" once", func(t *testing.T) {
			root, dir := openRoot(t)
			path := filepath.Join(dir, "c.json")
			write(t, path, `{"a": 1}`)
			rounds := 0
			file, err := read(root, "c.json", "c.json", func() {
				if rounds++; rounds == 1 {
					change(t, path)
				}
			})
			require.NoError(t, err)
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, want, file.Data)
			require.Equal(t, 2, rounds)
		})
	}
	t.Run("always", func(t *testing.T) {
		root, dir := openRoot(t)
		path := filepath.Join(dir, "c.json")
		write(t, path, `{"a": 1}`)
		_, err := read(root, "c.json", "c.json", func() { changes["grown"](t, path) })
		require.ErrorIs(t, err, ErrBusy)
		require.ErrorContains(t, err, `read config "c.json": the file is being written: `)
	})
	t.Run("removed", func(t *testing.T) {
		root, dir := openRoot(t)
		path := filepath.Join(dir, "c.json")
		write(t, path, `{"a": 1}`)
		_, err := read(root, "c.json", "c.json", func() { os.Remove(path) })
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}
