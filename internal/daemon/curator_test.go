package daemon

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/retention"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

// archivist is a curator over published bundles w/r/1 … w/r/5.
type archivist struct {
	*bench
	cur  *curator
	room int // how often it was told that room was made
}

func newArchivist(t *testing.T, rules config.Retention) *archivist {
	t.Helper()
	s := newSite(t)
	s.watch().Retention = rules
	a := &archivist{bench: s.bench()}
	for n := 1; n <= 5; n++ {
		s.write(fmt.Sprintf("r/a-%d.ckpt", n), torchZip(t, 100, float32(n)))
		s.write(fmt.Sprintf("r/b-%d.ckpt", n), torchZip(t, 100, float32(n+10)))
		a.settle(fmt.Sprintf("r/a-%d.ckpt", n), fmt.Sprintf("r/b-%d.ckpt", n))
		a.bench.pack()
		s.advance(time.Minute)
	}
	a.bench.told()
	a.cur = newCurator(a.packer.room, s.options())
	a.cur.changed = func() { a.room++ }
	a.cur.use(s.config)
	return a
}

// pass lets the time pass after which a pass is due.
func (a *archivist) pass() {
	a.advance(pruneSoon)
	a.cur.turn(context.Background())
}

// left are the epochs whose archives are there.
func (a *archivist) left() string {
	a.t.Helper()
	text := ""
	for n := 1; n <= 5; n++ {
		if _, err := os.Stat(filepath.Join(a.place(n), bundle.ArchiveName)); err == nil {
			text += fmt.Sprint(n)
		}
	}
	return text
}

func (a *archivist) place(n int) string {
	return filepath.Join(a.config.Artifacts.Dir, "w", "r", fmt.Sprint(n))
}

func TestCuratorPrunes(t *testing.T) {
	a := newArchivist(t, config.Retention{KeepLast: 2})
	a.cur.turn(context.Background())
	require.Equal(t, "12345", a.left(), "not before its time")
	used, _ := a.packer.room.usage.read()
	a.pass()
	require.Equal(t, "45", a.left())
	told := a.expect(Pruned, Pruned, Pruned)
	require.Equal(t, "r/1", told[0].Key)
	require.Equal(t, "not among the last 2", told[0].Reason)
	require.Positive(t, told[0].Bytes)
	less, _ := a.packer.room.usage.read()
	require.Equal(t, used-3*told[0].Bytes, less)
	require.False(t, a.cur.state().ended.IsZero())
	require.Positive(t, a.room)
	a.cur.ask("w")
	a.pass()
	a.expect()
}

func TestCuratorWithoutRulesTouchesNothing(t *testing.T) {
	a := newArchivist(t, config.Retention{})
	require.False(t, a.cur.prunes())
	a.packer.room.budget.Store(1) // used up many times over
	for range 5 {
		a.cur.ask("w")
		a.advance(pruneEach)
		a.pass()
	}
	require.Equal(t, "12345", a.left())
	a.expect()
	require.True(t, a.cur.state().ended.IsZero())
	require.NoDirExists(t, filepath.Join(a.config.Artifacts.Dir, ".pins"))
}

// What the stores have goes without any rule, and what they are not known to have stays.
func TestCuratorReleasesWhatStoresHave(t *testing.T) {
	a := newArchivist(t, config.Retention{})
	held := map[string]bool{"r/2": true, "r/5": true}
	a.config.Stores = []config.Store{{Name: "lab", KeepLocal: 2 * time.Minute}}
	a.cur.unproved = func(context.Context, *config.Config) func(retention.Decision) string {
		return func(d retention.Decision) string {
			if held[d.Bundle.Key] {
				return ""
			}
			return "not there"
		}
	}
	require.True(t, a.cur.prunes())
	a.cur.use(a.config)
	a.pass()
	require.Equal(t, "1345", a.left(), "r/5 has not been here long enough")
	a.expect(Pruned)
	a.cur.ask("w")
	a.advance(pruneEach)
	a.pass()
	require.Equal(t, "134", a.left())
	a.expect(Pruned)
	a.cur.unproved = (&destinations{}).unproved // none works yet
	a.cur.ask("w")
	a.advance(pruneEach)
	a.pass()
	require.Equal(t, "134", a.left())
	a.expect()
}

// A registry that does not work yet, as just after a reload, is not known to hold anything.
func TestCuratorWaitsForRegistries(t *testing.T) {
	a := newArchivist(t, config.Retention{KeepLast: 1})
	a.config.Pushes = []config.Push{{Name: "lab", Watches: []string{"w"}}}
	a.cur.unproved = (&destinations{}).unproved
	a.cur.use(a.config)
	a.pass()
	require.Equal(t, "12345", a.left())
	a.expect()
}

