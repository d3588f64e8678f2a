package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// drains is a site where files are quiet after an hour only, and sets are packed one after the other.
func drains(t *testing.T) *site {
	s := newSite(t)
	s.config.Limits.Workers = 1
	s.watch().Settle = time.Hour
	return s
}

func (s *site) drainAlone(timeout time.Duration, below ...string) status.Drained {
	s.t.Helper()
	opts := s.options()
	opts.Now = nil
	out, err := DrainAlone(context.Background(), s.config, opts, status.NewDrainRequest(timeout, below))
	require.NoError(s.t, err)
	s.noLitter()
	return out
}

func (s *site) saveAt(run string, day int) {
	s.writePair(run)
	at := time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
	require.NoError(s.t, os.Chtimes(s.path(run+"/a-1.ckpt"), at, at))
	require.NoError(s.t, os.Chtimes(s.path(run+"/b-1.ckpt"), at, at))
}

func keys(bundles []status.Bundle) (keys []string) {
	for _, b := range bundles {
		keys = append(keys, b.Key)
	}
	return keys
}

func TestDrainBeginsWithTheNewest(t *testing.T) {
	s := drains(t)
	for i, run := range []string{"c", "a", "d", "b"} {
		s.saveAt(run, 1+i)
	}
	s.write("half/a-1.ckpt", torchZip(t, 10, 1))
	out := s.drainAlone(time.Hour)
	require.Equal(t, []string{"b/1", "d/1", "a/1", "c/1"}, keys(out.Bundled))
	require.Equal(t, []status.Left{{Watch: "w", Key: "half/1", State: status.Waiting, Reasons: []string{"b: no file half/*b-1.ckpt"}}}, out.Left)
	require.Zero(t, out.Before)
	r, err := FindResume(context.Background(), s.config, nil)
	require.NoError(t, err)
	require.Equal(t, "b/1", r.Key)

	out = s.drainAlone(time.Hour)
	require.Empty(t, out.Bundled)
	require.Equal(t, 4, out.Before)
	for _, m := range s.bundles() {
		require.Contains(t, m.Members[0].Evidence.Closed, "yes")
	}
}

// Without room nothing is started, and nothing is waited for.
func TestDrainWithoutRoom(t *testing.T) {
	s := drains(t)
	s.config.Limits.FreeSpace.Bytes = 1 << 60
	s.writePair("q")
	s.writePair("r")
	out := s.drainAlone(time.Hour)
	require.Empty(t, out.Bundled)
	require.Len(t, out.Left, 2)
	for _, left := range out.Left {
		require.Equal(t, status.Queued, left.State)
		require.Contains(t, left.Reasons[0], "less than the floor")
	}
}

// Only sets of the directories that are named count.
func TestDrainBelow(t *testing.T) {
	s := drains(t)
	s.saveAt("mine", 1)
	s.saveAt("other", 2)
	s.write("other/a-2.ckpt", torchZip(t, 10, 1))
	out := s.drainAlone(time.Hour, s.path("mine"))
	require.Equal(t, []string{"mine/1"}, keys(out.Bundled))
	require.Empty(t, out.Left)
	r, err := FindResume(context.Background(), s.config, []string{s.path("mine")})
	require.NoError(t, err)
	require.Equal(t, "mine/1", r.Key)
	require.NoError(t, r.Hash(context.Background()))
	require.Equal(t, s.path("mine/a-1.ckpt"), r.Path)
	_, err = FindResume(context.Background(), s.config, []string{s.path("min")})
	require.ErrorIs(t, err, ErrNoResume)
	require.True(t, Overlaps(s.root, []string{s.path("mine")}))
	require.True(t, Overlaps(s.root, []string{filepath.Dir(s.root)}))
	require.False(t, Overlaps(s.root, []string{s.root + "2"}))
}

// One new file of a published pair is no pair that the trainer made.
func TestDrainLeavesHalfOfAnUpdate(t *testing.T) {
	s := drains(t)
	s.writePair("last")
	require.Len(t, s.drainAlone(time.Hour).Bundled, 1)
	s.write("last/a-1.ckpt", torchZip(t, 100, 7))
	out := s.drainAlone(time.Hour)
	require.Empty(t, out.Bundled)
	require.Len(t, out.Left, 1)
	require.Equal(t, status.Regrouping, out.Left[0].State)
	r, err := FindResume(context.Background(), s.config, nil)
	require.NoError(t, err)
	require.NoError(t, r.Hash(context.Background()))
	require.Equal(t, filepath.Join(s.config.Artifacts.Dir, "w/last/1", bundle.ArchiveName), r.Path, "one of the files is another one now")
	s.write("last/b-1.ckpt", torchZip(t, 100, 8))
	require.Len(t, s.drainAlone(time.Hour).Bundled, 1)
}

