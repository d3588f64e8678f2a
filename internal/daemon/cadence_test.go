package daemon

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func TestUsualInterval(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(minutes ...float64) []time.Time {
		var all []time.Time
		for _, m := range minutes {
			all = append(all, start.Add(time.Duration(m*float64(time.Minute))))
		}
		return all
	}
	for name, c := range map[string]struct {
		times []time.Time
		want  time.Duration
	}{
		"nothing":                  {at(), 0},
		"two":                      {at(0, 10), 0},
		"three":                    {at(0, 10, 20), 10 * time.Minute},
		"uneven":                   {at(0, 9, 20, 29, 40), 9 * time.Minute},
		"two files at a time":      {at(0, 0.1, 10, 10.1, 20, 20.1, 30, 30.1), 9*time.Minute + 54*time.Second},
		"four files at a time":     {at(0, .1, .2, .3, 10, 10.1, 10.2, 10.3, 20, 20.1, 20.2, 20.3, 30), 9*time.Minute + 42*time.Second},
		"a pause over the weekend": {at(0, 10, 20, 30, 3000, 3010, 3020), 10 * time.Minute},
	} {
		c2 := &cadence{}
		for _, at := range c.times {
			c2.add(at)
		}
		require.Equal(t, c.want, c2.expects, name)
	}
	c := &cadence{}
	for n := range 100 {
		c.add(start.Add(time.Duration(n) * time.Minute))
		c.add(start.Add(time.Duration(n) * time.Minute))
	}
	require.Len(t, c.times, cadenceMost)
	require.Equal(t, time.Minute, c.expects)
}

// lookout is a bench whose run r brought sets every ten minutes.
func lookout(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	b.opts.common.alerts.Store(&config.Alerts{StalledIntervals: 3, StalledLeast: time.Minute})
	for n := 1; n <= 4; n++ {
		at := b.now().Add(time.Duration(n-5) * 10 * time.Minute)
		var names []string
		for _, role := range []string{"a", "b"} {
			name := fmt.Sprintf("r/%s-%d.ckpt", role, n)
			b.write(name, torchZip(t, 100, float32(n)))
			require.NoError(t, os.Chtimes(b.path(name), at, at))
			names = append(names, name)
		}
		b.settle(names...)
	}
	b.age("r")
	for range 4 {
		b.pack()
	}
	b.told()
	require.Equal(t, 10*time.Minute, b.runs["r"].expects)
	return b
}

// age makes everything in a directory look long unchanged.
func (b *bench) age(dir string) {
	b.t.Helper()
	entries, err := os.ReadDir(b.path(dir))
	require.NoError(b.t, err)
	then := b.now().Add(-10 * time.Minute)
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".ckpt" {
			require.NoError(b.t, os.Chtimes(b.path(filepath.Join(dir, e.Name())), then, then))
		}
	}
}

// scoutNow lets time pass until a run is looked at, and hears what was seen.
func (b *bench) scoutNow(d time.Duration) {
	b.t.Helper()
	b.advance(d)
	b.stall()
	require.True(b.t, b.scouting)
	b.scoutedRun(<-b.scouts)
	require.False(b.t, b.scouting)
}

func TestRunThatStalls(t *testing.T) {
	b := lookout(t)
	b.stall()
	require.False(t, b.scouting, "the next set is not due")

	// The trainer writes its log, and no checkpoint.
	b.advance(20 * time.Minute)
	log := b.path("r/logs/train.log")
	require.NoError(t, os.MkdirAll(filepath.Dir(log), 0o755))
	require.NoError(t, os.WriteFile(log, []byte("x"), 0o644))
	fresh := b.now()
	require.NoError(t, os.Chtimes(log, fresh, fresh))
	b.scoutNow(time.Minute)
	stalls := b.stalls()
	require.Len(t, stalls, 1)
	require.Equal(t, "r", stalls[0].Run)
	require.Contains(t, stalls[0].Active, `"logs/train.log" was changed at`)
	require.Equal(t, `run r is active, but its last set became complete 31m0s ago, and usually one comes every 10m0s: `+stalls[0].Active, stalledText(stalls[0], b.now()))
	b.makeView()
	require.Len(t, b.shown.Load().stalls, 1)

	// It is looked at again, but not at every turn.
	b.stall()
	require.False(t, b.scouting)

	// The log stops: the training has ended.
	quiet := b.now().Add(-20 * time.Minute)
	for _, path := range []string{log, filepath.Dir(log), b.path("r")} {
		require.NoError(t, os.Chtimes(path, quiet, quiet))
	}
	b.scoutNow(20 * time.Minute)
	require.Empty(t, b.stalls())

	// After a day nobody looks any more.
	b.advance(25 * time.Hour)
	b.stall()
	require.False(t, b.scouting)
	require.Empty(t, b.runs)
}

