package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/snapshot"
)

func TestGitCommit(t *testing.T) {
	sha1, other, sha256 := strings.Repeat("a1", 20), strings.Repeat("0f", 20), strings.Repeat("b2", 32)
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"loose ref", map[string]string{"HEAD": "ref: refs/heads/main\n", "refs/heads/main": sha1 + "\n", "packed-refs": other + " refs/heads/main\n"}, sha1},
		{"packed ref", map[string]string{"HEAD": "ref: refs/heads/x/y\n",
			"packed-refs": "# pack-refs with: peeled fully-peeled sorted\n" + other + " refs/heads/x\n^" + other + "\n" + sha1 + " refs/heads/x/y\n"}, sha1},
		{"detached", map[string]string{"HEAD": sha1 + "\n"}, sha1},
		{"sha256", map[string]string{"HEAD": "ref: refs/heads/main", "refs/heads/main": sha256}, sha256},
		{"no commit yet", map[string]string{"HEAD": "ref: refs/heads/main\n"}, ""},
		{"no HEAD", map[string]string{"config": ""}, ""},
		{"out of the repository", map[string]string{"HEAD": "ref: refs/../../commit\n", "../commit": sha1}, ""},
		{"not below refs", map[string]string{"HEAD": "ref: config\n", "config": sha1}, ""},
		{"no commit but text", map[string]string{"HEAD": "\x1b[31m" + sha1}, ""},
		{"short", map[string]string{"HEAD": sha1[:39]}, ""},
		{"endless", map[string]string{"HEAD": strings.Repeat("ref: ", 1<<20)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tc.files {
				path := filepath.Join(dir, ".git", name)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			}
			run := filepath.Join(dir, "runs", "r1")
			require.NoError(t, os.MkdirAll(run, 0o755))
			require.Equal(t, tc.want, gitCommit(run))
		})
	}
}

// What stands in the place of the repository's files neither leads out of it nor blocks.
func TestGitCommitIsNotLedAstray(t *testing.T) {
	commit := strings.Repeat("a1", 20)
	for name, plant := range map[string]func(dir string) error{
		"HEAD is a pipe": func(dir string) error { return unix.Mkfifo(filepath.Join(dir, ".git/HEAD"), 0o644) },
		"HEAD is a link": func(dir string) error { return os.Symlink("../../commit", filepath.Join(dir, ".git/HEAD")) },
		"HEAD is a directory": func(dir string) error {
			return os.Mkdir(filepath.Join(dir, ".git/HEAD"), 0o755)
		},
		".git is a link": func(dir string) error {
			return os.Rename(filepath.Join(dir, ".git"), filepath.Join(dir, "git"))
		},
		".git is a file": func(dir string) error {
			if err := os.Remove(filepath.Join(dir, ".git")); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, ".git"), []byte("gitdir: ../outer\n"), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "module")
			require.NoError(t, os.MkdirAll(filepath.Join(outer, ".git"), 0o755))
			require.NoError(t, os.MkdirAll(filepath.Join(dir, ".git"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(outer, "commit"), []byte(commit), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(outer, ".git/HEAD"), []byte(commit), 0o644))
			require.Equal(t, commit, gitCommit(outer))
			require.NoError(t, plant(dir))
			if name == ".git is a link" {
				require.NoError(t, os.Symlink("../.git", filepath.Join(dir, ".git")))
			}
			require.Empty(t, gitCommit(dir), "the repository around is not the one that the run lies in")
		})
	}
}

func TestEntryName(t *testing.T) {
	for in, want := range map[string]string{
		"r/configs/a.json": "r/configs/a.json",
		"é ü/x":            "é ü/x",
		`a\b`:              "a%5Cb",
		"50%":              "50%25",
		"a\nb\x7f":         "a%0Ab%7F",
		"\xff\xfe":         "%FF%FE",
		"\u0085":           "%C2%85",
		"\ufffd":           "\ufffd",
	} {
		require.Equal(t, want, bundle.EntryName(in), "%q", in)
	}
}

// Different names stay different.
func FuzzEntryName(f *testing.F) {
	f.Add("a\\b", "a%5Cb")
	f.Add("\xff", "%FF")
	f.Add("\ufffd", "\xef")
	f.Fuzz(func(t *testing.T, a, b string) {
		require.Equal(t, a == b, bundle.EntryName(a) == bundle.EntryName(b), "%q %q", a, b)
	})
}

func TestArchivedNamesAreUnique(t *testing.T) {
	files := []snapshot.File{{Name: "a", Data: []byte("1")}, {Name: "a", Data: []byte("2")}, {Name: "a~2", Data: []byte("3")}}
	require.Equal(t, []bundle.File{{Name: "a", Data: []byte("1")}, {Name: "a~2", Data: []byte("2")}, {Name: "a~2~2", Data: []byte("3")}}, archived(files))
}