// What was saved last counts, not what was bundled last.
func TestResumeIsTheNewestSave(t *testing.T) {
	s := drains(t)
	s.saveAt("new", 9)
	require.Len(t, s.drainAlone(time.Hour).Bundled, 1)
	s.saveAt("old", 1)
	require.Len(t, s.drainAlone(time.Hour).Bundled, 1)
	r, err := FindResume(context.Background(), s.config, nil)
	require.NoError(t, err)
	require.Equal(t, "new/1", r.Key)
	require.NoError(t, os.Remove(filepath.Join(r.Bundle, bundle.ArchiveName)))
	r, err = FindResume(context.Background(), s.config, nil)
	require.NoError(t, err)
	require.Equal(t, "old/1", r.Key, "a damaged bundle is no durable one")
}

func TestHashOfMembers(t *testing.T) {
	s := drains(t)
	s.writePair("r")
	s.drainAlone(time.Hour)
	r, err := FindResume(context.Background(), s.config, nil)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	late := r.Clone()
	require.ErrorIs(t, late.Hash(ctx), context.Canceled)
	require.Equal(t, late.Archive, late.Path)
	require.Equal(t, "there was no time to read it", late.Members[0].Reason)
	require.Equal(t, "not read yet", r.Members[0].Reason, "the copy is one")
	require.NoError(t, r.Hash(context.Background()))
	require.Equal(t, digestOf(t, s.path("r/a-1.ckpt")), r.SHA256)
	require.Equal(t, digestOf(t, s.path("r/b-1.ckpt")), r.Members[1].SHA256)
	require.Equal(t, digestOf(t, r.Archive), r.ArchiveSHA256)
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// A directory is named by the digest of what sha256sum prints for its files.
func TestResumeFromADirectory(t *testing.T) {
	s := drains(t)
	s.watch().Members = []config.Member{{Role: "model", Pattern: compile(t, "{run}/checkpoint-{step}/")}}
	s.watch().Config.Files = nil
	s.watch().Settle = 20 * time.Millisecond
	s.write("r/checkpoint-1/b.ckpt", torchZip(t, 10, 2))
	s.write("r/checkpoint-1/a.ckpt", torchZip(t, 10, 1))
	out := s.drainAlone(time.Hour)
	require.Equal(t, []string{"r/1"}, keys(out.Bundled), out.Left)
	r, err := FindResume(context.Background(), s.config, nil)
	require.NoError(t, err)
	require.NoError(t, r.Hash(context.Background()))
	require.Equal(t, s.path("r/checkpoint-1"), r.Path)
	var list strings.Builder
	for _, name := range []string{"a.ckpt", "b.ckpt"} {
		fmt.Fprintf(&list, "%s  %s\n", digestOf(t, s.path("r/checkpoint-1/"+name)), name)
	}
	sum := sha256.Sum256([]byte(list.String()))
	require.Equal(t, hex.EncodeToString(sum[:]), r.SHA256)
	s.remove("r/checkpoint-1/b.ckpt")
	r, err = FindResume(context.Background(), s.config, nil)
	require.NoError(t, err)
	require.NoError(t, r.Hash(context.Background()))
	require.Equal(t, r.Archive, r.Path)
	require.Equal(t, `"b.ckpt": it is gone`, r.Members[0].Reason)
}

// A daemon goes on after a drain as before, and a look changes nothing.
func TestDrainOfARunningDaemon(t *testing.T) {
	s := drains(t)
	s.writePair("r")
	v := s.serve(nil)
	v.until("READY=1")
	look := v.daemon.Drain(context.Background(), status.DrainRequest{Look: true, Seconds: 60})
	require.Empty(t, look.Bundled)
	require.Len(t, look.Left, 1)
	require.Equal(t, "r/1", look.Left[0].Key)
	require.Empty(t, s.bundles())

	both := make(chan status.Drained)
	for range 2 {
		go func() { both <- v.daemon.Drain(context.Background(), status.NewDrainRequest(time.Hour, nil)) }()
	}
	first, second := <-both, <-both
	require.Empty(t, first.Left)
	require.Empty(t, second.Left)
	require.Len(t, s.bundles(), 1)
	s.writePair("q")
	ctx, stop := context.WithCancel(context.Background())
	stop()
	require.NotEmpty(t, v.daemon.Drain(ctx, status.NewDrainRequest(time.Hour, nil)).Left)
	require.Len(t, s.bundles(), 1)
}

// A drain at the stop publishes before the daemon ends, and asks systemd for no more than it needs.
func TestDaemonDrainsWhenItIsStopped(t *testing.T) {
	s := drains(t)
	v := s.serveAs(nil, func(d *Daemon) { d.AtStop = time.Hour })
	v.until("READY=1")
	s.writePair("r")
	s.write("q/a-1.ckpt", torchZip(t, 10, 1))
	v.stop()
	v.until("STOPPING=1")
	err := <-v.ended
	require.NoError(t, err)
	v.ended <- nil
	require.Len(t, s.bundles(), 1)
	require.Contains(t, v.log.String(), `"key":"q/1","reason":"b: no file q/*b-1.ckpt","message":"left by the drain"`)
	require.Contains(t, v.log.String(), `"path":"`+s.path("r/a-1.ckpt")+`","sha256":"`+digestOf(t, s.path("r/a-1.ckpt"))+`","message":"safe to resume from"`)
}

// While a drain gets on systemd is asked for more time, and not when it stands still or is over.
func TestDrainAsksForTime(t *testing.T) {
	s := newSite(t)
	s.writePair("r")
	v := s.serve(nil)
	v.event(Bundled, "r/1")
	v.stop()
	v.ended <- <-v.ended
	now := time.Now()
	v.daemon.pushStop(now)
	v.daemon.drainsEnd = now.Add(time.Hour)
	require.Zero(t, v.daemon.pushing)
	v.daemon.pushStop(now)
	require.Contains(t, v.until("EXTEND_TIMEOUT_USEC"), "=60000000")
	asked := v.daemon.pushing
	v.daemon.pushStop(now.Add(2 * extendEach))
	require.Equal(t, asked, v.daemon.pushing, "nothing has moved")
	for _, r := range v.daemon.loops {
		r.learned.Add(1)
	}
	v.daemon.pushStop(now.Add(extendEach / 2))
	require.Equal(t, asked, v.daemon.pushing, "not so soon")
	v.daemon.pushStop(now.Add(2 * extendEach))
	require.Contains(t, v.until("EXTEND_TIMEOUT_USEC"), "=60000000")
}

// A watch that a reload ends in the middle of a drain is not waited for.
func TestReloadEndsTheDrainOfAWatch(t *testing.T) {
	s := drains(t)
	s.addWatch("other")
	fewer := *s.config
	fewer.Watches = s.config.Watches[:1]
	s.config.Watches[1].Settle = time.Hour
	s.write("../other/r/a-1.ckpt", torchZip(t, 10, 1))
	f, err := os.OpenFile(filepath.Join(s.config.Watches[1].Root, "r/b-1.ckpt"), os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer f.Close()
	v := s.serve(func() (*config.Config, error) { return &fewer, nil })
	v.until("READY=1")
	drained := make(chan status.Drained, 1)
	go func() { drained <- v.daemon.Drain(context.Background(), status.NewDrainRequest(time.Hour, nil)) }()
	v.reload <- struct{}{}
	v.until("READY=1")
	select {
	case <-drained:
	case <-time.After(patience):
		t.Fatal("the drain waits for a watch that is not there any more")
	}
}

// A root that hangs is left, and the others are drained.
func TestDrainBesideAHungRoot(t *testing.T) {
	s := drains(t)
	s.addWatch("hung")
	s.config.Watches[1].Settle = 20 * time.Millisecond
	h := newHang("/hung/r/")
	t.Cleanup(h.letGo)
	hung := make(chan struct{}, 100)
	v := s.serveAs(nil, func(d *Daemon) {
		d.grace = 100 * time.Millisecond
		d.hook = func(op, path string) {
			if strings.Contains(path, "/hung/r/") {
				hung <- struct{}{}
			}
			h.hook(op, path)
		}
	})
	v.until("READY=1")
	s.write("../hung/r/a-1.ckpt", torchZip(t, 10, 1))
	<-hung
	s.writePair("r")
	out := v.daemon.Drain(context.Background(), status.DrainRequest{StartSeconds: 3, Seconds: 3})
	require.Len(t, out.Left, 1)
	require.Equal(t, "hung", out.Left[0].Watch)
	require.Contains(t, out.Left[0].Reasons[0], "has not come back from")
	require.Equal(t, []string{"r/1"}, keys(out.Bundled))
	h.letGo()
}