func TestSetEndsAStall(t *testing.T) {
	b := lookout(t)
	b.advance(30 * time.Minute)
	b.stall()
	require.True(t, b.scouting)
	r := <-b.scouts
	r.active = "it was seen"
	b.scoutedRun(r)
	require.Len(t, b.stalls(), 1)
	b.write("r/a-9.ckpt", torchZip(t, 100, 9))
	b.write("r/b-9.ckpt", torchZip(t, 100, 9))
	fresh := b.now()
	require.NoError(t, os.Chtimes(b.path("r/a-9.ckpt"), fresh, fresh))
	b.settle("r/a-9.ckpt", "r/b-9.ckpt")
	require.Empty(t, b.stalls())
	b.scoutedRun(r)
	require.Empty(t, b.stalls(), "what was seen before does not count")
}

func TestStallsCanBeTurnedOff(t *testing.T) {
	b := lookout(t)
	b.opts.common.alerts.Store(&config.Alerts{StalledLeast: time.Minute})
	b.advance(10 * time.Hour)
	b.stall()
	require.False(t, b.scouting)
}

// A process that has a file of the run open for writing keeps it active, one that reads does not.
func TestActivityOfProcesses(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "r", "logs"), 0o755))
	path := filepath.Join(dir, "r", "logs", "x")
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	since := time.Now().Add(time.Hour)
	require.Empty(t, activity([]string{dir}, "r", since))
	hold := func(mode int) (stop func()) {
		f, err := os.OpenFile(path, mode, 0)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		cmd := exec.CommandContext(ctx, "sleep", "1000")
		cmd.ExtraFiles = []*os.File{f}
		require.NoError(t, cmd.Start())
		f.Close()
		return func() {
			cancel()
			_ = cmd.Wait()
		}
	}
	stop := hold(os.O_RDONLY)
	require.Empty(t, activity([]string{dir}, "r", since))
	stop()
	stop = hold(os.O_WRONLY)
	require.Regexp(t, `^process \d+ has "logs/x" open for writing$`, activity([]string{"/elsewhere", dir}, "r", since))
	require.Empty(t, activity([]string{dir}, "r/log", since), "another directory")
	stop()
	require.Empty(t, activity([]string{dir}, "r", since))
	require.Contains(t, activity([]string{dir}, "r", time.Now().Add(-time.Hour)), "was changed at")
}

func TestManyFilesAreNotAllLookedAt(t *testing.T) {
	dir := t.TempDir()
	for n := range maxScouted + 50 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d", n)), nil, 0o644))
	}
	last := filepath.Join(dir, fmt.Sprintf("%05d", maxScouted+40))
	future := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(last, future, future))
	path, _ := newestIn(dir)
	require.NotEqual(t, filepath.Base(last), path)
}

func TestAlarms(t *testing.T) {
	now := time.Now()
	a := make(alarms)
	full := []status.Alert{{Name: status.AlertBudget, Text: "full"}, {Name: status.AlertRefusal, Watch: "w", Text: "bad"}}
	events := a.update(full, now)
	require.Equal(t, []Event{
		{Kind: AlertRaised, Alert: "budget", Reason: "full", since: now},
		{Kind: AlertRaised, Alert: "refusal", Watch: "w", Reason: "bad", since: now},
	}, events)
	later := now.Add(time.Second)
	full[0].Text = "fuller"
	require.Empty(t, a.update(full, later))
	require.Equal(t, "fuller", a.shown(later)[0].Text)

	// What is gone for a moment is no news.
	require.Empty(t, a.update(full[1:], later.Add(alertLingers/2)))
	require.Empty(t, a.update(full, later.Add(alertLingers)))
	require.Empty(t, a.update(full[1:], later.Add(alertLingers+time.Second)))
	events = a.update(full[1:], later.Add(2*alertLingers))
	require.Equal(t, []Event{{Kind: AlertCleared, Alert: "budget", Reason: "fuller", since: now}}, events)
	require.Len(t, a.shown(now), 1)

	// A storm of them is bounded.
	var storm []status.Alert
	for n := range 1000 {
		storm = append(storm, status.Alert{Name: status.AlertRunStalled, Watch: "w", Run: fmt.Sprint(n)})
	}
	require.Len(t, a.update(storm, later.Add(2*alertLingers)), maxAlertTexts-1)
}

// Alerts of two destinations are two.
func TestAlarmsOfDestinations(t *testing.T) {
	now := time.Now()
	a := make(alarms)
	holds := []status.Alert{{Name: status.AlertDestinationDown, Destination: "lab", Text: "x"}, {Name: status.AlertDestinationDown, Destination: "hub", Text: "y"}}
	require.Equal(t, []Event{
		{Kind: AlertRaised, Alert: "destination_down", Destination: "hub", Reason: "y", since: now},
		{Kind: AlertRaised, Alert: "destination_down", Destination: "lab", Reason: "x", since: now},
	}, a.update(holds, now))
	require.Equal(t, "hub", a.shown(now)[0].Destination)
}

