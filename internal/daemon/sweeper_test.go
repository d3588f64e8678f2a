package daemon

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/test/objectserver"
)

// storeOf is a store of the config on a server, with the keys of who publishes, and of who sweeps.
func storeOf(t *testing.T, s *objectserver.Server, publishes, sweeps string) config.Store {
	keys := func(id string) string {
		path := t.TempDir() + "/keys"
		require.NoError(t, os.WriteFile(path, []byte("[default]\naws_access_key_id="+id+"\naws_secret_access_key="+objectserver.SecretKey+"\n"), 0o600))
		return path
	}
	return config.Store{Name: "lab", Endpoint: s.URL, Bucket: objectserver.Bucket, Prefix: "lab", Region: objectserver.Region, PathStyle: true, Parallel: 1,
		Sweep: true, Credentials: keys(publishes), SweepCredentials: keys(sweeps)}
}

// A sweep uses the keys that are for it, keeps to the margins of age, and is counted.
func TestSweeperSweeps(t *testing.T) {
	server := objectserver.New()
	defer server.Close()
	digest := strings.Repeat("a", 64)
	old, young := "lab/data/w/old/"+digest+"/wts.h5.zip", "lab/data/w/young/"+digest+"/wts.h5.zip"
	server.Set(old, []byte("orphan"), time.Now().Add(-15*24*time.Hour))
	server.Set(young, []byte("orphan"), time.Now().Add(-13*24*time.Hour))
	var events []Event
	emit := func(e Event) { events = append(events, e) }
	s := newSweeper(storeOf(t, server, "AKNOBODY", objectserver.AccessKey))
	require.Equal(t, nextSweep, s.sweep(t.Context(), emit))
	require.Equal(t, []string{young}, server.Keys(""))
	require.Len(t, events, 1)
	require.Equal(t, Swept, events[0].Kind)
	require.Equal(t, "lab", events[0].Destination)
	require.Equal(t, 1, events[0].Objects)
	require.EqualValues(t, len("orphan"), events[0].Bytes)
	require.Equal(t, 1, s.state().Objects)
	require.EqualValues(t, len("orphan"), s.state().Bytes)
	require.WithinDuration(t, time.Now(), *s.state().Last, time.Minute)
	require.Empty(t, s.state().Error)

	// A failure is told once, and its end by the next sweep.
	server.Age(48 * time.Hour)
	server.Deny = func(r *http.Request) bool { return r.Method == http.MethodDelete }
	events = nil
	require.Equal(t, sweepRetry, s.sweep(t.Context(), emit))
	require.Equal(t, sweepRetry, s.sweep(t.Context(), emit))
	require.Len(t, events, 1)
	require.Equal(t, SweepFailed, events[0].Kind)
	require.Contains(t, events[0].Reason, "no right")
	require.Contains(t, s.state().Error, "no right")
	require.Equal(t, 2, s.state().Failures)
	server.Deny = nil
	require.Equal(t, nextSweep, s.sweep(t.Context(), emit))
	require.Empty(t, s.state().Error)
	require.Empty(t, server.Keys(""))
}

// The first sweep comes within minutes, and what fails is done again.
func TestSweeperRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var at []time.Duration
		var told []Kind
		s := &sweeper{name: "lab", open: func() (*bucket.Bucket, error) {
			at = append(at, time.Since(begun))
			return nil, errors.New("no certificates")
		}}
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Hour)
		defer stop()
		s.run(ctx, func(e Event) { told = append(told, e.Kind) })
		require.Less(t, at[0], firstSweep)
		require.Equal(t, sweepRetry, at[1]-at[0])
		require.Equal(t, []Kind{SweepFailed}, told)
	})
}

// A destination with a sweeper is swept as long as it works, and shows that.
func TestDestinationIsSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan Event, 10)
		d := &destinations{emit: func(e Event) { told <- e }}
		require.NoError(t, d.open(t.TempDir()))
		swept := (&memory{name: "lab"}).target(1)
		swept.sweeper = &sweeper{name: "lab", open: func() (*bucket.Bucket, error) { return nil, errors.New("no certificates") }}
		d.use(t.Context(), []target{swept})
		require.Equal(t, SweepFailed, (<-told).Kind)
		require.Equal(t, "no certificates", d.show()[0].Sweeps.Error)
		for _, s := range d.use(t.Context(), nil) {
			<-s.done
		}
	})
}

// Only who is told to sweeps, and nobody who drains on the side.
func TestWhoSweeps(t *testing.T) {
	server := objectserver.New()
	defer server.Close()
	st := storeOf(t, server, objectserver.AccessKey, objectserver.AccessKey)
	require.NotNil(t, storeTarget(&config.Config{}, st).sweeper)
	st.Sweep = false
	require.Nil(t, storeTarget(&config.Config{}, st).sweeper)
}