func TestCuratorSparesPins(t *testing.T) {
	a := newArchivist(t, config.Retention{KeepLast: 1})
	s, err := shelf.Open(a.config.Artifacts.Dir)
	require.NoError(t, err)
	_, err = s.Pin("w/r/2", "test", a.now())
	require.NoError(t, err)
	a.pass()
	require.Equal(t, "25", a.left())
	a.expect(Pruned, Pruned, Pruned)
}

// While a key is packed its bundles stay, and are looked at again when that is over.
func TestCuratorLeavesWhatIsPacked(t *testing.T) {
	a := newArchivist(t, config.Retention{KeepLast: 1})
	a.cur.packing = func() []*work { return []*work{{watch: "w", key: "r/2"}, {watch: "other", key: "r/3"}} }
	a.pass()
	require.Equal(t, "25", a.left())
	a.expect(Pruned, Pruned, Pruned)
	a.cur.packing = func() []*work { return nil }
	a.advance(retryAfter)
	a.pass()
	require.Equal(t, "5", a.left())
	a.expect(Pruned)
}

// Many requests make one pass, and a pass that took long is followed by a long rest.
func TestCuratorCoalescesAndRests(t *testing.T) {
	a := newArchivist(t, config.Retention{KeepLast: 1})
	passes := 0
	a.cur.packing = func() []*work { passes++; return nil }
	for range 100 {
		a.cur.ask("w")
	}
	a.pass()
	require.Equal(t, 4, passes, "one pass, with four bundles to prune")
	a.expect(Pruned, Pruned, Pruned, Pruned)
	a.cur.notBefore = a.now().Add(time.Minute)
	a.cur.ask("w")
	ended := a.cur.state().ended
	a.pass()
	require.Equal(t, ended, a.cur.state().ended)
	a.advance(time.Minute)
	a.pass()
	require.NotEqual(t, ended, a.cur.state().ended)
}

func TestCuratorTellsAFailureOncePerCause(t *testing.T) {
	a := newArchivist(t, config.Retention{KeepLast: 4})
	lock := filepath.Join(a.config.Artifacts.Dir, ".pins", ".lock")
	require.NoError(t, os.MkdirAll(lock, 0o755)) // no file that could be locked
	a.pass()
	require.Contains(t, a.expect(PruneFailed)[0].Reason, "is a directory")
	require.Contains(t, a.cur.state().problem(), "retention fails: prune")
	since := a.cur.state().since
	for range 3 {
		a.advance(retryMost)
		a.pass()
	}
	a.expect()
	require.Equal(t, since, a.cur.state().since)
	require.NoError(t, os.Remove(lock))
	a.advance(retryMost)
	a.pass()
	a.expect(Pruned)
	require.Empty(t, a.cur.state().problem())
	require.True(t, a.cur.state().since.IsZero())
}

func TestCuratorWhoseDirectoryIsGone(t *testing.T) {
	a := newArchivist(t, config.Retention{KeepLast: 4})
	away := a.config.Artifacts.Dir + ".away"
	require.NoError(t, os.Rename(a.config.Artifacts.Dir, away))
	a.pass()
	told := a.told()
	require.Equal(t, PruneFailed, told[0].Kind)
	require.Contains(t, a.cur.state().problem(), "no such file")
	require.NoError(t, os.Rename(away, a.config.Artifacts.Dir))
	a.cur.renew()
	a.advance(measureEach)
	a.pass()
	a.expect(Pruned)
	require.Empty(t, a.cur.state().problem())
}

// Metrics that a trainer writes later are seen by the pass of the next hour.
func TestCuratorSeesLaterMetrics(t *testing.T) {
	a := newArchivist(t, config.Retention{KeepBest: config.Best{Metric: "loss", Mode: config.ModeMin, N: 1}})
	a.config.Watches[0].Config.Metrics = append(a.config.Watches[0].Config.Metrics, compile(t, "{run}/metrics.csv"))
	a.cur.use(a.config)
	a.pass()
	require.Equal(t, "12345", a.left(), "the loss of none is known")
	a.write("r/metrics.csv", []byte("epoch,loss\n3,0.5\n"))
	a.advance(pruneEach)
	a.cur.turn(context.Background())
	a.pass()
	require.Equal(t, "5", a.left(), "all have epoch 3 in them, and of equal ones the newest stays")
	a.expect(Pruned, Pruned, Pruned, Pruned)
}

func TestCuratorStopsInTheMiddle(t *testing.T) {
	a := newArchivist(t, config.Retention{KeepLast: 1})
	ctx, stop := context.WithCancel(context.Background())
	pruned := 0
	emit := a.cur.opts.Emit
	a.cur.opts.Emit = func(e Event) {
		emit(e)
		if pruned++; pruned == 2 {
			stop()
		}
	}
	a.advance(pruneSoon)
	a.cur.turn(ctx)
	require.Equal(t, "345", a.left())
	a.expect(Pruned, Pruned)
}

