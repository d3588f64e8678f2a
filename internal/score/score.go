// Package score reads the numbers that say how good a checkpoint is, from what trainers write beside
// it: file names, Lightning's metrics.csv, Trainer's trainer_state.json. A number that is not finite
// counts as none.
package score

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Scores are numbers by their names.
type Scores = map[string]float64

// named are name=number, as Lightning writes it, and name_0.123 or name-0.123, where only a fraction counts.
var (
	named      = regexp.MustCompile(`([A-Za-z][A-Za-z0-9_./]*)=(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)`)
	fractional = regexp.MustCompile(`([A-Za-z](?:[A-Za-z_]*[A-Za-z])?)[-_]?(-?[0-9]+\.[0-9]+)`)
)

// FromName returns the numbers in the base name of a checkpoint, such as 0.25 for val_loss in
// "epoch=3-val_loss=0.25.ckpt".
func FromName(base string) Scores {
	scores := make(Scores)
	for _, pattern := range []*regexp.Regexp{fractional, named} {
		for _, m := range pattern.FindAllStringSubmatch(base, -1) {
			set(scores, m[1], m[2])
		}
	}
	return scores
}

func set(scores Scores, name, number string) {
	if n, err := strconv.ParseFloat(number, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
		scores[name] = n
	}
}

// FromCSV returns, for each column of a file like Lightning's metrics.csv, the last number in the rows of
// an epoch, up to a step where the rows have one. It reads a file that is being written: a last line that
// is not whole is passed over.
func FromCSV(data []byte, epoch float64, step float64) (Scores, error) {
	if end := bytes.LastIndexByte(data, '\n'); end >= 0 {
		data = data[:end+1]
	} else {
		data = nil
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord, r.ReuseRecord, r.LazyQuotes = -1, true, true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return Scores{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	header = strings.Split(strings.Join(header, "\x00"), "\x00") // the reader reuses the record
	scores := make(Scores)
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return scores, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the rows: %w", err)
		}
		addRow(scores, header, row, epoch, step)
	}
}

func addRow(scores Scores, header, row []string, epoch, step float64) {
	found := make(Scores)
	for i, cell := range row {
		if i < len(header) && header[i] != "" {
			set(found, header[i], strings.TrimSpace(cell))
		}
	}
	at, ok := found["epoch"]
	if s, known := found["step"]; !ok || at != epoch || known && s > step {
		return
	}
	delete(found, "epoch")
	delete(found, "step")
	maps.Copy(scores, found)
}

// FromTrainerState returns what Trainer logged for the step of a checkpoint: trainer_state.json keeps a
// log of all steps (transformers/trainer_callback.py, TrainerState).
func FromTrainerState(data []byte) (Scores, error) {
	var state struct {
		Epoch float64          `json:"epoch"`
		Step  float64          `json:"global_step"`
		Log   []map[string]any `json:"log_history"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return nil, fmt.Errorf("read the state of the trainer: %w", err)
	}
	scores := make(Scores)
	for _, entry := range state.Log {
		if entry["step"] != state.Step {
			continue
		}
		for name, v := range entry {
			if n, ok := v.(float64); ok {
				scores[name] = n
			}
		}
	}
	delete(scores, "step")
	scores["epoch"], scores["global_step"] = state.Epoch, state.Step
	return scores, nil
}
