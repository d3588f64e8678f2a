package pattern

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func tree(t *testing.T, files ...string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, nil, 0o644))
	}
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	return root
}

func bind(t *testing.T, member, rel, files string) Glob {
	t.Helper()
	captures, ok := mustCompile(t, member).Match(rel, "base")
	require.True(t, ok)
	g, err := mustCompile(t, files).Bind(captures)
	require.NoError(t, err)
	return g
}

func TestExpand(t *testing.T) {
	const member = "{run...}/e{epoch}.ckpt"
	tests := []struct {
		name, rel, files string
		tree             []string
		want             []string
	}{
		{
			"one level", "run_a/e1.ckpt", "{run...}/configs/*.json",
			[]string{"run_a/configs/b.json", "run_a/configs/a.json", "run_a/configs/a.yaml", "run_a/configs/.a.json", "run_a/configs/deep/c.json", "run_b/configs/a.json"},
			[]string{"run_a/configs/a.json", "run_a/configs/b.json"},
		},
		{
			"natural order", "x/y/e1.ckpt", "{run...}/lightning_logs/version_*/hparams.yaml",
			[]string{"x/y/lightning_logs/version_10/hparams.yaml", "x/y/lightning_logs/version_2/hparams.yaml", "x/y/lightning_logs/version_3/metrics.csv"},
			[]string{"x/y/lightning_logs/version_2/hparams.yaml", "x/y/lightning_logs/version_10/hparams.yaml"},
		},
		{
			"root is the run", "e1.ckpt", "{run...}/configs/*.json",
			[]string{"configs/a.json", "base/configs/a.json"},
			[]string{"configs/a.json"},
		},
		{
			"root is the run, one segment", "e1.ckpt", "{run}/configs/*.json",
			[]string{"configs/a.json", "base/configs/a.json"},
			[]string{"configs/a.json"},
		},
		{
			"root is the run, named later", "e1.ckpt", "{epoch}/{run}.json",
			[]string{"1/base.json"},
			[]string{"1/base.json"},
		},
		{
			"capture with wildcards is literal", "a*{b}?/e1.ckpt", "{run...}/?.json",
			[]string{"a*{b}?/x.json", "aa{b}c/x.json"},
			[]string{"a*{b}?/x.json"},
		},
		{
			"capture inside a segment", "x/y/e1.ckpt", "pre{run...}post/{epoch}*",
			[]string{"prex/ypost/1.json", "prex/ypost/2.json"},
			[]string{"prex/ypost/1.json"},
		},
		{
			"wrong utf-8", "a\xff/e\xc3.ckpt", "{run...}/{epoch}?.json",
			[]string{"a\xff/\xc3\xa9.json", "a\xff/\xc3b.json", "a\xfe/\xc3b.json"},
			[]string{"a\xff/\xc3b.json", "a\xff/\xc3\xa9.json"},
		},
		{"fixed name", "a/e1.ckpt", "{run...}/.hydra/config.yaml", []string{"a/.hydra/config.yaml"}, []string{"a/.hydra/config.yaml"}},
		{"nothing there", "a/e1.ckpt", "{run...}/configs/*.json", nil, nil},
		{"a file where a directory should be", "a/e1.ckpt", "{run...}/configs/*.json", []string{"a/configs"}, nil},
		{"a file above the fixed name", "a/e1.ckpt", "{run...}/b/c", []string{"a"}, nil},
		{"a directory is no file", "a/e1.ckpt", "{run...}/*", []string{"a/b/c", "a/d"}, []string{"a/d"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := tree(t, test.tree...)
			got, err := bind(t, member, test.rel, test.files).Expand(root)
			require.NoError(t, err)
			require.Empty(t, slices.DeleteFunc(slices.Clone(got), filepath.IsLocal), "paths stay below the root")
			require.ElementsMatch(t, test.want, got)
			for i := range test.want {
				require.Equal(t, test.want[i], got[i])
			}
		})
	}
}

