package tidy

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// litterer is a day of jobs that leave strays at the top level of a repository.
type litterer struct {
	*bench
	random *rand.Rand
	made   map[string]int // digests of all contents that were ever left
	n      int
	open   []*os.File
}

func (l *litterer) content() string {
	l.n++
	return fmt.Sprintf("line %d of a job\n", l.n)
}

func (l *litterer) keep(text string) string {
	l.made[fmt.Sprintf("%x", sha256.Sum256([]byte(text)))]++
	return text
}

// litter leaves a few strays. What exists is never written over: that would be the job's loss.
func (l *litterer) litter() {
	for range l.random.IntN(5) {
		name := []string{"train_debug.log", "nohup.out", "slurm-%d.out", "core.%d", "a\nb\xff.log", "%d.h5", "README.log", "tracked-%d.log"}[l.random.IntN(8)]
		if strings.Contains(name, "%d") {
			name = fmt.Sprintf(name, l.random.IntN(20))
		}
		if _, err := os.Lstat(l.path(name)); err == nil {
			continue
		}
		l.write(name, l.keep(l.content()))
		if strings.HasPrefix(name, "tracked") && l.random.IntN(2) == 0 {
			git(l, l.root, "add", name)
			git(l, l.root, "commit", "-q", "-m", "x")
		}
		if l.random.IntN(10) == 0 {
			f, err := os.Open(l.path(name))
			require.NoError(l, err)
			l.open = append(l.open, f)
		}
	}
	if run := fmt.Sprintf("lightning_logs/version_%d", l.random.IntN(1000)); l.random.IntN(10) == 0 {
		if _, err := os.Lstat(l.path(run)); err != nil {
			l.write(run+"/metrics.csv", l.keep(l.content()))
		}
	}
	if len(l.open) > 0 && l.random.IntN(3) == 0 {
		l.open[0].Close()
		l.open = l.open[1:]
	}
}

// found counts the digests of all that is there now.
func (l *litterer) found() map[string]int {
	found := make(map[string]int)
	for name, text := range files(l, l.root) {
		if name != ".gitignore" {
			found[fmt.Sprintf("%x", sha256.Sum256([]byte(text)))]++
		}
	}
	return found
}

// A day of littering, a pass every five minutes, and people who undo now and then and let a stopped block go on: the
// files before are the files after.
func TestADayOfLittering(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	day := 24 * time.Hour
	if os.Getenv("BUNDLEWATCH_SLOW") == "" {
		day = 2 * time.Hour
	}
	l := &litterer{bench: newBench(t), random: rand.New(rand.NewPCG(1, 2)), made: make(map[string]int)}
	l.bench.config = "match = ['*.log', 'nohup.out', 'slurm-*.out', 'core.*', '*.h5', 'lightning_logs/']\nkeep = ['README*']\nmove_to = 'reports/{utc}'\n" +
		"max_per_hour = 30\ntracked = 'git-rm'\n"
	git(t, l.root, "init", "-q")
	l.write(".gitignore", "reports/\n*.h5\n")
	git(t, l.root, "add", ".gitignore")
	git(t, l.root, "commit", "-q", "-m", "x")

	kinds := make(map[Kind]int)
	for end := l.clock.Add(day); l.clock.Before(end); l.clock = l.clock.Add(5 * time.Minute) {
		l.litter()
		for _, e := range l.pass() {
			kinds[e.Kind]++
			l.opts.Resume = e.Kind == Stopped && l.random.IntN(3) == 0
		}
		if reports := l.reports(); len(reports) > 0 && l.random.IntN(20) == 0 {
			for _, e := range l.undo(reports[l.random.IntN(len(reports))]) {
				kinds[e.Kind]++
			}
		}
	}
	for _, f := range l.open {
		f.Close()
	}
	require.Equal(t, l.made, l.found())
	noLitter(t, l.root)
	require.NotZero(t, kinds[Moved])
	require.Zero(t, kinds[Refused]+kinds[Failed], "%v", kinds)
	t.Logf("%d files; %v; %d directories of reports", len(l.made), kinds, len(l.reports()))

	// Nothing was undone twice or forgotten: every record of a move that is not undone has its file.
	for _, dir := range l.reports() {
		for _, r := range l.records(dir) {
			if r.State == stateMoved {
				_, err := os.Lstat(filepath.Join(dir, r.base()))
				require.NoError(t, err)
			}
			require.False(t, slices.Contains([]state{stateIntent, stateUndoing}, r.State))
		}
	}
}
