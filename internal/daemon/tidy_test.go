package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/tidy"
)

// tidySite is a config with one block, as a file that can be loaded again.
type tidySite struct {
	*site
	file string
}

func newTidySite(t *testing.T, more string) *tidySite {
	s := &tidySite{site: newSite(t)}
	s.file = filepath.Join(filepath.Dir(s.root), "bundlewatch.toml")
	s.set(more)
	return s
}

func (s *tidySite) set(more string) {
	s.t.Helper()
	text := "[[tidy]]\nroot = 'runs'\nmatch = ['*.log']\nmove_to = 'attic'\nmin_age = '1ms'\nrescan = '20ms'\n" + more
	require.NoError(s.t, os.WriteFile(s.file, []byte(text), 0o644))
	c, err := config.Load(s.file)
	require.NoError(s.t, err)
	s.config = c
}

// A config with strays alone runs without an artifact directory, and is reloaded.
func TestStraysAlone(t *testing.T) {
	s := newTidySite(t, "")
	s.write("a.log", nil)
	v := s.serve(func() (*config.Config, error) { return config.Load(s.file) })
	eventually(t, func() bool { return exists(s.path("attic/a.log")) })

	s.set("keep = ['kept.log']\n")
	s.write("kept.log", nil)
	eventually(t, func() bool { return exists(s.path("attic/kept.log")) }) // the old config is in force
	v.reload <- struct{}{}
	v.until("RELOADING=1")
	v.until("READY=1")
	s.write("kept.log", nil)
	s.write("c.log", nil)
	eventually(t, func() bool { return exists(s.path("attic/c.log")) })
	require.FileExists(t, s.path("kept.log"))
	v.stop()
	for _, e := range s.told() {
		require.Equal(t, Tidied, e.Kind, "%+v", e)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func eventually(t *testing.T, so func() bool) {
	t.Helper()
	require.Eventually(t, so, patience, 5*time.Millisecond)
}

func TestTidyOnceAndCheck(t *testing.T) {
	s := newTidySite(t, "")
	s.write("a.log", nil)
	time.Sleep(2 * time.Millisecond)
	opts := s.options()
	opts.Now = nil
	require.NoError(t, Check(t.Context(), s.config, opts))
	require.Equal(t, TidyReady, s.told()[0].Kind)
	require.NoError(t, Once(t.Context(), s.config, opts))
	require.Empty(t, s.told())
	require.NoError(t, Tidy(t.Context(), s.config, opts, tidy.Options{}))
	told := s.told()
	require.Equal(t, Tidied, told[0].Kind)
	require.Equal(t, s.path("attic/a.log"), told[0].To)
	require.NoError(t, Undo(t.Context(), s.path("attic"), nil, opts))
	require.Equal(t, TidyRestored, s.told()[0].Kind)
	require.FileExists(t, s.path("a.log"))
}

func TestCountsOfStrays(t *testing.T) {
	var c Counts
	for _, k := range []Kind{Tidied, TidyReady, TidyLeft, TidyRefused, TidyFailed, TidyStopped, TidyGone, TidyBack, TidyResolved, TidyRestored, UndoRefused} {
		c.Add(k)
	}
	require.Equal(t, Counts{Refused: 3, Failed: 2, Tidied: 1, TidyReady: 1, TidyLeft: 1, TidyRestored: 1}, c)
}
