package signature

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// model writes a directory with three files and a signature in it, and returns what was signed.
func model(t *testing.T) (string, *Statement) {
	dir := filepath.Join(t.TempDir(), "model")
	for name, content := range map[string]string{"a": "a", "d/b": "b", "d/e/c": "", FileName: "signature"} {
		write(t, filepath.Join(dir, name), content)
	}
	c, err := Look(t.Context(), dir, FileName)
	require.NoError(t, err)
	require.Empty(t, c.Problems)
	require.Equal(t, []File{file("a", "a"), file("d/b", "b"), file("d/e/c", "")}, c.Files)
	require.EqualValues(t, 2, c.Bytes)
	return dir, &Statement{Subject: "model", Files: c.Files}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

func TestExactlyWhatIsListed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   []string
	}{
		"nothing": {func(*testing.T, string) {}, []string{}},
		"changed": {func(t *testing.T, dir string) { write(t, dir+"/a", "b") },
			[]string{`"a" is not the file that was signed: its SHA-256 is 3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d, not ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb`}},
		"missing":          {func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir+"/d/e/c")) }, []string{`"d/e" is an empty directory, which no signature can list`, `"d/e/c" was signed and is missing`}},
		"renamed":          {func(t *testing.T, dir string) { require.NoError(t, os.Rename(dir+"/a", dir+"/A")) }, []string{`"A" was not signed`, `"a" was signed and is missing`}},
		"extra":            {func(t *testing.T, dir string) { write(t, dir+"/d/x", "") }, []string{`"d/x" was not signed`}},
		"hidden":           {func(t *testing.T, dir string) { write(t, dir+"/.x", "") }, []string{`".x" was not signed`}},
		"planted .git":     {func(t *testing.T, dir string) { write(t, dir+"/.git/hooks/post-checkout", "") }, []string{`".git" is a directory that was not signed`}},
		"file .git":        {func(t *testing.T, dir string) { write(t, dir+"/.git", "gitdir: /") }, []string{`".git" was not signed`}},
		".gitattributes":   {func(t *testing.T, dir string) { write(t, dir+"/.gitattributes", "") }, []string{`".gitattributes" was not signed`}},
		"second signature": {func(t *testing.T, dir string) { write(t, dir+"/other.sig", "") }, []string{`"other.sig" was not signed`}},
		"signature below":  {func(t *testing.T, dir string) { write(t, dir+"/d/"+FileName, "") }, []string{`"d/model.sig" was not signed`}},
		"empty directory":  {func(t *testing.T, dir string) { require.NoError(t, os.Mkdir(dir+"/x", 0o755)) }, []string{`"x" is a directory that was not signed`}},
		"empty deep directory": {func(t *testing.T, dir string) { require.NoError(t, os.Mkdir(dir+"/d/e/x", 0o755)) },
			[]string{`"d/e/x" is a directory that was not signed`}},
		"link in a file's place": {func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(dir+"/a", filepath.Dir(dir)+"/a"))
			require.NoError(t, os.Symlink("../a", dir+"/a"))
		}, []string{`"a" is a symbolic link, no regular file`}},
		"link in a directory's place": {func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(dir+"/d", filepath.Dir(dir)+"/d"))
			require.NoError(t, os.Symlink("../d", dir+"/d"))
		}, []string{`"d" is a symbolic link, no regular file`, `"d/b" was signed and is missing`, `"d/e/c" was signed and is missing`}},
		"directory in a file's place": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir+"/a"))
			require.NoError(t, os.Mkdir(dir+"/a", 0o755))
		}, []string{`"a" is a directory that was not signed`}},
		"pipe": {func(t *testing.T, dir string) { require.NoError(t, syscall.Mkfifo(dir+"/p", 0o644)) }, []string{`"p" is a pipe, no regular file`}},
		"pipe in a file's place": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir+"/a"))
			require.NoError(t, syscall.Mkfifo(dir+"/a", 0o644))
		}, []string{`"a" is a pipe, no regular file`}},
		"socket": {func(t *testing.T, dir string) {
			t.Chdir(dir) // paths of sockets are short
			l, err := net.Listen("unix", "s")
			require.NoError(t, err)
			t.Cleanup(func() { _ = l.Close() })
		}, []string{`"s" is a socket, no regular file`}},
		"signature is a link": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir+"/"+FileName))
			require.NoError(t, os.Symlink("a", dir+"/"+FileName))
		}, []string{`"model.sig" is a symbolic link, no regular file`}},
		"name that is no text": {func(t *testing.T, dir string) { write(t, dir+"/\xff", "") }, []string{`"\xff" was not signed`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, s := model(t)
			c.change(t, dir)
			got, err := s.Check(t.Context(), dir, FileName)
			require.NoError(t, err)
			require.Equal(t, c.want, got.Problems)
		})
	}
}

func TestTheDirectoryItself(t *testing.T) {
	dir, s := model(t)
	link := filepath.Join(filepath.Dir(dir), "latest")
	require.NoError(t, os.Symlink("model", link))
	for _, path := range []string{link, link + "/", link + "//", link + "/."} {
		got, err := s.Check(t.Context(), path, FileName)
		require.NoError(t, err)
		require.Equal(t, []string{`it is a symbolic link, which can be turned to something else at any time: name the directory itself, "` + dir + `"`}, got.Problems, path)
	}
	got, err := s.Check(t.Context(), dir+"/", FileName)
	require.NoError(t, err)
	require.Empty(t, got.Problems)
	got, err = s.Check(t.Context(), dir+"/a", FileName)
	require.NoError(t, err)
	require.Equal(t, []string{"it is no directory"}, got.Problems)
	_, err = s.Check(t.Context(), dir+"/absent", FileName)
	require.ErrorIs(t, err, os.ErrNotExist)

	got, err = s.Check(t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, []string{`"model.sig" was not signed`}, got.Problems, "with a signature that lies elsewhere")
}

func TestManyProblemsEndTheWalk(t *testing.T) {
	dir, s := model(t)
	for i := range 100 {
		write(t, filepath.Join(dir, "planted", strings.Repeat("y", i+1), "z"), "")
		write(t, filepath.Join(dir, strings.Repeat("f", i+1)), "")
	}
	got, err := s.Check(t.Context(), dir, FileName)
	require.NoError(t, err)
	require.Len(t, got.Problems, maxProblems)
}

func TestCheckStops(t *testing.T) {
	dir, s := model(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := s.Check(ctx, dir, FileName)
	require.ErrorIs(t, err, context.Canceled)
}