func TestExpandDoesNotFollowLinks(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "x.json"), nil, 0o644))
	root := tree(t, "a/real/x.json", "a/keep.json")
	require.NoError(t, os.Symlink(outside, filepath.Join(root.Name(), "a/out")))
	require.NoError(t, os.Symlink("real", filepath.Join(root.Name(), "a/in")))
	require.NoError(t, os.Symlink("keep.json", filepath.Join(root.Name(), "a/link.json")))
	require.NoError(t, os.Symlink("link", filepath.Join(root.Name(), "a/link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(root.Name(), "a/pipe.json"), 0o644))

	expand := func(files string) []string {
		found, err := bind(t, "{run...}/e{epoch}", "a/e1", files).Expand(root)
		require.NoError(t, err)
		return found
	}
	require.Equal(t, []string{"a/real/x.json"}, expand("{run...}/*/*.json"))
	require.Equal(t, []string{"a/keep.json"}, expand("{run...}/*.json"))
	require.Empty(t, expand("{run...}/out/*.json"))
	require.Empty(t, expand("{run...}/in/x.json"))
	require.Empty(t, expand("{run...}/link.json"))
	require.Empty(t, expand("{run...}/link/x"))
	require.Empty(t, expand("{run...}/pipe.json/*"))
}

func TestExpandReportsWhatItCannotRead(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every directory")
	}
	root := tree(t, "a/configs/x.json")
	require.NoError(t, os.Chmod(filepath.Join(root.Name(), "a/configs"), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(root.Name(), "a/configs"), 0o755) })
	_, err := bind(t, "{run...}/e{epoch}", "a/e1", "{run...}/configs/*.json").Expand(root)
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, `list files of pattern "{run...}/configs/*.json" in "`+root.Name())
}

func TestExpandOfAClosedRoot(t *testing.T) {
	root := tree(t, "a/x.json")
	g := bind(t, "{run...}/e{epoch}", "a/e1", "{run...}/*.json")
	require.NoError(t, root.Close())
	_, err := g.Expand(root)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestBindErrors(t *testing.T) {
	captures, ok := mustCompile(t, "{run...}/v{epoch}").Match("a/v3", "base")
	require.True(t, ok)

	_, err := mustCompile(t, "{run...}/{step}.json").Bind(captures)
	require.EqualError(t, err, `bind pattern "{run...}/{step}.json": placeholder "step" was not captured, only ["run" "epoch"]`)
	_, err = mustCompile(t, "{step...}/a.json").Bind(captures)
	require.ErrorContains(t, err, `placeholder "step" was not captured`)
	_, err = mustCompile(t, "{run...}/configs/").Bind(captures)
	require.EqualError(t, err, `bind pattern "{run...}/configs/": it names a directory, not files`)
}

func TestName(t *testing.T) {
	const member = "{run...}/e{epoch}.ckpt"
	const files = "{run...}/configs/*.json"
	require.Equal(t, "configs/x.json", bind(t, member, "x/run_a/e1.ckpt", files).Name("x/run_a/configs/x.json"))
	require.Equal(t, "configs/x.json", bind(t, member, "e1.ckpt", files).Name("configs/x.json"))
	require.Equal(t, "configs/x.json", bind(t, "{run}/e{epoch}.ckpt", "a/e1.ckpt", "{run}/configs/*.json").Name("a/configs/x.json"))
	require.Equal(t, "configs/a.json", bind(t, member, "a/e1.ckpt", "configs/{run...}.json").Name("configs/a.json"))
}

func TestCompareNatural(t *testing.T) {
	ordered := []string{
		"", "a", "a1", "a1b", "a2", "a02b", "a10", "a10b2", "a10b10", "a99999999999999999999998",
		"a99999999999999999999999", "aa", "b/version_2/h", "b/version_10/h",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			require.Equal(t, i < j, CompareNatural(a, b) < 0, "%q %q", a, b)
		}
	}
	require.Negative(t, CompareNatural("a01", "a1"))
	require.Positive(t, CompareNatural("a1", "a01"))
}
