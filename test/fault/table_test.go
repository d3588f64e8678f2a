package fault

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/test/internal/tracer"
)

// page is where the tables are.
const page = "../../docs/reliability.md"

// row is a line of the table of interruptions. How many points there are depends on the program and a
// little on the machine, so that they are compared roughly: a row that is more than four times off, or has
// less than the least, is out of date.
type row struct {
	label string
	least int // points
}

var (
	killOnce     = row{"a pass: `kill -9` before each call that changes something in the artifact directory", 60}
	enospcOnce   = row{"a pass: `ENOSPC` from each open for writing, write, fsync, rename, mkdir, fchmod", 40}
	eioOnce      = row{"a pass: `EIO` from each of them", 40}
	edquotOnce   = row{"a pass: `EDQUOT` from every fifth", 8}
	erofsOnce    = row{"a pass: `EROFS` from every fifth", 8}
	halfOnce     = row{"a pass: a half of each write, then `ENOSPC`", 8}
	readOnce     = row{"a pass: `EIO` from each read of a member (one set)", 20}
	killDaemon   = row{"the daemon: `kill -9` before each call, from its start to its end", 60}
	enospcDaemon = row{"the daemon: `ENOSPC` from each call", 60}
	eioDaemon    = row{"the daemon: `EIO` from each call", 60}
	edquotDaemon = row{"the daemon: `EDQUOT` from each call", 60}
	erofsDaemon  = row{"the daemon: `EROFS` from each call", 60}
	halfDaemon   = row{"the daemon: a half of each write, then `ENOSPC`", 8}

	rows = []row{killOnce, enospcOnce, eioOnce, edquotOnce, erofsOnce, halfOnce, readOnce,
		killDaemon, enospcDaemon, eioDaemon, edquotDaemon, erofsDaemon, halfDaemon}
)

// stride is how many calls lie between two points at which the daemon is interrupted.
func stride() int { return tracer.Stride(12) }

// record wants nothing to have gone wrong, and the page to say what was found; with BUNDLEWATCH_WRITE
// it writes the page.
func (b *bench) record(r row, counts tallies) {
	b.Helper()
	b.Log(counts)
	total := counts.total()
	require.Zero(b, total.torn+total.lost+total.duplicated)
	if b.Failed() {
		return
	}
	if os.Getenv("BUNDLEWATCH_WRITE") != "" {
		r.write(b, total, counts)
		return
	}
	told := r.read(b)
	require.LessOrEqual(b, total.points, 4*told.points, "%q is out of date: run BUNDLEWATCH_WRITE=1 make crash", r.label)
	require.GreaterOrEqual(b, 4*total.points*stride(), told.points, "%q is out of date: run BUNDLEWATCH_WRITE=1 make crash", r.label)
}

func (r row) pattern() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(r.label) + ` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$`)
}

// read finds the row in the page, where it must be once.
func (r row) read(t testing.TB) (told tally) {
	t.Helper()
	pageMu.Lock()
	defer pageMu.Unlock()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	found := r.pattern().FindAllSubmatch(text, -1)
	require.Len(t, found, 1, "rows for %q in %s", r.label, page)
	for i, n := range []*int{&told.points, &told.torn, &told.lost, &told.duplicated} {
		*n, err = strconv.Atoi(string(found[0][i+1]))
		require.NoError(t, err)
	}
	return told
}

var pageMu sync.Mutex

// write puts what was found into the page.
func (r row) write(t testing.TB, total tally, counts tallies) {
	t.Helper()
	pageMu.Lock()
	defer pageMu.Unlock()
	require.Equal(t, 1, stride(), "the page is written with BUNDLEWATCH_STRIDE=1, as make crash does")
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	line := fmt.Sprintf("| %s | %d | %d | %d | %d |", r.label, total.points, total.torn, total.lost, total.duplicated)
	require.Regexp(t, r.pattern(), string(text))
	out := r.pattern().ReplaceAllLiteralString(string(text), line)
	if r == killDaemon {
		out = killed.ReplaceAllLiteralString(out, killedPrefix+names(counts)+".")
	}
	require.NoError(t, os.WriteFile(page, []byte(out), 0o644))
}

const killedPrefix = "The calls at which the daemon was killed: "

var killed = regexp.MustCompile(`(?m)^` + killedPrefix + `.*$`)

func names(counts tallies) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s %d", name, counts[name].points))
	}
	return strings.Join(all, ", ")
}

// The page has every row once, with enough points and nothing that went wrong.
func TestTableOfInterruptions(t *testing.T) {
	for _, r := range rows {
		told := r.read(t)
		require.GreaterOrEqual(t, told.points, r.least, r.label)
		require.Zero(t, told.torn+told.lost+told.duplicated, r.label)
	}
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Len(t, killed.FindAll(text, -1), 1)
}