// Retention that hangs in a file system is told, and holds up no bundle, no watchdog and no end.
func TestRetentionThatHangs(t *testing.T) {
	for _, op := range []string{"measure", "list the bundles of w in", "prune"} {
		t.Run(op, func(t *testing.T) {
			quickWatchdog(t)
			s := newSite(t)
			s.watch().Retention = config.Retention{KeepLast: 1}
			s.writePair("r")
			s.write("r/a-2.ckpt", torchZip(t, 100, 3))
			s.write("r/b-2.ckpt", torchZip(t, 100, 4))
			gone := make(chan struct{})
			letGo := sync.OnceFunc(func() { close(gone) })
			t.Cleanup(letGo)
			v := s.serveAs(nil, func(d *Daemon) {
				d.hook = func(o, _ string) {
					if o == op {
						<-gone
					}
				}
			})
			v.until("READY=1")
			v.eventOf(Hung, "")
			v.until("STATUS=retention hangs")
			require.Eventually(t, func() bool {
				alerts := v.snapshot().Alerts
				return len(alerts) == 1 && alerts[0].Name == status.AlertRetention
			}, patience, 10*time.Millisecond)
			s.write("q/a-1.ckpt", torchZip(t, 100, 5))
			s.write("q/b-1.ckpt", torchZip(t, 100, 6))
			v.event(Bundled, "q/1")
			v.until("WATCHDOG=1")
			v.until("WATCHDOG=1")
			letGo()
			v.eventOf(Answers, "")
			v.eventOf(Pruned, "w")
		})
	}
}

// A daemon that ends does not wait for who does not take its messages.
func TestEndDoesNotWaitForReceivers(t *testing.T) {
	s := newSite(t)
	s.config.Notify = []config.Notify{{Name: "slow", Events: []config.NotifyEvent{config.NotifyPublish}, Command: []string{"sleep", "1000"},
		Timeout: 5 * time.Minute, Queue: 10}}
	s.writePair("r")
	s.write("r/a-2.ckpt", torchZip(t, 100, 3))
	s.write("r/b-2.ckpt", torchZip(t, 100, 4))
	v := s.serve(nil)
	v.event(Bundled, "r/1")
	v.event(Bundled, "r/2")
	require.Eventually(t, func() bool { return len(v.snapshot().Notify) == 1 && v.snapshot().Notify[0].Queued == 2 }, patience, 10*time.Millisecond)
	v.stop()
	require.NoError(t, <-v.ended)
	v.ended <- nil // for the clean-up
	require.Contains(t, v.log.String(), `"messages":1`)
}

// Where this host prunes in the store, the tomb is there before the archive goes, and without it nothing goes. What only
// leaves the host gets none.
func TestCuratorPutsTombsFirst(t *testing.T) {
	server := objectserver.New()
	t.Cleanup(server.Close)
	a := newArchivist(t, config.Retention{KeepLast: 2})
	store := storeOf(t, server, objectserver.AccessKey, objectserver.AccessKey)
	store.KeepLocal = -1
	other := store
	other.Name, other.Watches, other.Prune = "other", []string{"x"}, true
	a.config.Stores = []config.Store{store, other}
	a.cur.unproved = noDestinations
	defer a.cur.graves.Close()

	store.Prune = true
	a.config.Stores[0] = store
	server.Deny = func(r *http.Request) bool { return r.Method == http.MethodPut }
	a.cur.use(a.config)
	a.pass()
	require.Equal(t, "12345", a.left())
	require.Contains(t, a.expect(PruneFailed)[0].Reason, "put a tomb into lab first: ")
	a.cur.ask("w")
	a.advance(pruneEach)
	a.pass()
	require.Equal(t, "12345", a.left())
	a.expect()
	require.Contains(t, a.cur.state().failing, "tomb")

	server.Deny = nil
	server.Before = func(_ int, r *http.Request) {
		if name, is := strings.CutPrefix(r.URL.Path, "/"+objectserver.Bucket+"/lab/tombs/w/"); is && r.Method == http.MethodPut {
			require.FileExists(t, filepath.Join(a.config.Artifacts.Dir, "w", strings.TrimSuffix(name, ".json"), bundle.ArchiveName))
		}
	}
	a.cur.ask("w")
	a.advance(pruneEach)
	a.pass()
	require.Equal(t, "45", a.left())
	a.expect(Pruned, Pruned, Pruned)
	require.Len(t, server.Keys("lab/tombs/w/r/"), 3)
	require.Contains(t, string(server.Object("lab/tombs/w/r/1.json")), "retention: not among the last 2")
	require.Empty(t, a.cur.state().failing)

	store.KeepLocal = 0
	a.config.Stores[0] = store
	a.cur.use(a.config)
	a.advance(pruneEach)
	a.pass()
	require.Equal(t, "", a.left())
	a.expect(Pruned, Pruned)
	require.Len(t, server.Keys("lab/tombs/w/r/"), 3)
}
