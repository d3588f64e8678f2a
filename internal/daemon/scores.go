package daemon

import (
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/score"
	"github.com/bundlewatch/bundlewatch/internal/snapshot"
)

// maxTrainerState bounds a trainer_state.json, which grows with every step that is logged.
const maxTrainerState = 64 << 20

// scores gathers the numbers that are known of a member, from the weakest source to the strongest: the run's
// CSV files, the file's name, the checkpoint itself. What cannot be read is left out: they are for retention
// and for people, and no reason to hold a bundle back.
func (s *source) scores(w config.Watch, captures pattern.Captures) bundle.Metrics {
	own := make(bundle.Metrics)
	base := filepath.Base(s.file.path)
	maps.Copy(own, score.FromName(base))
	if s.content.checkpoint != nil {
		maps.Copy(own, s.content.checkpoint.Scores(base))
	}
	maps.Copy(own, s.trainerScores())
	all := csvScores(w, captures, own)
	maps.Copy(all, own)
	return all
}

// trainerScores reads the trainer_state.json of a directory that Trainer wrote.
func (s *source) trainerScores() bundle.Metrics {
	for _, o := range s.opened {
		if filepath.Base(o.path) != "trainer_state.json" {
			continue
		}
		data, err := io.ReadAll(io.NewSectionReader(o.handle, 0, maxTrainerState))
		if err != nil {
			return nil
		}
		scores, err := score.FromTrainerState(data)
		if err != nil {
			return nil
		}
		return scores
	}
	return nil
}

// csvScores reads the CSV files of [watch.config] metrics for a checkpoint whose own numbers tell its
// epoch; without an epoch there is nothing to look for. A later file wins over an earlier one.
func csvScores(w config.Watch, captures pattern.Captures, own bundle.Metrics) bundle.Metrics {
	all := make(bundle.Metrics)
	epoch, ok := own["epoch"]
	if !ok || len(w.Config.Metrics) == 0 {
		return all
	}
	step, ok := own["global_step"]
	if !ok {
		step = math.Inf(1)
	}
	root, err := os.OpenRoot(w.Root)
	if err != nil {
		return all
	}
	defer root.Close()
	for _, p := range w.Config.Metrics {
		g, err := p.Bind(captures)
		if err != nil {
			continue
		}
		paths, _ := g.Expand(root)
		for _, path := range paths {
			f, err := snapshot.Read(root, path, g.Name(path))
			if err != nil {
				continue
			}
			if scores, err := score.FromCSV(f.Data, epoch, step); err == nil {
				maps.Copy(all, scores)
			}
		}
	}
	return all
}

// captured names what the placeholders of a set captured, for the manifest.
func captured(c pattern.Captures) bundle.Captures {
	all := make(bundle.Captures)
	for _, name := range c.Names() {
		all[name], _ = c.Value(name)
	}
	return all
}
