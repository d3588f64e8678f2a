package soak

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/bundlewatch/bundlewatch/test/internal/checker"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

const (
	topK         = 5
	epochsPerRun = 12
	// runsKept is how many runs of a trainer stay; older ones are removed whole.
	runsKept = 2
	// checkpointSize is about how large a member is, in bytes.
	checkpointSize = 200_000
)

// trainer trains one model after the other, each in a run directory of its own. It is used from one
// goroutine.
type trainer struct {
	name    string
	root    string
	scratch string // where checkpoints are written before they are moved
	style   style
	random  *rand.Rand
	seed    uint64

	run   int
	epoch int
	kept  []string // epochs of this run whose files are there
	runs  []string // directories that are there

	saved map[string]checker.Set   // by key: the pairs that were complete
	lasts map[string][]checker.Set // by run: what the last pair was, save by save
	died  int
}

func newTrainer(i int, root, scratch string) *trainer {
	return &trainer{name: fmt.Sprintf("t%d", i), root: root, scratch: scratch, style: styles[i%len(styles)],
		random: rand.New(rand.NewPCG(uint64(i), 9)), seed: uint64(i) << 32,
		saved: make(map[string]checker.Set), lasts: make(map[string][]checker.Set)}
}

// dir is the directory of the run, relative to the root.
func (t *trainer) dir() string { return fmt.Sprintf("%s-run%d", t.name, t.run) }

func (t *trainer) member(role, epoch string) string {
	return filepath.Join(t.root, t.dir(), role+"-"+epoch+".ckpt")
}

// train goes on until it is told to stop, and ends between two epochs.
func (t *trainer) train(stop <-chan struct{}) error {
	for {
		if err := t.step(); err != nil {
			return fmt.Errorf("trainer %s: %w", t.name, err)
		}
		select {
		case <-stop:
			return nil
		case <-time.After(time.Duration(1000+t.random.IntN(2000)) * time.Millisecond):
		}
	}
}

// step is one epoch.
func (t *trainer) step() error {
	if t.epoch%epochsPerRun == 0 {
		if err := t.begin(); err != nil {
			return err
		}
	}
	epoch := strconv.Itoa(t.epoch)
	t.epoch++
	if t.random.IntN(8) == 0 {
		if err := t.die(epoch); err != nil || t.random.IntN(2) == 0 {
			return err // nobody looks after what a dead trainer left
		}
	}
	s, err := t.save(epoch)
	if err != nil {
		return err
	}
	t.saved[t.dir()+"/"+epoch] = s
	if err := t.rotate(epoch); err != nil {
		return err
	}
	s, err = t.save("last")
	t.lasts[t.dir()] = append(t.lasts[t.dir()], s)
	return err
}

// begin makes the directory of the next run, and removes an old one.
func (t *trainer) begin() error {
	t.run++
	t.kept = nil
	dir := filepath.Join(t.root, t.dir())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	t.runs = append(t.runs, dir)
	if len(t.runs) > runsKept {
		if err := os.RemoveAll(t.runs[0]); err != nil {
			return err
		}
		t.runs = t.runs[1:]
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"N": 64, "gridsize": 2}`), 0o644)
}

// rotate keeps the best epochs: the one that goes may be any but the newest.
func (t *trainer) rotate(epoch string) error {
	if t.kept = append(t.kept, epoch); len(t.kept) <= topK {
		return nil
	}
	worst := t.random.IntN(len(t.kept) - 1)
	for _, role := range checker.Roles {
		if err := os.Remove(t.member(role, t.kept[worst])); err != nil {
			return err
		}
	}
	t.kept = slices.Delete(t.kept, worst, worst+1)
	return nil
}

func (t *trainer) save(epoch string) (checker.Set, error) {
	s := make(checker.Set)
	for _, role := range checker.Roles {
		data, weights, err := t.checkpoint()
		if err != nil {
			return nil, err
		}
		if err := t.style.save(t, t.member(role, epoch), data); err != nil {
			return nil, err
		}
		s[role] = weights
	}
	return s, nil
}

// die saves one member, and a part of the other.
func (t *trainer) die(epoch string) error {
	t.died++
	for i, role := range checker.Roles {
		data, _, err := t.checkpoint()
		if err != nil {
			return err
		}
		if i == len(checker.Roles)-1 {
			return t.style.die(t, t.member(role, epoch), data[:t.random.IntN(len(data))])
		}
		if err := t.style.save(t, t.member(role, epoch), data); err != nil {
			return err
		}
	}
	return nil
}

func (t *trainer) checkpoint() (data []byte, weights string, err error) {
	t.seed += 10
	state := []torchfile.Tensor{torchfile.Random("w", checkpointSize/2, t.seed), torchfile.Random("b", 4096, t.seed+1)}
	c := torchfile.Checkpoint{State: state, Moments: []torchfile.Tensor{torchfile.Random("", checkpointSize/2, t.seed+2)}}
	data, err = c.Bytes()
	return data, checker.Digest(state[0].Data, state[1].Data), err
}

// newest are the last pairs that must be there in the end, by run.
func (t *trainer) newest() map[string]checker.Set {
	all := make(map[string]checker.Set)
	for run, sets := range t.lasts {
		all[run] = sets[len(sets)-1]
	}
	return maps.Clone(all)
}
