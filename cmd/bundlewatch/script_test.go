package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var updateScripts = flag.Bool("update-scripts", false, "write what the program prints into the golden parts of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"bundlewatch": main,
		"daemon":      daemonProgram,
		"asuser":      asUserProgram,
		"slowwrite":   slowWriteProgram,
		"onterminal":  onTerminalProgram,
	})
}

// leakChecked fails a test run that leaves goroutines behind.
type leakChecked struct{ *testing.M }

// Run implements testscript.TestingM. Scripts mostly wait, so more of them run at once than there are processors.
func (m leakChecked) Run() int {
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		if err := parallel.Value.Set("6"); err != nil {
			panic(err)
		}
	}
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}

// TestScript drives the program as users do. Each script has a copy of the example runs in runs/, and
//
//	$EXAMPLES        the folder examples of the repository
//	$TREES           directory checkpoints of several libraries
//	$REPO            the root of the repository
//	$FIXTURES        the shared fixtures, when the condition [fixtures] holds
func TestScript(t *testing.T) {
	repo, err := filepath.Abs("../..")
	require.NoError(t, err)
	fixtures := sharedFixtures(t, repo)
	if fixtures == "" {
		t.Log("the shared fixtures are missing: scripts that need them are skipped; name their folder in $BUNDLEWATCH_SHARED")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		WorkdirRoot:         openFolder(t),
		UpdateScripts:       *updateScripts,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                commands,
		Condition: func(cond string) (bool, error) {
			return condition(cond, fixtures)
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("REPO", repo)
			env.Setenv("EXAMPLES", filepath.Join(repo, "examples"))
			env.Setenv("TREES", filepath.Join(repo, "internal", "checkpoint", "testdata", "tree"))
			env.Setenv("FIXTURES", fixtures)
			env.Setenv("RUNTIME_DIRECTORY", filepath.Join(env.WorkDir, "runtime"))
			env.Setenv("XDG_RUNTIME_DIR", "")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's pause of a second at every exit
			if err := os.Chmod(env.WorkDir, 0o755); err != nil {
				return err
			}
			return os.CopyFS(filepath.Join(env.WorkDir, "runs"), os.DirFS(filepath.Join(repo, "examples", "runs")))
		},
	})
}

// sharedFixtures returns the folder of the shared fixtures, "" where there is none.
func sharedFixtures(t *testing.T, repo string) string {
	shared := os.Getenv("BUNDLEWATCH_SHARED")
	if shared == "" {
		shared = filepath.Join(filepath.Dir(repo), "shared")
	}
	fixtures, err := filepath.Abs(filepath.Join(shared, "fixtures"))
	require.NoError(t, err)
	if info, err := os.Stat(fixtures); err != nil || !info.IsDir() {
		return ""
	}
	return fixtures
}

// openFolder is a temporary folder that other users can enter.
func openFolder(t *testing.T) string {
	dir, err := os.MkdirTemp("", "bundlewatch-script-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	// The scripts are parallel subtests, which are over when this is called.
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}
