package config

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestLocateOverlooksWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bundlewatch.toml")
	for text, want := range map[string]Config{
		oneWatch + "nonsense = 1\n":                      {Artifacts: Artifacts{Dir: "a"}},
		"artifacts.dir = '/x'\nwatch = 1\n":              {Artifacts: Artifacts{Dir: "/x"}},
		"artifacts.dir = 'a'\n[status]\nsocket = '/s'\n": {Artifacts: Artifacts{Dir: "a"}, Status: Status{Socket: "/s"}},
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := Locate(path)
		require.NoError(t, err, text)
		if !filepath.IsAbs(want.Artifacts.Dir) {
			want.Artifacts.Dir = filepath.Join(filepath.Dir(path), want.Artifacts.Dir)
		}
		want.Path = path
		require.Equal(t, &want, got)
	}
	for text, want := range map[string]string{
		"artifacts = 1\n":                         "artifacts.dir: found nothing",
		"artifacts.dir = 1\n":                     "artifacts.dir: found the number 1",
		"artifacts.dir = 'a\n":                    "bad TOML",
		"artifacts.dir = '/a'\nstatus.socket = 2": "status.socket: found the number 2",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := Locate(path)
		require.ErrorContains(t, err, want)
	}
	_, err := Locate(filepath.Join(filepath.Dir(path), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A file system that hangs does not keep the config from being read.
func TestRootThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		resolve = func(path string) string { <-hang; return path }
		t.Cleanup(func() { resolve = resolveLinks })
		c, err := parse("/etc/b.toml", oneWatch)
		require.NoError(t, err)
		require.Equal(t, "/etc/r", c.Watches[0].Root)
		close(hang)
	})
}
