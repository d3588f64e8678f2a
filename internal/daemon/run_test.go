package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/store"
)

// service is a running daemon as systemd sees it.
type service struct {
	*site
	reload chan struct{}
	stop   context.CancelFunc
	ended  chan error
	states chan string
	log    *syncBuffer
	daemon *Daemon
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// serve runs a daemon until the test ends. Load gives what a reload reads.
func (s *site) serve(load func() (*config.Config, error)) *service {
	s.t.Helper()
	return s.serveAs(load, func(*Daemon) {})
}

// serveAs is serve with a daemon that is made otherwise.
func (s *site) serveAs(load func() (*config.Config, error), otherwise func(*Daemon)) *service {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "notify") // the path of a socket must be short
	require.NoError(s.t, err)
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "notify")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(s.t, err)
	s.t.Setenv("NOTIFY_SOCKET", socket)
	v := &service{site: s, reload: make(chan struct{}), ended: make(chan error, 1), states: make(chan string, 1000), log: &syncBuffer{}}
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		message := make([]byte, 4096)
		for {
			n, err := listener.Read(message)
			if err != nil {
				return
			}
			v.states <- string(message[:n])
		}
	}()
	ctx, stop := context.WithCancel(context.Background())
	v.stop = stop
	opts := s.options()
	opts.Now = nil
	d := &Daemon{Options: opts, Log: zerolog.New(v.log), Load: load, Reload: v.reload}
	otherwise(d)
	v.daemon = d
	go func() { v.ended <- d.Run(ctx, s.config) }()
	s.t.Cleanup(func() {
		stop()
		require.NoError(s.t, <-v.ended)
		listener.Close()
		<-listening
		s.noLitter()
	})
	return v
}

// until waits for a state that systemd is told.
func (v *service) until(text string) string {
	v.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case state := <-v.states:
			if strings.Contains(state, text) {
				return state
			}
		case <-timeout:
			require.FailNow(v.t, "never told: "+text, v.log.String())
		}
	}
}

// event waits for an event.
func (v *service) event(kind Kind, key string) {
	v.t.Helper()
	require.Eventually(v.t, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return slices.ContainsFunc(v.events, func(e Event) bool { return e.Kind == kind && e.Key == key })
	}, patience, 5*time.Millisecond, "never told: %s %s", kind, key)
}

func TestDaemonBundlesWhatIsThereAndWhatComes(t *testing.T) {
	for _, source := range []config.Source{config.SourceAuto, config.SourceInotify, config.SourcePoll} {
		t.Run(string(source), func(t *testing.T) {
			s := newSite(t)
			s.watch().Source = source
			s.writePair("there")
			v := s.serve(nil)
			v.until("READY=1")
			v.event(Bundled, "there/1")
			s.writePair("comes")
			v.event(Bundled, "comes/1")
			v.until("2 bundles published")
			v.stop()
			v.until("STOPPING=1")
			require.Len(t, s.bundles(), 2)
		})
	}
}

func TestDaemonFeedsTheWatchdog(t *testing.T) {
	s := newSite(t)
	t.Setenv("WATCHDOG_USEC", fmt.Sprint((300 * time.Millisecond).Microseconds()))
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	v := s.serve(nil)
	v.until("WATCHDOG=1")
	v.until("WATCHDOG=1")
}

func TestOneDaemonPerArtifactDirectory(t *testing.T) {
	s := newSite(t)
	v := s.serve(nil)
	v.until("READY=1")
	other := &Daemon{Options: s.options(), Log: zerolog.Nop()}
	err := other.Run(context.Background(), s.config)
	require.ErrorIs(t, err, store.ErrLocked)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))
}

func TestReload(t *testing.T) {
	s := newSite(t)
	second := *s.watch()
	second.Name, second.Root = "kept", filepath.Join(filepath.Dir(s.root), "second")
	require.NoError(t, os.Mkdir(second.Root, 0o755))
	s.config.Watches = append(s.config.Watches, second)

	var next *config.Config
	var broken error
	v := s.serve(func() (*config.Config, error) { return next, broken })
	v.until("READY=1")

	reload := func() string {
		v.reload <- struct{}{}
		require.Regexp(t, regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9]\d*$`), v.until("RELOADING"))
		return v.until("READY=1")
	}
	broken = errors.New("line 3: no\nline 4: no")
	require.Contains(t, reload(), "reload refused, the old config stays in force: line 3: no")
	require.NotContains(t, v.log.String(), "config reloaded")

	broken = nil
	moved := *s.config
	moved.Artifacts.Dir += "2"
	next = &moved
	require.Contains(t, reload(), "artifacts.dir changed")
	require.NoDirExists(t, moved.Artifacts.Dir)
	s.writePair("old")
	v.event(Bundled, "old/1")

	changed := *s.config
	changed.Watches = slices.Clone(s.config.Watches)
	changed.Watches[0].Members = []config.Member{{Role: "a", Pattern: compile(t, "{run}/a-{epoch}.ckpt")}}
	changed.Watches[1].Members = slices.Clone(second.Members)
	for i := range changed.Watches[1].Members { // an equal config is read into other values
		m := &changed.Watches[1].Members[i]
		m.Pattern = compile(t, m.Pattern.String())
	}
	next = &changed
	require.Contains(t, reload(), "2 watches")
	require.Contains(t, v.log.String(), `"unchanged":1`)
	s.write("new/a-1.ckpt", torchZip(t, 10, 1))
	v.event(Bundled, "new/1")

	fewer := changed
	fewer.Watches = changed.Watches[1:]
	next = &fewer
	require.Contains(t, reload(), "1 watch;")
	require.Contains(t, v.log.String(), `"watches":1,"unchanged":1`)
}

func TestDaemonWithoutARootIsReady(t *testing.T) {
	s := newSite(t)
	s.watch().Root = s.path("later")
	v := s.serve(nil)
	v.until("READY=1")
	v.event(RootGone, "")
	s.writePair("later/r")
	v.event(RootBack, "")
	v.event(Bundled, "r/1")
}

func TestDaemonStopsInTheMiddleOfAPack(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	ctx, stop := context.WithCancel(context.Background())
	opts := s.options()
	opts.Progress = during(stop)
	d := &Daemon{Options: opts, Log: zerolog.Nop()}
	require.NoError(t, d.Run(ctx, s.config))
	require.Empty(t, s.bundles())
	s.noLitter()
	s.expect()
}
