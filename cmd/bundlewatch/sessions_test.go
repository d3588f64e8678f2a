package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// desk is a directory in which the commands of a page are run as a reader would run them.
type desk struct {
	t    *testing.T
	dir  string
	path string // for $PATH: where the program is
}

func newDesk(t *testing.T, runs string) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir(), path: t.TempDir()}
	program, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(program, filepath.Join(d.path, "bundlewatch")))
	require.NoError(t, os.CopyFS(filepath.Join(d.dir, "runs"), os.DirFS(filepath.Join("..", "..", "examples", "runs", runs))))
	return d
}

func (d *desk) command(line string) *exec.Cmd {
	c := exec.Command("bash", "-c", line)
	c.Dir = d.dir
	c.Env = append(os.Environ(), "PATH="+d.path+":"+os.Getenv("PATH"), "WORK="+d.dir, "RUNTIME_DIRECTORY="+d.path, "LC_ALL=C",
		"BUNDLEWATCH_CONFIG=", "GORACE=atexit_sleep_ms=0")
	return c
}

// run returns what a command prints, which must succeed.
func (d *desk) run(line string) string {
	d.t.Helper()
	out, err := d.command(line).CombinedOutput()
	require.NoError(d.t, err, "%s\n%s", line, out)
	return strings.TrimRight(string(out), "\n")
}

var (
	consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	shellBlock   = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	timeTaken    = regexp.MustCompile(`\b[0-9.]+ s\b`)
)

// The session of the quick start goes as the page shows, in one directory from beginning to end.
func TestQuickStartGoesAsShown(t *testing.T) {
	d := newDesk(t, "pairs")
	commands := 0
	for _, block := range consoleBlock.FindAllStringSubmatch(pages(t)["docs/quickstart.md"], -1) {
		for _, step := range strings.Split(strings.TrimPrefix(block[1], "$ "), "\n$ ") {
			line, shown, _ := strings.Cut(step, "\n")
			printed := timeTaken.ReplaceAllString(d.run(line), "TIME")
			require.Equal(t, strings.TrimRight(shown, "\n"), strings.ReplaceAll(printed, d.dir, "$WORK"), line)
			commands++
		}
	}
	require.Greater(t, commands, 8)
}

// elsewhere are the commands of the README that are run neither here nor, word for word, in .ci/run.
var elsewhere = map[string]string{
	"go run ./cmd/bundlewatch once --config examples/bundlewatch.toml": "by .ci/run, which takes it from the README",
	"go test ./...": "by .ci/run, which takes it from the README", "make build": "make static", "sudo make install": "make boot",
	"make crash": "make slow, with every twelfth call", "make soak": "make slow, for a minute",
	"make slow": "by .ci/run, as make -s slow", "bench/run.sh": "by hand: it takes long", ".ci/run": "itself",
}

var inlineCommand = regexp.MustCompile("`((?:(?:go|make|sudo|bundlewatch) |bench/|\\.ci/)[^`]+)`")

// Every command line in the README is run: those on a user's own runs here, the others where elsewhere says.
func TestCommandsOfTheReadme(t *testing.T) {
	readme := pages(t)["README.md"]
	d := newDesk(t, "pairs")
	here := strings.NewReplacer("/data/runs/r7", d.dir+"/runs/run_20251017_104700", "last.ckpt", "autoencoder-epoch=00.ckpt", "/data/runs", d.dir+"/runs",
		"/var/lib/bundlewatch/artifacts", d.dir+"/artifacts", "go build -o ", "go build -C "+repository(t)+" -o "+d.dir+"/")
	d.run(here.Replace("bundlewatch init /data/runs"))
	require.NoError(t, os.WriteFile(filepath.Join(d.dir, "bundlewatch.toml"), []byte(here.Replace(tomlBlock.FindStringSubmatch(readme)[1])), 0o644))

	ci, err := os.ReadFile("../../.ci/run")
	require.NoError(t, err)
	ran := 0
	for _, block := range shellBlock.FindAllStringSubmatch(readme, -1) {
		for line := range strings.Lines(block[1]) {
			line, _, _ = strings.Cut(line, "#")
			line = strings.TrimSpace(line)
			switch {
			case elsewhere[line] != "":
			case strings.HasSuffix(line, "bundlewatch run"):
				d.stay(here.Replace(line))
				ran++
			default:
				d.run(here.Replace(line))
				ran++
			}
		}
	}
	require.Greater(t, ran, 6)
	for _, m := range inlineCommand.FindAllStringSubmatch(readme, -1) {
		for _, line := range strings.Split(m[1], " && ") {
			if name, _, _ := strings.Cut(line, " "); name == "bundlewatch" {
				require.Contains(t, usage, "\n  "+strings.Join(strings.Fields(line)[:2], " ")+" ", "the README has `%s`", line)
				continue
			}
			require.True(t, elsewhere[line] != "" || bytes.Contains(ci, []byte(line)), "nothing runs this command of the README: %s", line)
		}
	}
}

func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	require.NoError(t, err)
	return dir
}

// stay starts the daemon, waits until it is ready, and ends it.
func (d *desk) stay(line string) {
	d.t.Helper()
	log := filepath.Join(d.dir, "run.log")
	c := d.command("exec " + line + " 2>" + log)
	require.NoError(d.t, c.Start())
	require.Eventually(d.t, func() bool {
		text, _ := os.ReadFile(log)
		return bytes.Contains(text, []byte("ready: every root was listed"))
	}, patience, 10*time.Millisecond)
	require.NoError(d.t, c.Process.Signal(syscall.SIGTERM))
	require.NoError(d.t, c.Wait())
}