func TestDestinationConditions(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	limits := config.Alerts{DestinationDown: time.Minute, DestinationBehind: time.Hour}
	for _, c := range []struct {
		name string
		of   status.Destination
		want map[status.AlertName]string
	}{
		{"well", status.Destination{Pending: 1, Oldest: &status.Unsent{Published: *ago(time.Minute)}, Probe: &status.Probe{Class: status.ClassA}}, nil},
		{"down for a moment", status.Destination{Error: "no route", Since: ago(time.Second)}, nil},
		{"not listed", status.Destination{Error: "list the local bundles: denied"}, nil},
		{"down", status.Destination{Error: "no route\x1b", Since: ago(time.Minute)}, map[status.AlertName]string{status.AlertDestinationDown: `it cannot be used: no route\x1b`}},
		{"class", status.Destination{Error: "class C", Since: ago(time.Hour), Probe: &status.Probe{Class: status.ClassC, Refused: true, Lacks: []string{"replaced", "all won"}}},
			map[status.AlertName]string{status.AlertDestinationClass: "nothing is sent there: class C: replaced; all won"}},
		{"class that is accepted", status.Destination{Probe: &status.Probe{Class: status.ClassC, Lacks: []string{"replaced"}}}, nil},
		{"behind", status.Destination{Pending: 3, PendingBytes: 2048, Oldest: &status.Unsent{Watch: "w", Key: "r/1", Published: *ago(2 * time.Hour)}},
			map[status.AlertName]string{status.AlertDestinationBehind: "w r/1 was published " + ago(2*time.Hour).Format(time.RFC3339) + " and is not known to be there; 3 bundles (2.0 KiB) wait, 0 are to be asked for"}},
		{"conflict", status.Destination{Conflicts: 2, Refused: 1}, map[status.AlertName]string{status.AlertDestinationConflict: "it holds other content under the names of 2 bundles"}},
		{"damage", status.Destination{Refused: 3, Damaged: 2, Refusals: []status.Unsendable{{Watch: "w", Key: "r/1", Reason: "pruned"}, {Watch: "w", Key: "r/2", Damaged: true, Reason: "cut\x1b"}}},
			map[status.AlertName]string{status.AlertDestinationDamage: `bundles that are damaged here do not go there: 2; w r/2: cut\x1b`}},
		{"damage that is not shown", status.Destination{Refused: 1, Damaged: 1}, map[status.AlertName]string{status.AlertDestinationDamage: "bundles that are damaged here do not go there: 1"}},
	} {
		c.of.Name = "lab"
		got := map[status.AlertName]string{}
		for _, a := range destinationConditions(&c.of, limits, now) {
			require.Equal(t, "lab", a.Destination)
			require.Empty(t, a.Watch)
			got[a.Name] = a.Text
		}
		require.Len(t, got, len(c.want), c.name)
		for name, text := range c.want {
			require.Equal(t, text, got[name], c.name)
		}
	}
}

// What is told is what happened, in words that steer no terminal.
func TestMessages(t *testing.T) {
	since := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		event Event
		text  string
	}{
		{Event{Kind: Bundled, Watch: "w", Key: "r\x1b/1", Bytes: 2048}, `bundle published: w r\x1b/1 (2.0 KiB)`},
		{Event{Kind: Refused, Watch: "w", Key: "r/1", Reason: "bad"}, "refused: w r/1: bad"},
		{Event{Kind: Failed, Watch: "w", Key: "r/1", Reason: "bad"}, "failed, tried again: w r/1: bad"},
		{Event{Kind: Expired, Watch: "w", Key: "r/1"}, "waits too long: w r/1"},
		{Event{Kind: Pruned, Watch: "w", Key: "r/1", Reason: "old", Bytes: 10}, "archive pruned: w r/1 (10 B): old"},
		{Event{Kind: AlertRaised, Alert: "budget", Reason: "full", since: since}, "alert: budget: full"},
		{Event{Kind: AlertRaised, Alert: "destination_down", Destination: "lab", Reason: "no route", since: since}, "alert: destination_down of lab: no route"},
		{Event{Kind: AlertCleared, Alert: "root_gone", Watch: "w", Reason: "away", since: since}, "alert over: root_gone of w: away"},
	} {
		event, ok := notifyEvents[c.event.Kind]
		require.True(t, ok)
		m := message(event, c.event)
		require.Equal(t, c.text, m.Text)
		require.Equal(t, c.event.Alert != "", m.Alert != nil)
		require.Equal(t, c.event.Key, m.Key)
		require.Equal(t, c.event.Destination, m.Destination)
	}
	require.Equal(t, "cleared", string(message(config.NotifyAlert, Event{Kind: AlertCleared}).Alert.State))
}
