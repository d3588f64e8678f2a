package fault

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// trainer saves a pair for every epoch, keeps the newest few, rewrites its last checkpoint in place, and
// dies now and then in the middle of a save.
type trainer struct {
	*bench
	random *rand.Rand
	kept   []string       // epochs whose files are there
	saved  map[string]set // epochs whose pair was complete
	last   []set          // what the last pair was, save by save
}

const topK = 5

// write writes a member in pieces, with pauses; share is how much of it before the trainer dies.
func (t *trainer) write(role, epoch string, data []byte, share float64) error {
	f, err := os.OpenFile(t.member(role, epoch), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for rest := data[:int(share*float64(len(data)))]; len(rest) > 0; {
		n := min(len(rest), 1+t.random.IntN(len(data)/3))
		if _, err := f.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
		time.Sleep(time.Duration(t.random.IntN(60)) * time.Millisecond)
	}
	return nil
}

// save writes both members; a trainer that dies writes a part of the second one.
func (t *trainer) save(epoch string, seed uint64, dies bool) (set, error) {
	s := make(set)
	for i, role := range roles {
		c := newCheckpoint(t, 600_000, seed+uint64(i))
		s[role] = c.weights
		share := 1.0
		if dies && i == len(roles)-1 {
			share = t.random.Float64()
		}
		if err := t.write(role, epoch, c.data, share); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// epoch saves one pair, rotates, and rewrites the last one.
func (t *trainer) epoch(n int) error {
	epoch, seed, dies := strconv.Itoa(n), uint64(100*n), n%9 == 4
	s, err := t.save(epoch, seed, dies)
	if err != nil {
		return err
	}
	if dies {
		return nil // the half pair stays, as nobody rotates what a dead trainer left
	}
	t.saved["r1/"+epoch] = s
	if t.kept = append(t.kept, epoch); len(t.kept) > topK {
		for _, role := range roles {
			if err := os.Remove(t.member(role, t.kept[0])); err != nil {
				return err
			}
		}
		t.kept = t.kept[1:]
	}
	s, err = t.save("last", seed+50, false)
	t.last = append(t.last, s)
	return err
}

// A daemon watches a trainer for a minute.
func TestTrainerForAMinute(t *testing.T) {
	b := newBench(t)
	d := b.start()
	baseline := d.descriptors()
	tr := &trainer{bench: b, random: rand.New(rand.NewPCG(3, 3)), saved: make(map[string]set)}
	epochs := 0
	for end := time.Now().Add(time.Minute); time.Now().Before(end); epochs++ {
		require.NoError(t, tr.epoch(epochs))
	}
	eventually(t, "every pair is published", func() bool {
		got, err := published(b.artifacts)
		return err == nil && containsAll(got, tr.saved)
	})
	eventually(t, "the descriptors kept for half pairs are given up", func() bool { return len(d.descriptors()) <= len(baseline) })
	d.stop()

	got, err := published(b.artifacts)
	require.NoError(t, err)
	tr.requireOnce(got)
	b.mustVerify()
	t.Logf("%d epochs, %d of them complete; %d descriptors before and after", epochs, len(tr.saved), len(baseline))
}

func containsAll(got, want map[string]set) bool {
	for key := range want {
		if got[key] == nil {
			return false
		}
	}
	return true
}

// requireOnce wants each complete epoch once, as it was saved, and of the last checkpoint only pairs that
// were one save.
func (t *trainer) requireOnce(got map[string]set) {
	t.Helper()
	lasts := 0
	for key, s := range got {
		if want, ok := t.saved[key]; ok {
			require.Equal(t, want, s, key)
			continue
		}
		require.Regexp(t, `^r1/last(~\d+)?$`, key, "published, though it was never complete")
		require.True(t, among(t.last, s), "%s is no pair that was saved together", key)
		lasts++
	}
	require.Equal(t, len(t.saved)+lasts, len(got))
	require.Positive(t, lasts)
	t.Logf("%d of %d saves of the last pair were published", lasts, len(t.last))
}
